"""Reads and writes that fail although the file is intact: the true cause, and no wrong advice."""

import errno
import os
import resource
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from skymask import cli
from skymask.artifacts import atomic as atomic_module
from skymask.artifacts import checksum, errors, parquet
from skymask.artifacts.atomic import StorageError, atomic, unwritable
from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.records import read_experiment, wanted_columns
from skymask.jobs.log import retry_may_help
from skymask.read_errors import ReadError

from ..support.files import Failing
from .test_bad_files import EXPERIMENT, KINDS

PASSING = [
    *(errno.EIO, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE),
    *(errno.EINTR, errno.EAGAIN, errno.ENXIO, errno.ENODEV, errno.EREMOTEIO, errno.ECONNRESET),
]
FORBIDDEN = [errno.EACCES, errno.EPERM]


def fail_in_python(monkeypatch, error, at):
    """Make the opening or the reading of every file fail."""
    real = Path.open

    def fake(path, *arguments, **options):
        if at == "open":
            raise error
        return Failing(real(path, *arguments, **options), error, readable=1)

    monkeypatch.setattr(Path, "open", fake)


def fail_in_arrow(monkeypatch, error, at):
    """Make pyarrow's opening or reading of a Parquet file fail."""

    class Fake(parquet.pq.ParquetFile):
        def __init__(self, *arguments):
            if at == "open":
                raise error
            super().__init__(*arguments)

        def fail(self, *_, **__):
            raise error

        read = read_row_group = fail
        schema_arrow = property(fail)

    monkeypatch.setattr(parquet.pq, "ParquetFile", Fake)


def check(error, path, number):
    """Check that an error names the file and its true cause and gives no wrong advice."""
    assert isinstance(error, ReadError)
    assert error.errno == number
    assert str(error).startswith(f"cannot read {path}: {os.strerror(number)}; ")
    assert "run the same command again" in str(error)
    assert "delete" not in str(error)
    assert ("may be intact" in str(error)) == (number not in FORBIDDEN)
    assert retry_may_help(error) == (number not in FORBIDDEN)


@pytest.mark.parametrize("number", [*PASSING, *FORBIDDEN])
@pytest.mark.parametrize("at", ["open", "read"])
@pytest.mark.parametrize("fail", [fail_in_python, fail_in_arrow])
def test_an_error_of_the_system_is_no_damage(tmp_path, monkeypatch, number, at, fail):
    for kind, (write, readers) in KINDS.items():
        path = tmp_path / kind
        write(path)
        for read in readers:
            with monkeypatch.context() as patched:
                fail(patched, OSError(number, "as the system says"), at)
                with pytest.raises((ReadError, ArtifactError)) as error:
                    read(path)
            check(error.value, path, number)
            read(path)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        pa.ArrowMemoryError("malloc of size 1024 failed"),
        OSError("Couldn't deserialize thrift: std::bad_alloc"),
    ],
)
@pytest.mark.parametrize("at", ["open", "read"])
def test_a_lack_of_memory_is_no_damage(tmp_path, monkeypatch, error, at):
    for kind, (write, readers) in KINDS.items():
        path = tmp_path / kind
        write(path)
        for read in readers:
            with monkeypatch.context() as patched:
                fail_in_arrow(patched, error, at)
                with pytest.raises((ReadError, ArtifactError)) as raised:
                    read(path)
            check(raised.value, path, errno.ENOMEM)
            assert "let fewer jobs run at once" in str(raised.value)


def test_a_lack_of_memory_for_a_tensor_is_no_damage(tmp_path):
    with pytest.raises(ReadError) as error, wanted_columns(tmp_path, "samples"):
        torch.empty(1 << 60)
    check(error.value, tmp_path, errno.ENOMEM)
    with pytest.raises(ReadError), wanted_columns(tmp_path, "samples"):
        raise MemoryError
    with pytest.raises(ArtifactError), wanted_columns(tmp_path, "samples"):
        raise RuntimeError("shape '[3]' is invalid for input of size 4")


def test_an_error_in_the_words_of_arrow_keeps_its_number(tmp_path):
    text = "IOError: Error reading bytes from file. Detail: [errno 5] Input/output error"
    check(errors.not_read(tmp_path, OSError(text)), tmp_path, errno.EIO)


