"""CIFAR-10 and CIFAR-100 from local files or torchvision's download."""

import gzip
import hashlib
import io
import pickle
import tempfile
import zlib
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from skymask.archives import ArchiveError, tar_members
from skymask.contracts import describes
from skymask.data.datasets.arrays import (
    Arrays,
    DataError,
    check_size,
    failed_read,
    not_found,
    unpacked,
)

SHAPE = (3, 32, 32)

Part = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


class _Known(Protocol):
    """Attributes of torchvision's class: names, and each file with its MD5."""

    base_folder: str
    filename: str
    url: str
    tgz_md5: str
    train_list: list[list[str]]
    test_list: list[list[str]]


@describes(shape=(3, 32, 32), classes=10, train=50000, test=10000)
def cifar10(folders: list[Path]) -> Arrays:
    """Read 50,000 training and 10,000 test images of 32 × 32 pixels in colour, ten classes.

    Each file is checked against its MD5 before it is read.  Source: Krizhevsky, 2009.

    Args:
        folders: Folders to search for ``cifar-10-batches-py`` or ``cifar-10-python.tar.gz``; if
            none has either, torchvision downloads the archive into the first.

    Raises:
        DataError: The files are damaged, or missing and cannot be downloaded.
    """
    from skymask.data.datasets.vision import CIFAR10

    return _load("CIFAR-10", CIFAR10, "labels", 10, folders)


@describes(shape=(3, 32, 32), classes=100, train=50000, test=10000)
def cifar100(folders: list[Path]) -> Arrays:
    """Read 50,000 training and 10,000 test images of 32 × 32 pixels in colour, a hundred classes.

    As ``cifar10``, with ``cifar-100-python`` or ``cifar-100-python.tar.gz``; the labels are the
    fine ones.
    """
    from skymask.data.datasets.vision import CIFAR100

    return _load("CIFAR-100", CIFAR100, "fine_labels", 100, folders)


def _load(name: str, known: _Known, key: str, classes: int, folders: list[Path]) -> Arrays:
    """Read the data set; ``known`` is torchvision's class, with names and checksums."""
    place = _find(known, folders) or _download(name, known, folders)
    digests = {file: digest for file, digest in (*known.train_list, *known.test_list)}
    if place.is_dir():
        contents = unpacked(place, digests)
        for file, digest in digests.items():
            _check_digest(f"{file} in {place}", name, contents[file], digest)
    else:
        contents = _from_archive(name, place, known, digests)

    def part(listed: list[list[str]]) -> Part:
        pairs = [_samples(f"{file} in {place}", contents[file], key, classes) for file, _ in listed]
        images, labels = zip(*pairs, strict=True)
        return np.concatenate(images), np.concatenate(labels)

    return Arrays(*part(known.train_list), *part(known.test_list), classes, 255.0)


def _find(known: _Known, folders: list[Path]) -> Path | None:
    for folder in folders:
        if (folder / known.base_folder).is_dir():
            return folder / known.base_folder
        if (folder / known.filename).is_file():
            return folder / known.filename
    return None


def _download(name: str, known: _Known, folders: list[Path]) -> Path:
    """Download the archive; it appears in the first folder when it is complete and checked."""
    from skymask.data.datasets.vision import download_url

    target = folders[0] / known.filename
    try:
        folders[0].mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folders[0]) as unfinished:
            download_url(known.url, unfinished, known.filename, known.tgz_md5)
            (Path(unfinished) / known.filename).replace(target)
    except (OSError, RuntimeError, HTTPException) as error:
        fix = f"Put {known.filename} (from {known.url}) or its folder {known.base_folder}"
        raise not_found(name, folders, fix, str(error) or repr(error)) from error
    return target


def _from_archive(
    name: str, place: Path, known: _Known, digests: Mapping[str, str]
) -> dict[str, bytes]:
    """Read the files of ``digests`` from the archive; each is checked before the next is read."""
    wanted = {f"{known.base_folder}/{file}": file for file in digests}
    contents = {}
    try:
        with place.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            # as a stream: going back in a compressed archive would unpack it again
            for member in tar_members(gzip.GzipFile(fileobj=plain) if zipped else plain):
                file = wanted.get(member.name.removeprefix("./"))
                if file and member.is_file:
                    check_size(place, file, member.size)
                    contents[file] = member.read()
                    _check_digest(f"{file} in {place}", name, contents[file], digests[file])
    except (ArchiveError, OSError, EOFError, zlib.error) as error:
        raise failed_read(place, error, f"cannot be unpacked ({error}): replace it") from error
    missing = [file for file in digests if file not in contents]
    if missing:
        raise DataError(
            f"{place} lacks {', '.join(missing)} in {known.base_folder}: it is truncated or "
            "another archive. Replace it"
        )
    return contents


def _check_digest(label: str, name: str, content: bytes, wanted: str) -> None:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != wanted:
        raise DataError(
            f"{label} is not the file of {name}: it has the MD5 {digest}, not {wanted}. "
            "Replace it, or take its folder out of the search path"
        )


class _ArraysOnly(pickle.Unpickler):
    """Unpickler of plain values and NumPy arrays, which calls nothing else that a file names."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),  # how Python 3 writes bytes for Python 2
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array")
        return super().find_class(module, name)


def _samples(label: str, content: bytes, key: str, classes: int) -> Part:
    """Images [N, 3, 32, 32] and labels [N] of one file, a pickle of Python 2."""
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        images, given = batch["data"], batch[key]
    except (
        pickle.UnpicklingError,
        AttributeError,
        EOFError,
        ImportError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(f"{label} cannot be read ({error}): replace it") from error
    width = int(np.prod(SHAPE))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2:
        raise DataError(f"{label} has no rows of bytes under 'data': replace it")
    if images.shape[1] != width:
        raise DataError(
            f"{label} has images of {images.shape[1]} bytes where {width} are needed: replace it"
        )
    labels = np.asarray(given)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(f"{label} has no integer under {key!r} for each of its images: replace it")
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise DataError(f"{label} has labels outside 0 … {classes - 1}: replace it")
    return images.reshape(-1, *SHAPE), labels.astype(np.int64)
