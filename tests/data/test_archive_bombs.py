"""An archive that unpacks to more than any data set has is refused before it fills the memory."""

import gzip
import importlib
import io
import tarfile
import zipfile

import pytest

from skymask.data.datasets import DataError, arrays, cifar10, fashion_mnist, har

MODULES = {
    name: importlib.import_module(f"skymask.data.datasets.{name}")
    for name in ("fashion_mnist", "har")
}
FLOOD = bytes(2000)


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    """A kilobyte is the most that a file may have."""
    monkeypatch.setattr(arrays, "LARGEST", 1000)
    monkeypatch.setattr(MODULES["fashion_mnist"], "LARGEST", 1000)


def refused(load, folder, size):
    with pytest.raises(DataError, match=f"has {size} bytes or more unpacked") as error:
        load([folder])
    assert str(folder) in str(error.value)


def test_a_gzip_bomb(tmp_path):
    for name in MODULES["fashion_mnist"].CONTENT:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(FLOOD))
    refused(fashion_mnist, tmp_path, 1001)


@pytest.mark.parametrize("twice", [False, True])
def test_a_zip_bomb(tmp_path, twice):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in MODULES["har"]._files():
            archive.writestr(f"UCI HAR Dataset/{file}", FLOOD)
    content = buffer.getvalue()
    if twice:
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w") as archive:
            archive.writestr("UCI HAR Dataset.zip", content)
        content = outer.getvalue()
    (tmp_path / MODULES["har"].ARCHIVES[1]).write_bytes(content)
    with pytest.raises(DataError, match="bytes or more unpacked"):
        har([tmp_path])


def test_a_tar_bomb(tmp_path):
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        member.size = len(FLOOD)
        archive.addfile(member, io.BytesIO(FLOOD))
    refused(cifar10, tmp_path, 2000)


def test_a_path_that_leads_out_of_the_archive_writes_nothing(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/../../out")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"out"))
    with pytest.raises(DataError, match="lacks"):
        cifar10([folder])
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "cifar-10-python.tar.gz"]