@pytest.mark.parametrize(
    "error",
    [
        pa.ArrowInvalid("Parquet magic bytes not found in footer"),
        OSError("Couldn't deserialize thrift: TProtocolException: Invalid data"),
        OSError("Corrupt snappy compressed data."),
        IsADirectoryError(errno.EISDIR, "Is a directory"),
    ],
)
def test_bytes_that_are_not_parquet_are_damage(tmp_path, monkeypatch, error):
    path = tmp_path / "rows"
    write, (read, *_) = KINDS["rows"]
    write(path)
    fail_in_arrow(monkeypatch, error, "read")
    with pytest.raises(ArtifactError, match="delete it and rerun snakemake"):
        read(path)
    assert not retry_may_help(errors.not_read(path, error))


@pytest.mark.parametrize("number", [*PASSING, *FORBIDDEN])
@pytest.mark.parametrize("at", ["open", "read"])
def test_an_experiment_that_cannot_be_read_is_not_damaged(tmp_path, monkeypatch, number, at):
    path = tmp_path / EXPERIMENT.run / "experiment.json"
    path.parent.mkdir()
    path.write_text(EXPERIMENT.to_json())
    with monkeypatch.context() as patched:
        fail_in_python(patched, OSError(number, "as the system says"), at)
        with pytest.raises((ReadError, ArtifactError)) as error:
            read_experiment(path)
    check(error.value, path, number)
    assert read_experiment(path) == EXPERIMENT


@pytest.fixture
def no_more_files():
    """A function after which this process can open no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_are_named_as_such(tmp_path, no_more_files):
    path = tmp_path / "rows"
    write, (read, *_) = KINDS["rows"]
    write(path)
    no_more_files()
    with pytest.raises((ReadError, ArtifactError)) as error:
        read(path)
    with pytest.raises(StorageError) as unwritten:
        write(path)
    check(error.value, path, errno.EMFILE)
    assert "raise the limit (ulimit -n) and run the same command again" in str(error.value)
    assert str(unwritten.value).startswith(f"{path} cannot be written: Too many open files (")
    assert retry_may_help(unwritten.value)


@pytest.mark.parametrize("number", PASSING)
def test_a_write_that_fails_names_the_file_and_the_cause(tmp_path, monkeypatch, number):
    path = tmp_path / "rows"
    write, (read, *_) = KINDS["rows"]
    write(path)
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(number, "as the system says")

    for module, name in ((parquet.pq, "write_table"), (checksum, "add"), (os, "replace")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, fail)
            with pytest.raises(StorageError) as error:
                write(path)
        message = f"{path} cannot be written: {os.strerror(number)} (folder {tmp_path}); "
        assert str(error.value).startswith(message)
        assert "run the same command again; finished files are kept" in str(error.value)
        assert error.value.errno == number
        assert retry_may_help(error.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    read(path)


def test_a_failed_read_inside_a_write_is_not_blamed_on_the_write(tmp_path):
    for error in (
        errors.not_read(tmp_path / "source", OSError(errno.EIO, "")),
        OSError(errno.EIO, "Input/output error", "/elsewhere/source"),
    ):
        with pytest.raises(OSError) as raised, atomic(tmp_path / "file"):
            raise error
        assert raised.value is error
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "file"):
        raise FileNotFoundError(errno.ENOENT, "no such file")


def test_a_folder_that_fails_is_reported_with_the_cause(tmp_path, monkeypatch):
    def fail(**_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic_module.tempfile, "TemporaryFile", fail)
    assert unwritable(tmp_path) == (
        f"nothing can be written to {tmp_path} (Input/output error): run the same command again; "
        "nothing was started"
    )


def test_the_command_reports_a_failed_read_in_a_sentence(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise errors.not_read(tmp_path, OSError(errno.EIO, ""))

    monkeypatch.setattr(cli, "_of_a_study", fail)
    assert cli.main(["status"]) == 1
    assert capsys.readouterr().err == (
        f"cannot read {tmp_path}: Input/output error; the file may be intact: run the same command "
        "again\n"
    )
