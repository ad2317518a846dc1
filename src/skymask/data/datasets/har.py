"""Human activity recognition with smartphones (UCI HAR) from local files."""

import csv
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skymask.archives import ArchiveError, open_zip, unzipped
from skymask.contracts import describes
from skymask.data.datasets.arrays import (
    Arrays,
    DataError,
    check_size,
    failed_read,
    not_found,
    unpacked,
)

FOLDER = "UCI HAR Dataset"
ARCHIVES = (f"{FOLDER}.zip", "human+activity+recognition+using+smartphones.zip")
TABLES = ("train.csv", "test.csv")

SAMPLES = {"train": 7352, "test": 2947}
"""Samples in the two parts of the archive."""

ACTIVITIES = (
    "WALKING",
    "WALKING_UPSTAIRS",
    "WALKING_DOWNSTAIRS",
    "SITTING",
    "STANDING",
    "LAYING",
)
"""Kaggle's names of UCI's labels 1 … 6."""

FEATURES, SUBJECTS = 561, 30

LARGEST = 1 << 27
"""Limit on the unpacked size of the six files together, and of the archive in the archive, in
bytes; they have 2^26.5 and 2^25.9."""

# the split is part of the data set: every seed trains and tests on the same samples
SPLIT_SEED, EVERY = 0, 5

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Part:
    """Features [N, 561], labels [N] from 0, subjects [N] from 0."""

    features: Numbers
    labels: npt.NDArray[np.int64]
    subjects: npt.NDArray[np.int64]


