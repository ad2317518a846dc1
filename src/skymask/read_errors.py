"""Failures of the system, the file system or the memory while files are read.

Such a failure tells nothing about the file.  Imports nothing but the standard library.
"""

import errno
import os
import re
from pathlib import Path

_FORBIDDEN = {errno.EACCES, errno.EPERM}
# the file is missing, or something else has its name
_OF_THE_FILE = {
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL),
}
_REMEDIES = {
    errno.ENOMEM: "let fewer jobs run at once and ",
    errno.EMFILE: "raise the limit (ulimit -n) and ",
    errno.ENFILE: "end other programs and ",
    errno.EFBIG: "raise the limit (ulimit -f) and ",
}
# pyarrow and torch also report these as errors without a number
_NUMBER = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)
_NO_MEMORY = re.compile(r"(malloc|realloc) of size \d+ failed|bad_alloc|can't allocate memory")


class ReadError(OSError):
    """A file that may be intact cannot be read; the message names it and says what to do.

    ``errno`` is that of the cause; ``ENOMEM`` where memory ran out.
    """

    def __str__(self) -> str:
        return str(self.strerror)


def read_error(path: Path, error: BaseException) -> ReadError | None:
    """Return the error for a file that could not be read for a reason that is not in the file.

    Args:
        path: The file.
        error: What was raised while it was opened, read or decoded.

    Returns:
        The error; ``None`` if the file is missing, or if ``error`` has no number: readers raise
        such errors for bytes that they cannot interpret.
    """
    number = error_number(error)
    if number is None or number in _OF_THE_FILE:
        return None
    reason = os.strerror(number)
    if number in _FORBIDDEN:
        remedy = "make it readable and run the same command again"
    else:
        remedy = f"the file may be intact: {advice(number)}"
    return ReadError(number, f"cannot read {path}: {reason}; {remedy}")


def advice(number: int) -> str:
    """Return what to do about a failure of the system by its ``number``, as in ``errno``."""
    return f"{_REMEDIES.get(number, '')}run the same command again"


def out_of_memory(error: BaseException) -> bool:
    """Return whether the memory of this machine, not of a GPU, did not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, OSError | RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def error_number(error: BaseException) -> int | None:
    """Return the number of an error as in ``errno``; ``None`` if it has none."""
    if out_of_memory(error):
        return errno.ENOMEM
    if not isinstance(error, OSError):
        return None
    text = _NUMBER.search(str(error))
    return error.errno or (int(text[1]) if text else None)
