"""What the Snakefile and some scripts need: the study, a lock, the places where data may lie.

Imports nothing heavy.
"""

import fcntl
import os
from pathlib import Path
from typing import TextIO


class InUseError(ValueError):
    """The folder is another's; the message says whose and what to do."""


def hold(folder: Path) -> TextIO | None:
    """Mark ``folder`` (Snakemake's own) as in use while the returned file is open.

    If no other process has it in use, locks that a killed run left there are removed, so that the
    same command goes on.  The mark is a lock of the operating system, which ends with the process
    however that ends.  Since some network file systems keep such locks to one host, nothing is
    removed where the last user was on another.  Returns ``None`` where the file system has no such
    locks.  For the main process of Snakemake alone: its jobs may run on other hosts.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark = _mark(folder)
    except OSError:
        return None
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _locks(folder) or _host(mark) in ("", os.uname().nodename):
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


def seize(folder: Path) -> TextIO:
    """Take ``folder`` (Snakemake's own) for oneself alone while the returned file is open.

    Raises InUseError where a Snakemake has it in use, or may have on another host.
    """
    try:
        mark = _mark(folder)
    except FileNotFoundError as error:
        raise InUseError(
            f"{folder} is missing, so no Snakemake has run here: change to the folder in which it "
            "was started"
        ) from error
    user, here = _read(mark), os.uname().nodename
    last = _host(mark)
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        at_work = False
    except BlockingIOError:
        at_work = True
    except OSError:
        # no such locks here: by its number, as far as that can be seen
        at_work = last == here and Path("/proc", *user[1:]).exists()
    if at_work:
        mark.close()
        raise InUseError(
            f"a Snakemake is at work in this folder (process {' '.join(user[1:])} on {last}): wait "
            "for it, or end it with Ctrl-C, which ends its jobs too; nothing was changed"
        )
    if last not in ("", here):
        mark.close()
        raise InUseError(
            f"Snakemake was last at work here from {last}, and from {here} nobody can see whether "
            f"it still is: run this on {last}, or delete {folder}/in-use if it surely is not; "
            "nothing was changed"
        )
    return mark


def unlock(folder: Path) -> int:
    """Remove Snakemake's locks from ``folder``, its own; return how many there were."""
    locks = _locks(folder)
    for stale in locks:
        stale.unlink(missing_ok=True)
    return len(locks)


def _locks(folder: Path) -> list[Path]:
    return list(folder.glob("locks/*.lock"))


def _mark(folder: Path) -> TextIO:
    # what the last user wrote stands until the lock is had
    return (folder / "in-use").open("a+", encoding="utf-8")


def _read(mark: TextIO) -> list[str]:
    mark.seek(0)
    return mark.read().split()


def _host(mark: TextIO) -> str:
    """The host of the last user; empty where nobody has signed."""
    return next(iter(_read(mark)), "")


def _sign(mark: TextIO) -> None:
    mark.truncate(0)
    mark.write(f"{os.uname().nodename} {os.getpid()}\n")
    mark.flush()