@describes(shape=(561,), classes=6, train=8240, test=2059, groups=30)
def har(folders: list[Path]) -> Arrays:
    """Read 10,299 samples of six activities, 561 features each, of 30 subjects: natural clients.

    The archive's two parts, of different subjects, are joined.  All samples are ordered by subject,
    shuffled within it by a fixed seed, and every fifth is a test sample: 20 % of each subject's, to
    within one sample.  Features are standardised with the mean and the standard deviation of the
    training samples; one that is constant there is only centred.  Nothing is downloaded.
    Source: Anguita et al., ESANN 2013.

    Args:
        folders: Folders to search for UCI's folder ``UCI HAR Dataset``, its archive (also inside
            the archive that UCI ships), or Kaggle's ``train.csv`` and ``test.csv``; all give the
            same arrays.

    Raises:
        DataError: The files are missing or damaged.
    """
    from sklearn.preprocessing import StandardScaler

    parts = _find(folders)
    features = np.concatenate([part.features for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    subjects = np.concatenate([part.subjects for part in parts])
    train, test = _split(subjects)
    scaler = StandardScaler().fit(features[train])
    return Arrays(
        scaler.transform(features[train]).astype(np.float32),
        labels[train],
        scaler.transform(features[test]).astype(np.float32),
        labels[test],
        len(ACTIVITIES),
        1.0,
        subjects[train].astype(np.int32),
    )


def _split(subjects: npt.NDArray[np.int64]) -> tuple[Any, Any]:
    """Split into indices of training and of test samples, each in the order of the archive."""
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(subjects))
    ordered = shuffled[np.argsort(subjects[shuffled], kind="stable")]
    is_test = np.zeros(len(subjects), dtype=np.bool_)
    is_test[ordered[EVERY - 1 :: EVERY]] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _find(folders: list[Path]) -> list[_Part]:
    """Read the archive's two parts, checked, from the first folder that has them in any form."""
    for folder in folders:
        archives = [folder / name for name in ARCHIVES if (folder / name).is_file()]
        if (folder / FOLDER).is_dir():
            place = folder / FOLDER
            parts = _from_uci(place, unpacked(place, _files()))
        elif archives:
            place, parts = archives[0], _from_uci(archives[0], _in_archive(archives[0]))
        elif all((folder / name).is_file() for name in TABLES):
            place, parts = folder, [_from_table(folder / f"{part}.csv", part) for part in SAMPLES]
        else:
            continue
        present = np.unique(np.concatenate([part.subjects for part in parts]))
        if len(present) < SUBJECTS:
            raise DataError(f"{place} has samples of {len(present)} of {SUBJECTS} subjects: {FIX}")
        return parts
    raise not_found(
        "HAR",
        folders,
        f"Put UCI's archive {ARCHIVES[1]} (from https://archive.ics.uci.edu/dataset/240), its "
        f"unpacked folder {FOLDER!r}, or Kaggle's {' and '.join(TABLES)} (from "
        "https://www.kaggle.com/datasets/uciml/human-activity-recognition-with-smartphones)",
    )


FIX = "it is truncated or another data set. Replace it, or take its folder out of the search path"


def _files() -> list[str]:
    return [f"{part}/{kind}_{part}.txt" for part in SAMPLES for kind in ("X", "y", "subject")]


def _in_archive(place: Path) -> dict[str, bytes]:
    """Read the six files of UCI's archive, or of the one inside it."""
    try:
        with place.open("rb") as file, open_zip(file) as outer:
            if f"{FOLDER}.zip" not in outer.namelist():
                return _members(place, outer)
            content = _member(place, outer, f"{FOLDER}.zip", LARGEST)
            with open_zip(io.BytesIO(content)) as inner:
                return _members(place, inner)
    except KeyError as error:
        raise DataError(f"{place} lacks a file ({error.args[0]}): {FIX}") from error
    except (
        ArchiveError,
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        OSError,
        RuntimeError,
        zlib.error,
    ) as error:
        raise failed_read(place, error, f"cannot be unpacked ({error}): replace it") from error


def _members(place: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Read the six files of an archive, which have at most ``LARGEST`` bytes together."""
    contents: dict[str, bytes] = {}
    rest = LARGEST
    for file in _files():
        contents[file] = _member(place, archive, f"{FOLDER}/{file}", rest)
        rest -= len(contents[file])
    return contents


def _member(place: Path, archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """Read a file of an archive; no more is unpacked than the size that the archive states."""
    check_size(place, name, archive.getinfo(name).file_size, largest)
    return unzipped(archive, name, largest)


def _from_uci(place: Path, contents: dict[str, bytes]) -> list[_Part]:
    parts = []
    for part in SAMPLES:
        features, labels, subjects = (
            _numbers(f"{file} in {place}", contents[file], columns)
            for file, columns in (
                (f"{part}/X_{part}.txt", FEATURES),
                (f"{part}/y_{part}.txt", 1),
                (f"{part}/subject_{part}.txt", 1),
            )
        )
        label = f"{part} in {place}"
        parts.append(_checked(label, part, features, labels[:, 0], subjects[:, 0]))
    return parts


def _numbers(label: str, content: bytes, columns: int, **options: Any) -> Numbers:
    """Parse a text of numbers into [N, columns], as Python reads them, to the last bit."""
    try:
        if not content.strip():
            raise ValueError("it is empty")
        settings = {"comments": None, "ndmin": 2, "encoding": "utf-8", **options}
        # decoded line by line: as a whole, each character would have four bytes
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
        values: Numbers = np.loadtxt(text, **settings)
    except ValueError as error:
        raise DataError(f"{label} cannot be read ({error}): {FIX}") from error
    if values.shape[1] != columns:
        raise DataError(f"{label} has {values.shape[1]} columns where {columns} are needed: {FIX}")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(f"{label} has a value that is not finite in row {row + 1}: {FIX}")
    return values


def _from_table(path: Path, part: str) -> _Part:
    """Read Kaggle's form of a part: features, then the columns subject and Activity."""
    try:
        head, _, rows = path.read_bytes().partition(b"\n")
        names = next(csv.reader([head.decode()]), [])
    except (OSError, ValueError) as error:
        raise failed_read(path, error, f"cannot be read ({error}): {FIX}") from error
    if names[FEATURES:] != ["subject", "Activity"]:
        raise DataError(
            f"{path} lacks {FEATURES} columns of features, followed by subject and Activity: {FIX}"
        )

    def label_of(activity: str) -> int:
        return ACTIVITIES.index(activity.strip()) + 1

    form = {"delimiter": ",", "quotechar": '"', "converters": {FEATURES + 1: label_of}}
    values = _numbers(str(path), rows, FEATURES + 2, **form)
    return _checked(str(path), part, values[:, :FEATURES], values[:, -1], values[:, -2])


def _checked(label: str, part: str, features: Numbers, labels: Numbers, subjects: Numbers) -> _Part:
    """Make the part, if all of its samples are present, and labels and subjects in range."""
    counts = (len(features), len(labels), len(subjects))
    if set(counts) != {SAMPLES[part]}:
        shown = "{} rows of features, {} labels and {} subjects".format(*counts)
        raise DataError(f"{label} has {shown} where {SAMPLES[part]} are needed: {FIX}")
    for name, values, most in (
        ("labels", labels, len(ACTIVITIES)),
        ("subjects", subjects, SUBJECTS),
    ):
        if not np.isin(values, np.arange(1, most + 1)).all():
            raise DataError(f"{label} has {name} other than 1 … {most}: {FIX}")
    return _Part(features, labels.astype(np.int64) - 1, subjects.astype(np.int64) - 1)
