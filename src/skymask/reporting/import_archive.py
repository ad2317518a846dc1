"""Archives of :mod:`skymask.reporting.export`, checked and placed among the results."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from skymask.archives import ArchiveError, Member, tar_members
from skymask.artifacts import checksum, provenance_file
from skymask.artifacts.atomic import atomic
from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.records import read_experiment
from skymask.jobs import paths
from skymask.reporting.export import CONTENTS, FORMAT, sha256

FOLDERS = ("data", "figures", "partitions", "report", "runs", "studies", "tables")
"""Folders below the results folder that an archive may have files in."""

SUFFIXES = (".parquet", ".json", ".yaml", ".csv", ".md", ".tex", ".html", ".png", ".pdf")
"""Kinds of files that an archive may have."""

_LARGEST_CONTENTS = 1 << 28


@dataclass(frozen=True)
class Imported:
    """What an archive brought.

    Attributes:
        study: Name of the study.
        commit: Commit of the code that exported it.
        file: The study file.
        files: Number of files of the archive.
        new: Number of those that were not there.
    """

    study: str
    commit: str
    file: Path
    files: int
    new: int


@dataclass(frozen=True)
class _Contents:
    """What the first member says: a study, a commit, and size and SHA-256 of each file."""

    study: str
    commit: str
    files: dict[str, tuple[int, str]]


class _RefusedError(ValueError):
    """The archive is not placed; the message ends a sentence that names it."""


def place(archive: Path, results: Path, replace: bool = False) -> Imported:
    """Check all files of an archive, and then place them below the results folder.

    Args:
        archive: The archive.
        results: The results folder.
        replace: Replace files that are there with other bytes.

    Returns:
        What was placed; files that are there already, with the same bytes, stay.

    Raises:
        ValueError: The archive is damaged, has been changed, has files that do not belong into it,
            or would replace others; nothing was placed.
        StorageError: The disk is full or write-protected.
    """
    results.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".import-", dir=results) as folder:
            contents = _unpack(archive, Path(folder))
            names = sorted(contents.files)
            for name in names:
                _check(Path(folder) / name)
            new = _move(names, Path(folder), results, replace)
            file = paths.study_file(contents.study, results)
            return Imported(contents.study, contents.commit, file, len(names), new)
    except (_RefusedError, ArchiveError) as error:
        raise ValueError(f"{archive} cannot be imported: {error}; nothing was placed") from error


def _unpack(archive: Path, folder: Path) -> _Contents:
    """Unpack an archive into an empty folder; return what it contains."""
    with archive.open("rb") as file, pa.CompressedInputStream(file, "zstd") as stream:
        members = tar_members(_Decompressed(stream), largest_total=1 << 62)
        contents = _read_contents(next(members, None))
        free = shutil.disk_usage(folder).free
        if (needed := sum(size for size, _ in contents.files.values())) > free:
            raise _RefusedError(f"it needs {needed:,} bytes, and {folder.parent} has {free:,}")
        missing = dict(contents.files)
        for member in members:
            name = member.name.removeprefix(f"{paths.RESULTS}/")
            if member.name == name or name not in missing or not member.is_file:
                raise _RefusedError(f"it has {member.name}, which its list of files has not")
            size, digest = missing.pop(name)
            if member.size != size or _written(folder / name, member.pieces()) != digest:
                raise _RefusedError(f"{name} is not the file that its checksum is of")
    if missing:
        raise _RefusedError(f"it lacks {next(iter(missing))}")
    return contents


class _Decompressed:
    """A compressed stream whose damage is an error of the archive."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes."""
        try:
            content: bytes = self._stream.read(size)
        except OSError as error:
            # an error of the operating system has a number
            if error.errno is not None:
                raise
            raise _RefusedError(f"it is damaged or no .tar.zst ({error})") from error
        return content


def _read_contents(member: Member | None) -> _Contents:
    if member is None or member.name != CONTENTS or member.size > _LARGEST_CONTENTS:
        raise _RefusedError(f"it does not begin with {CONTENTS}: skymask export did not write it")
    try:
        found = json.loads(member.read())
        if found["format"] != FORMAT:
            raise _RefusedError(f"it has format {found['format']}, and this version reads {FORMAT}")
        listed = {name: (int(f["size"]), str(f["sha256"])) for name, f in found["files"].items()}
        contents = _Contents(str(found["study"]), str(found["commit"]), listed)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, _RefusedError):
            raise
        raise _RefusedError(f"its list of files is damaged ({error})") from error
    for name, (size, _) in listed.items():
        parts = PurePosixPath(name).parts
        plain = name == "/".join(parts) and not any(part.startswith(".") for part in parts)
        if size < 0 or not plain or len(parts) < 2 or parts[0] not in FOLDERS:
            raise _RefusedError(f"{name!r} is no path of results")
        if PurePosixPath(name).suffix not in SUFFIXES or "\\" in name or not name.isprintable():
            raise _RefusedError(f"{name!r} is no file of results")
    return contents


def _written(path: Path, pieces: Iterable[bytes]) -> str:
    """Write a file; return its SHA-256."""
    digest = hashlib.sha256()
    with atomic(path) as temporary, temporary.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _check(path: Path) -> None:
    """Check an unpacked file by what it says of itself."""
    problem = None
    if path.suffix == ".parquet":
        problem = checksum.problem(path)
    elif path.parent.name == "provenance" and provenance_file.read(path) is None:
        problem = "it is no provenance file"
    elif path.name == "experiment.json":
        try:
            read_experiment(path)
        except ArtifactError as error:
            problem = str(error)
    if problem:
        raise _RefusedError(f"{path.name} of {path.parent.name}: {problem}")


def _move(names: list[str], folder: Path, results: Path, replace: bool) -> int:
    """Move files from a folder to the results, provenance files last; return how many are new."""
    new = []
    for name in names:
        if not (results / name).exists():
            new.append(name)
        elif sha256(results / name) != sha256(folder / name):
            if not replace:
                raise _RefusedError(
                    f"{results / name} is there with other contents: import into another folder "
                    "(--results), or replace such files (--replace)"
                )
            new.append(name)
    # they say that the others are there
    for name in sorted(new, key=lambda name: PurePosixPath(name).parent.name == "provenance"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / name, results / name)
    return len(new)
