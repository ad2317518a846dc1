"""Arrays and errors of data set loaders."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from skymask.read_errors import ReadError, read_error

LARGEST = 1 << 28
"""Limit on the unpacked size of a file in an archive, in bytes; CIFAR-100's largest has 2^27.2.

An archive without a known checksum is unpacked in memory before its files are checked: it must not
fill the memory first.  No archive chooses the path of a file that is written.
"""


class DataError(ValueError):
    """A data set is missing or damaged; the message says what to do."""


@dataclass(frozen=True)
class Arrays:
    """A data set.

    Attributes:
        train_features: Features of the training samples [N, ...], uint8 or float32.
        train_labels: Their labels [N], int64.
        test_features: Features of the test samples.
        test_labels: Their labels.
        classes: Number of classes.
        scale: Divisor of the features when they are used.
        train_groups: Natural client of each training sample [N], from 0; ``None`` where the data
            set has none.
    """

    train_features: npt.NDArray[Any]
    train_labels: npt.NDArray[Any]
    test_features: npt.NDArray[Any]
    test_labels: npt.NDArray[Any]
    classes: int
    scale: float
    train_groups: npt.NDArray[Any] | None = None


def not_found(name: str, folders: list[Path], fix: str, failure: str = "") -> DataError:
    """Make the error of a data set that is in none of ``folders``.

    Args:
        name: Name of the data set.
        folders: Folders that were searched.
        fix: Which files to put there.
        failure: Why the download failed, if there was one.
    """
    searched = ", ".join(str(folder) for folder in folders)
    download = f"; and its download failed ({' '.join(failure.split())})" if failure else ""
    return DataError(
        f"{name} was found in none of these folders: {searched}{download}. {fix} into one "
        "folder and name that folder in the environment variable SKYMASK_DATA or under "
        "data_folders in the study."
    )


def check_size(place: Path, file: str, size: int, largest: int | None = None) -> None:
    """Refuse a file that is too large to be part of a data set.

    Args:
        place: Path of the archive.
        file: Name of the file.
        size: Its unpacked size in bytes.
        largest: Limit on it; by default ``LARGEST``.

    Raises:
        DataError: The size is above the limit.
    """
    largest = LARGEST if largest is None else largest
    if size > largest:
        raise DataError(
            f"{place} is not what it should be: {file} in it has {size} bytes or more unpacked, "
            f"more than {largest}. Replace it"
        )


def failed_read(path: Path, error: Exception, damaged: str) -> ReadError | DataError:
    """Return the error for a local file that cannot be read because of ``error``.

    Args:
        path: The file.
        error: What was raised while it was read or unpacked.
        damaged: What is wrong and what to do if the file is damaged, missing or another one.
    """
    # zipfile calls a file whose end it cannot read no zip file
    causes = [one for one in (error, error.__context__) if isinstance(one, OSError)]
    failed = read_error(path, causes[0]) if causes else None
    return failed or DataError(f"{path} {damaged}")


def unpacked(place: Path, files: Iterable[str]) -> dict[str, bytes]:
    """Read ``files`` below the folder ``place`` of an unpacked archive.

    Raises:
        DataError: A file cannot be read.
    """
    contents = {}
    for file in files:
        try:
            contents[file] = (place / file).read_bytes()
        except OSError as error:
            damaged = f"cannot be read ({error}): unpack the archive again, or take {place} out of"
            raise failed_read(place / file, error, f"{damaged} the search path") from error
    return contents


def search_path(folders: list[str]) -> list[Path]:
    """List where to look for local copies of data: SKYMASK_DATA first, then the study's folders.

    The environment variable has folders separated by the system's path separator.
    """
    named = os.environ.get("SKYMASK_DATA", "").split(os.pathsep)
    return [Path(folder).expanduser() for folder in [*filter(None, named), *folders]]
