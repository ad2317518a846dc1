"""Files that are either whole or not there."""

import errno
import fcntl
import glob
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
# bytes without which no job can write anything
_LEAST = 1 << 16


class StorageError(OSError):
    """A file that cannot be written; the message names it and its folder and says what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it there if the block succeeds.

    Whatever happens, the temporary file is gone afterwards, and ``path`` as it was or whole; what a
    writer that was killed left of ``path`` is gone with the next.
    Raises StorageError where the disk is full or nothing may be written there.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            with _held(temporary):
                yield temporary
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        sentence = _sentence(error, path, temporary)
        if sentence is None:
            raise
        raise StorageError(error.errno, sentence) from error


@contextmanager
def _held(temporary: Path) -> Iterator[None]:
    """Make a file and hold a lock of the operating system on it: the mark that its writer lives."""
    while True:
        file = os.open(temporary, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        # between the two lines above it had no lock: another writer may have swept it away
        if temporary.exists():
            break
        os.close(file)
    try:
        yield
    finally:
        os.close(file)


def _sweep(path: Path) -> None:
    """Remove what writers of ``path`` left that were killed: their files have no lock."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _sentence(error: OSError, path: Path, temporary: Path) -> str | None:
    """Why ``path`` cannot be written and what to do, where that is the reason of ``error``."""
    if isinstance(error, StorageError):
        return None
    if error.errno in _FULL:
        return (
            f"{path} cannot be written: no space is left for {path.parent.absolute()} (disk full, "
            "or quota reached). Free space there and run the same command again; what is finished "
            "is kept"
        )
    # that something else may not be read is another matter
    ours = temporary.name in str(error) or error.filename in map(str, path.parents)
    if error.errno in _FORBIDDEN and ours:
        return (
            f"{path} cannot be written: {path.parent.absolute()} is read-only or not yours to "
            "write. Make it writable, or run in a copy of the project, and run the same command "
            "again"
        )
    return None


def unwritable(folder: Path) -> str | None:
    """Why no file can be written to ``folder``, in a sentence; None if one can be.

    A folder that is not there yet is made; a file is written and removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_LEAST))
    except OSError as error:
        return (
            f"nothing can be written to {folder.absolute()} ({os.strerror(error.errno or 0)}): "
            "free space there or make it writable, or run in a copy of the project; nothing was "
            "started"
        )
    return None
