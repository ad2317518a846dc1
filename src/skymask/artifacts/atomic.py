"""Atomic writes: a file appears whole or not at all."""

import errno
import fcntl
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skymask.read_errors import ReadError, advice

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
# bytes without which no job can write anything
_MINIMUM = 1 << 16
# the permissions that new files lack; tempfile would let only their owner read them
_UMASK = os.umask(0o022)
os.umask(_UMASK)


class StorageError(OSError):
    """A file cannot be written; the message names it and its folder and says what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` after the block.

    If the block fails, the temporary file is removed and ``path`` is as it was.  Temporary files of
    writers of ``path`` that were killed are removed as well.

    Raises:
        StorageError: The disk is full or write-protected, or the system fails otherwise.
    """
    temporary = path.with_name(f".{path.name}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with _locked_file(path) as temporary:
            try:
                yield temporary
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        message = _message(error, path, temporary)
        if message is None:
            raise
        raise StorageError(error.errno, message) from error


@contextmanager
def _locked_file(path: Path) -> Iterator[Path]:
    """Make a file for what becomes ``path``, with a lock that tells that its writer lives."""
    while True:
        file, name = tempfile.mkstemp(".tmp", f".{path.name}.", path.parent)
        with suppress(OSError):
            os.fchmod(file, 0o666 & ~_UMASK)
            fcntl.flock(file, fcntl.LOCK_EX)
        # before it was locked, another writer may have taken it for a leftover
        if os.path.exists(name):
            break
        os.close(file)
    try:
        yield Path(name)
    finally:
        os.close(file)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of killed writers of ``path``, which nothing locks."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError), leftover.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def _message(error: OSError, path: Path, temporary: Path) -> str | None:
    """Why ``path`` cannot be written and what to do; ``None`` if ``error`` has another cause."""
    if isinstance(error, StorageError | ReadError) or error.errno is None:
        return None
    if error.errno in _FULL:
        return (
            f"{path} cannot be written: no space is left for {path.parent.absolute()} (disk full, "
            "or quota reached). Free space there and run the same command again; finished files "
            "are kept"
        )
    # the block may also have failed to read another file
    ours = temporary.name in str(error) or error.filename in map(str, path.parents)
    if error.errno in _FORBIDDEN and ours:
        return (
            f"{path} cannot be written: {path.parent.absolute()} is read-only or belongs to "
            "another user. Make it writable, or run in a copy of the project, and run the same "
            "command again"
        )
    # an error of a write to an open file names no file
    if ours or (error.filename is None and error.errno != errno.ENOENT):
        return (
            f"{path} cannot be written: {os.strerror(error.errno)} "
            f"(folder {path.parent.absolute()}); {advice(error.errno)}; finished files are kept"
        )
    return None


def unwritable(folder: Path) -> str | None:
    """Return why no file can be written to ``folder``, in a sentence; ``None`` if one can be.

    A folder that is missing is made; a file is written and removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_MINIMUM))
    except OSError as error:
        number = error.errno or 0
        remedy = "free space there or make it writable, or run in a copy of the project"
        if number not in _FULL | _FORBIDDEN | {errno.EEXIST, errno.ENOTDIR}:
            remedy = advice(number)
        return (
            f"nothing can be written to {folder.absolute()} ({os.strerror(number)}): {remedy}; "
            "nothing was started"
        )
    return None
