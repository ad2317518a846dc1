"""An archive that unpacks to more than any data set has is refused before it fills the memory."""

import gzip
import importlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

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
    for module in MODULES.values():
        monkeypatch.setattr(module, "LARGEST", 1000)


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


def test_a_zip_of_files_that_are_too_large_together(tmp_path):
    with zipfile.ZipFile(tmp_path / MODULES["har"].ARCHIVES[0], "w") as archive:
        for file in MODULES["har"]._files():
            archive.writestr(f"UCI HAR Dataset/{file}", FLOOD[:400])
    with pytest.raises(DataError, match="has 400 bytes or more unpacked, more than 200"):
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


# --- memory, with the limits as they are ---------------------------------------------------------

MANY = 300 << 20
"""Unpacked bytes of a bomb."""

FEW = 200 << 10
"""Limit on the growth of the memory, in kB; the data sets have files of up to 150 MB."""

PEAK = r"""
import re, sys
from pathlib import Path
from types import SimpleNamespace
import numpy
from skymask.data.datasets.cifar import _load
from skymask.data.datasets.fashion_mnist import fashion_mnist
from skymask.data.datasets.har import _find

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

known = SimpleNamespace(
    base_folder="cifar-10-batches-py", filename="cifar-10-python.tar.gz",
    train_list=[["data_batch_1", "0"], ["data_batch_2", "0"]], test_list=[["test_batch", "0"]],
)
load = {
    "cifar": lambda folders: _load("CIFAR-10", known, "labels", 10, folders),
    "fashion_mnist": fashion_mnist,
    "har": _find,
}[sys.argv[1]]
before = peak()
try:
    load([Path(sys.argv[2])])
except ValueError as error:
    print(peak() - before, error)
"""


def growth(loader, folder):
    """By how many kB the peak of memory grows, and the message, in a process of its own."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc")
    source = Path(arrays.__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, loader, str(folder)],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    size, _, text = done.stdout.partition(" ")
    return int(size), text


def zipped(path, *contents):
    """Write contents to a gzip file, the numbers as that many zeros."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for content in contents:
            if isinstance(content, bytes):
                file.write(content)
            else:
                for _ in range(content >> 20):
                    file.write(bytes(1 << 20))
    assert path.stat().st_size < MANY / 100


def header(kind, size, name="cifar-10-batches-py/data_batch_1"):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", ["x", "g", "L", "K"])
def test_a_tar_with_a_large_header(tmp_path, kind):
    zipped(tmp_path / "cifar-10-python.tar.gz", header(kind.encode(), MANY), MANY)
    size, text = growth("cifar", tmp_path)
    assert "cifar-10-python.tar.gz cannot be unpacked (a file has headers of 3145" in text
    assert size < FEW // 10


def test_a_tar_with_a_large_file(tmp_path):
    # within the limit of a file: no second one is kept before the first is checked
    content = 250 << 20
    parts = [header(b"0", content, f"cifar-10-batches-py/data_batch_{i}") for i in (1, 2)]
    zipped(tmp_path / "cifar-10-python.tar.gz", parts[0], content, parts[1], content)
    size, text = growth("cifar", tmp_path)
    assert "is not the file of CIFAR-10" in text
    assert size < 2.2 * content / 1024


def test_a_gzip_file_that_is_larger_than_its_data(tmp_path):
    for name in MODULES["fashion_mnist"].CONTENT:
        zipped(tmp_path / f"{name}.gz", MANY)
    size, text = growth("fashion_mnist", tmp_path)
    assert "bytes or more unpacked" in text
    assert size < FEW


def entry(name, stated, content, method):
    """A zip archive with one file, whose stated size is not its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        with archive.open(name, "w") as file:
            for _ in range(content >> 20):
                file.write(bytes(1 << 20))
        archive.getinfo(name).file_size = stated
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_with_a_file_larger_than_stated(tmp_path, method):
    name = f"UCI HAR Dataset/{MODULES['har']._files()[0]}"
    (tmp_path / "UCI HAR Dataset.zip").write_bytes(entry(name, 10, MANY, method))
    size, text = growth("har", tmp_path)
    assert "cannot be unpacked" in text
    assert size < FEW // 10


def test_a_zip_with_many_files_in_a_zip(tmp_path):
    # 2 million entries of the list of files, in 100 MB that are compressed to less than a megabyte
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"")
    plain = buffer.getvalue()
    start, end = plain.index(b"PK\1\2"), plain.index(b"PK\5\6")
    many = 2_000_000
    listed = plain[start:end] * many
    last = bytearray(plain[end:])
    last[12:16] = len(listed).to_bytes(4, "little")
    with zipfile.ZipFile(
        tmp_path / "UCI HAR Dataset.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1
    ) as outer:
        outer.writestr("UCI HAR Dataset.zip", plain[:start] + listed + bytes(last))
    size, text = growth("har", tmp_path)
    assert "cannot be unpacked (its list of files has more than 1048576 bytes)" in text
    assert size < FEW * 1.5
