"""Errors of artifacts that cannot be read, each with its cause."""

import errno
from pathlib import Path

from skymask.read_errors import ReadError, error_number, read_error


class ArtifactError(ValueError):
    """A file is not what it should be; the message names it and says what to do."""


def unreadable(path: Path, reason: object) -> ArtifactError:
    """Return the error for a file that has to be made again because of ``reason``."""
    return ArtifactError(f"cannot read {path}: {reason}; delete it and rerun snakemake")


def missing(path: Path) -> ArtifactError:
    """Return the error for a file that is missing."""
    return ArtifactError(f"cannot read {path}: it is missing; rerun snakemake to make it")


def not_read(path: Path, error: Exception) -> ArtifactError | ReadError:
    """Return the error for a file that could not be read because of ``error``.

    Args:
        path: The file.
        error: What was raised while it was opened, read or decoded.
    """
    if error_number(error) == errno.ENOENT:
        return missing(path)
    return read_error(path, error) or unreadable(path, error)
