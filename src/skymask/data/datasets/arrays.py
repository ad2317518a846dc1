"""What a loader returns, and how it fails."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

LARGEST = 1 << 28
"""Bytes that a file in an archive may have unpacked; the largest there is, CIFAR-100's, has 2^27.2.

An archive whose checksum is not known is unpacked in memory before its files are checked: it must
not fill the memory first.  Nothing is ever written where an archive says.
"""


class DataError(ValueError):
    """A data set that is missing or not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Arrays:
    """A data set: features [N, ...] uint8 or float32, labels [N] int64.

    Features are divided by ``scale`` when they are used.  ``train_groups`` [N] is the natural owner
    of each training sample, from 0, where the data set has owners.
    """

    train_features: npt.NDArray[Any]
    train_labels: npt.NDArray[Any]
    test_features: npt.NDArray[Any]
    test_labels: npt.NDArray[Any]
    classes: int
    scale: float
    train_groups: npt.NDArray[Any] | None = None


def not_found(name: str, folders: list[Path], way_out: str, failure: str = "") -> DataError:
    """The error of a data set that none of ``folders`` holds.

    ``way_out`` says what to put where; ``failure``, why it could not be downloaded.
    """
    searched = ", ".join(str(folder) for folder in folders)
    download = f"; and its download failed ({' '.join(failure.split())})" if failure else ""
    return DataError(
        f"{name} was found in none of these folders: {searched}{download}. {way_out} into one "
        "folder and name that folder in the environment variable SKYMASK_DATA or under "
        "data_folders in the study."
    )


def check_size(place: Path, file: str, size: int) -> None:
    """Raises DataError where ``file``, of ``size`` bytes unpacked, is no file of a data set."""
    if size > LARGEST:
        raise DataError(
            f"{place} is not what it should be: {file} in it has {size} bytes or more unpacked, no "
            f"file of a data set has more than {LARGEST}. Replace it"
        )


def unpacked(place: Path, files: Iterable[str]) -> dict[str, bytes]:
    """The contents of ``files`` below the folder ``place`` of an unpacked archive.

    Raises DataError for one that cannot be read.
    """
    contents = {}
    for file in files:
        try:
            contents[file] = (place / file).read_bytes()
        except OSError as error:
            raise DataError(
                f"{place / file} cannot be read ({error}): unpack the archive again, or take "
                f"{place} out of the search path"
            ) from error
    return contents


def search_path(folders: list[str]) -> list[Path]:
    """Where to look for local copies of data: SKYMASK_DATA first, then the study's folders.

    The variable holds folders separated by the system's path separator.
    """
    named = os.environ.get("SKYMASK_DATA", "").split(os.pathsep)
    return [Path(folder).expanduser() for folder in [*filter(None, named), *folders]]
