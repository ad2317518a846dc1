"""The log of a job: where it stands, and the one sentence of an error on the terminal.

Imports nothing but the standard library: every script of the workflow begins here.
"""

import errno
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["running", "done", "failed", "stopped", "unknown"]

CALL = "SKYMASK_CALL"
"""The environment variable that names the call of Snakemake which a job belongs to."""

_BEGUN = "skymask: begun by process {process}, start {start}, on {host}{call}"
_DONE = "skymask: done"
_FAILED = "skymask: failed: "
_MAY_PASS = "skymask: failed, may pass: "
_STOPPED = "skymask: stopped"
_INTERRUPTED = 130
_PATTERN = re.compile(
    _BEGUN.format(process=r"(\d+)", start=r"(\d+)", host="(.*?)", call=r"(?:, call (\w+))?")
)

# what waiting or asking again does not change
_LASTING = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EFBIG),
}


@dataclass(frozen=True)
class JobLog:
    """What a log says of its job.

    ``running``: it has begun, and its process lives or is on another host, where nobody here can
    look; ``stopped``: it was interrupted or terminated, or its process is gone without a word;
    ``unknown``: the log is of another form.  ``sentence`` is the error of a failed job, and
    ``may_pass`` whether to try again can help.  ``call`` names the call of Snakemake.
    """

    state: State
    process: int | None = None
    host: str | None = None
    sentence: str = ""
    may_pass: bool = False
    call: str = ""


@contextmanager
def logged(path: str) -> Iterator[None]:
    """Send all output of the job to its log file, and of an error one sentence to the terminal.

    The log begins with the process and ends with how the job ended; of an error it gets the
    traceback, and the job then ends with exit code 1.  A job that Snakemake tries again, in the
    same call, after an error that will not pass ends at once, with the log it had.  An
    interrupt or a termination ends it in the same way, with exit code 130.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    call = os.environ.get(CALL, "")
    if call:
        _end_if_hopeless(Path(path), call)
    terminal = os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    _flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    host, process = os.uname().nodename, os.getpid()
    begun = {"process": process, "start": _start(process), "host": host}
    _note(log, _BEGUN.format(**begun, call=f", call {call}" if call else ""))
    # a cluster terminates a job that is cancelled or out of time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_INTERRUPTED))
    try:
        yield
        _flush()
        _note(log, _DONE)
    except Exception as error:
        with suppress(OSError):
            traceback.print_exc()
            _flush()
        said = f"{type(error).__name__}: {error}"
        how = _FAILED if not may_pass(error) else _MAY_PASS
        noted = _note(log, how + " ".join(said.split()))
        if not (call and noted):
            # within a call, whoever watches all jobs says it, if it can be read there
            os.write(terminal, f"\n{said}\n(traceback in {path})\n\n".encode())
        elif how == _FAILED:
            with suppress(OSError):
                shutil.copy(path, _kept(Path(path)))
        sys.exit(1)
    except BaseException:
        # by the user or the cluster; what the job was at is of no use to anybody
        with suppress(OSError):
            _flush()
        _note(log, _STOPPED)
        sys.exit(_INTERRUPTED)
    finally:
        os.close(terminal)
        os.close(log)


def _note(log: int, line: str) -> bool:
    """Write a line to the log; false where that cannot be, as on a disk that is full."""
    text = f"{line}\n".encode()
    try:
        return os.write(log, text) == len(text)
    except OSError:
        return False


def _kept(path: Path) -> Path:
    """Where the log of a job whose error will not pass is kept: Snakemake removes logs on retry."""
    return path.with_name(f".{path.name}.failed")


def _end_if_hopeless(path: Path, call: str) -> None:
    """End the job, with the log it had, if it failed in this call for what will not pass."""
    kept = _kept(path)
    before = read_log(kept)
    if before and before.call == call:
        os.replace(kept, path)
        sys.exit(1)
    kept.unlink(missing_ok=True)


def may_pass(error: Exception) -> bool:
    """Whether the same job may succeed when it is tried again.

    So it may when memory, a device or a file system let it down; not when its input is wrong, a
    file is missing or may not be written, or a disk is full.
    """
    if isinstance(error, OSError):
        return error.errno not in _LASTING
    # torch's are named, not imported: most jobs do without it
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError", "AcceleratorError", "ArrowMemoryError"})


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def read_log(path: Path) -> JobLog | None:
    """What the log at ``path`` says of its job; ``None`` where there is no log."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    begun = next((found for line in lines if (found := _PATTERN.fullmatch(line))), None)
    if begun is None:
        return JobLog("unknown")
    process, start, host, call = int(begun[1]), int(begun[2]), begun[3], begun[4] or ""
    for line in reversed(lines):
        if line == _DONE:
            return JobLog("done", process, host, call=call)
        if line == _STOPPED:
            return JobLog("stopped", process, host, call=call)
        for how in (_FAILED, _MAY_PASS):
            if line.startswith(how):
                sentence = line.removeprefix(how)
                return JobLog("failed", process, host, sentence, how == _MAY_PASS, call)
    lives = host != os.uname().nodename or _lives(process, start)
    return JobLog("running" if lives else "stopped", process, host, call=call)


def _lives(process: int, start: int) -> bool:
    """Whether a process of this host is there, and the one that began at ``start``."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    fields = _stat(process)
    # a zombie has ended, though nobody has asked how
    return not fields or (int(fields[19]) == start and fields[0] not in "ZX")


def _start(process: int) -> int:
    """When a process began, in ticks since the start of the system; 0 where it does not say.

    Numbers of processes are used again; with this one is told from its successor.
    """
    fields = _stat(process)
    return int(fields[19]) if fields else 0


def _stat(process: int) -> list[str]:
    """What the system says of a process after its name; nothing where it does not say."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
