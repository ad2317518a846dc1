"""Errors of artifacts that cannot be read, each with its cause.

Imports nothing but the standard library.
"""

import errno
import os
import re
from pathlib import Path

_FORBIDDEN = {errno.EACCES, errno.EPERM}
# something else has the name of the file
_FOREIGN = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_REMEDIES = {
    errno.ENOMEM: "let fewer jobs run at once and ",
    errno.EMFILE: "raise the limit (ulimit -n) and ",
    errno.ENFILE: "end other programs and ",
    errno.EFBIG: "raise the limit (ulimit -f) and ",
}
# pyarrow and torch also report these as errors without a number
_NUMBER = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)
_NO_MEMORY = re.compile(r"(malloc|realloc) of size \d+ failed|bad_alloc|can't allocate memory")


class ArtifactError(ValueError):
    """A file is not what it should be; the message names it and says what to do."""


class ReadError(OSError):
    """A file that may be intact cannot be read; the message names it and says what to do.

    ``errno`` is that of the cause; ``ENOMEM`` where memory ran out.
    """

    def __str__(self) -> str:
        return str(self.strerror)


def unreadable(path: Path, reason: object) -> ArtifactError:
    """Return the error for a file that has to be made again because of ``reason``."""
    return ArtifactError(f"cannot read {path}: {reason}; delete it and rerun snakemake")


def missing(path: Path) -> ArtifactError:
    """Return the error for a file that is missing."""
    return ArtifactError(f"cannot read {path}: it is missing; rerun snakemake to make it")


def out_of_memory(error: BaseException) -> bool:
    """Return whether the memory of this machine, not of a GPU, did not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, OSError | RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def not_read(path: Path, error: Exception) -> ArtifactError | ReadError:
    """Return the error for a file that could not be read because of ``error``.

    An error of the system, the file system or the memory tells nothing about the file.  An error
    without a number, which a reader raises for bytes that it cannot interpret, does.

    Args:
        path: The file.
        error: What was raised while it was opened, read or decoded.
    """
    number = _number(error)
    if number == errno.ENOENT:
        return missing(path)
    if number is None or number in _FOREIGN:
        return unreadable(path, error)
    reason = os.strerror(number)
    if number in _FORBIDDEN:
        return ReadError(
            number, f"cannot read {path}: {reason}; make it readable and run the same command again"
        )
    return ReadError(
        number, f"cannot read {path}: {reason}; the file may be intact: {advice(number)}"
    )


def advice(number: int) -> str:
    """Return what to do about a failure of the system by its ``number``, as in ``errno``."""
    return f"{_REMEDIES.get(number, '')}run the same command again"


def _number(error: Exception) -> int | None:
    if out_of_memory(error):
        return errno.ENOMEM
    if not isinstance(error, OSError):
        return None
    text = _NUMBER.search(str(error))
    return error.errno or (int(text[1]) if text else None)
