"""Logs of jobs and how each job ended.

Imports nothing that takes long: every script of the workflow begins here.
"""

import errno
import fcntl
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skymask.jobs import interrupts
from skymask.read_errors import out_of_memory

State = Literal["running", "done", "failed", "stopped", "unknown"]

CALL = "SKYMASK_CALL"
"""The environment variable that names the call of Snakemake to which a job belongs."""

_BEGUN = re.compile(r"skymask: begun by process (\d+) on (.*?)(?:, call (\w+))?")
_DONE = "skymask: done"
_FAILED = "skymask: failed: "
_RETRY = "skymask: failed, a retry may help: "
_STOPPED = re.compile(r"skymask: stopped(?: by (SIG\w+))?")

# no retry changes these
_LASTING = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EFBIG),
}


@dataclass(frozen=True)
class JobLog:
    """The state of a job, from its log.

    ``running``: it has begun, and its process lives or is on another host, where this one cannot
    look; ``stopped``: it was interrupted or terminated, or its process is gone without an error;
    ``unknown``: the log has another form.  ``error`` is the error of a failed job in one line, and
    ``retry`` whether a retry may help.  ``signal`` is the one that stopped the job, such as
    ``SIGTERM``.  ``call`` names the call of Snakemake.
    """

    state: State
    process: int | None = None
    host: str | None = None
    error: str = ""
    retry: bool = False
    call: str = ""
    signal: str = ""


@contextmanager
def logged(path: str) -> Iterator[None]:
    """Send all output of the job to its log file.

    The log begins with the process and ends with how the job ended.  After an error it has the
    traceback, and the job ends with exit code 1; after an interrupt or a termination, with exit
    code 130.  When Snakemake retries a job, in the same call, after an error that no retry changes,
    the job ends at once with its former log.

    Args:
        path: The log file; its folder is made.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    call = os.environ.get(CALL, "")
    if call:
        _end_useless_retry(Path(path), call)
    terminal = os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    # tells a reader on this host that the job lives
    with suppress(OSError):
        fcntl.flock(log, fcntl.LOCK_SH)
    _flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    begun = f"skymask: begun by process {os.getpid()} on {os.uname().nodename}"
    _write(log, f"{begun}, call {call}" if call else begun)
    with interrupts.raised() as interrupt:
        try:
            yield
            _flush()
            _write(log, _DONE)
        except Exception as error:
            with suppress(OSError):
                traceback.print_exc()
                _flush()
            message = f"{type(error).__name__}: {error}"
            retry = retry_may_help(error)
            written = _write(log, (_RETRY if retry else _FAILED) + " ".join(message.split()))
            if not (call and written):
                # within a call, the main process of Snakemake reads it from the log and shows it
                os.write(terminal, f"\n{message}\n(traceback in {path})\n\n".encode())
            elif not retry:
                with suppress(OSError):
                    shutil.copy(path, _former(Path(path)))
            sys.exit(1)
        except BaseException:
            # by the user or the cluster: where the job was interrupted interests no one
            with suppress(OSError):
                _flush()
            _write(log, f"skymask: stopped{f' by {interrupt.name}' if interrupt.name else ''}")
            sys.exit(interrupts.EXIT_CODE)
        finally:
            os.close(terminal)
            os.close(log)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _write(log: int, line: str) -> bool:
    """Write a line to the log; false where that is impossible, as on a disk that is full."""
    text = f"{line}\n".encode()
    try:
        return os.write(log, text) == len(text)
    except OSError:
        return False


def _former(path: Path) -> Path:
    """Return the copy of a failed job's log: Snakemake removes the log itself before a retry."""
    return path.with_name(f".{path.name}.failed")


def _end_useless_retry(path: Path, call: str) -> None:
    """End the job, with its former log, if no retry can change why it failed in this call."""
    former = _former(path)
    log = read_log(former)
    if log and log.call == call:
        os.replace(former, path)
        sys.exit(1)
    former.unlink(missing_ok=True)


def retry_may_help(error: Exception) -> bool:
    """Return whether the same job may succeed when it is retried.

    It may after a failure of memory, a device or a file system; not when its input is wrong, a
    file is missing or write-protected, or a disk is full.
    """
    if isinstance(error, OSError):
        return error.errno not in _LASTING
    if out_of_memory(error):
        return True
    # by their names, since most jobs do not import torch
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"OutOfMemoryError", "AcceleratorError"})


def read_log(path: Path) -> JobLog | None:
    """Read the state of a job from its log at ``path``; ``None`` without a log."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    begun = next(filter(None, map(_BEGUN.fullmatch, lines)), None)
    if begun is None:
        return JobLog("unknown")
    process, host, call = int(begun[1]), begun[2], begun[3] or ""
    for line in reversed(lines):
        if line == _DONE:
            return JobLog("done", process, host, call=call)
        if stopped := _STOPPED.fullmatch(line):
            return JobLog("stopped", process, host, call=call, signal=stopped[1] or "")
        for prefix in (_FAILED, _RETRY):
            if line.startswith(prefix):
                error = line.removeprefix(prefix)
                return JobLog("failed", process, host, error, prefix == _RETRY, call)
    lives = host != os.uname().nodename or _lives(path, process)
    return JobLog("running" if lives else "stopped", process, host, call=call)


def _lives(path: Path, process: int) -> bool:
    """Whether a process of this host, which locked its log, lives.

    The lock ends with the process, also where another process gets its number.  Where the file
    system has no locks, the number decides.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
