"""Local files of data sets that cannot be read: the true cause, and no wrong advice."""

import errno
import os
from pathlib import Path

import pytest

from skymask.data.datasets.arrays import DataError
from skymask.data.datasets.cifar import cifar10
from skymask.data.datasets.fashion_mnist import CONTENT, fashion_mnist
from skymask.data.datasets.har import ARCHIVES, FOLDER, TABLES, har
from skymask.jobs.log import retry_may_help

from ..support.files import Failing

PLACES = {
    "cifar archive": (cifar10, ["cifar-10-python.tar.gz"]),
    "cifar folder": (cifar10, ["cifar-10-batches-py/data_batch_1"]),
    "fashion_mnist": (fashion_mnist, list(CONTENT)),
    "har archive": (har, [ARCHIVES[0]]),
    "har folder": (har, [f"{FOLDER}/train/X_train.txt"]),
    "har tables": (har, list(TABLES)),
}


@pytest.fixture(params=PLACES)
def local(request, tmp_path):
    """The loader of a data set, and local files that it finds."""
    load, files = PLACES[request.param]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("no data" * 50)
    return load, files[0]


@pytest.mark.parametrize("at", ["open", "read"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EIO, "the file may be intact: run"),
        (errno.ESTALE, "the file may be intact: run"),
        (errno.EMFILE, "the file may be intact: raise the limit (ulimit -n) and run"),
        (errno.EACCES, "make it readable and run"),
    ],
)
def test_an_error_of_the_system_is_no_damage(local, tmp_path, monkeypatch, number, remedy, at):
    (load, file), real = local, Path.open
    error = OSError(number, "as the system says")

    def fail(path, *arguments, **options):
        # the loaders also import packages
        if tmp_path not in path.parents:
            return real(path, *arguments, **options)
        if at == "open":
            raise error
        return Failing(real(path, *arguments, **options), error, readable=0)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", fail)
        with pytest.raises((OSError, DataError)) as raised:
            load([tmp_path])
    told = f"cannot read {tmp_path / file}: {os.strerror(number)}; {remedy} the same command again"
    assert str(raised.value) == told
    assert raised.value.errno == number
    assert retry_may_help(raised.value) == (number != errno.EACCES)
    with pytest.raises(DataError):
        load([tmp_path])
