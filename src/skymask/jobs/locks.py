"""Locks of the working directory.

Snakemake locks its folder, ``.snakemake``, with files that stay when it is killed.  The file
``in-use`` in that folder has a lock of the operating system, which ends with its process: it tells
whether the files are stale.
"""

import fcntl
import os
from pathlib import Path
from typing import TextIO


class InUseError(ValueError):
    """The folder is in use; the message names the process and what to do."""


def acquire(folder: Path) -> TextIO | None:
    """Mark ``folder`` (Snakemake's own) as in use while the returned file is open.

    Without another process that has it in use, the locks of a killed run are removed, so that the
    same command continues.  Since some network file systems keep locks of the operating system to
    one host, nothing is removed where the last user was on another host.  For the main process of
    Snakemake only: its jobs may run on other hosts.

    Returns:
        The open file, or ``None`` where the file system has no such locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark = _open_mark(folder)
    except OSError:
        return None
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _lock_files(folder) or (_last_user(mark) or [""])[0] in ("", os.uname().nodename):
            unlock(folder)
            _sign(mark)
    except BlockingIOError:
        pass
    except OSError:
        _sign(mark)
        mark.close()
        return None
    fcntl.flock(mark, fcntl.LOCK_SH)
    return mark


def acquire_alone(folder: Path) -> TextIO:
    """Take ``folder`` (Snakemake's own) for this process alone while the returned file is open.

    Raises:
        InUseError: A Snakemake has the folder in use, or may have on another host.
    """
    try:
        mark = _open_mark(folder)
    except FileNotFoundError as error:
        raise InUseError(
            f"{folder} is missing, so no Snakemake has run here: change to the folder in which it "
            "was started"
        ) from error
    here = os.uname().nodename
    host, *process = _last_user(mark) or [""]
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        in_use = False
    except BlockingIOError:
        in_use = True
    except OSError:
        # a file system without locks: the number of the process has to do
        in_use = host == here and Path("/proc", *process).exists()
    if in_use:
        mark.close()
        raise InUseError(
            f"a Snakemake runs in this folder (process {' '.join(process)} on {host}): wait for "
            "it, or end it with Ctrl-C, which ends its jobs too; nothing was changed"
        )
    if host not in ("", here):
        mark.close()
        raise InUseError(
            f"Snakemake last ran here from {host}, and {here} cannot tell whether it still runs: "
            f"run this on {host}, or delete {folder}/in-use if it has surely ended; nothing was "
            "changed"
        )
    return mark


def unlock(folder: Path) -> int:
    """Remove Snakemake's locks from ``folder``, its own; return how many there were."""
    stale = _lock_files(folder)
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def _lock_files(folder: Path) -> list[Path]:
    return list(folder.glob("locks/*.lock"))


def _open_mark(folder: Path) -> TextIO:
    # keeps what the last user wrote until the lock is acquired
    return (folder / "in-use").open("a+", encoding="utf-8")


def _last_user(mark: TextIO) -> list[str]:
    """Host and process of the last user; empty if there was none."""
    mark.seek(0)
    return mark.read().split()


def _sign(mark: TextIO) -> None:
    mark.truncate(0)
    mark.write(f"{os.uname().nodename} {os.getpid()}\n")
    mark.flush()
