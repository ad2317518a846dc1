"""The log of a job: where it stands, and the one sentence of an error on the terminal.

Imports nothing but the standard library: every script of the workflow begins here.
"""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["running", "done", "failed", "stopped", "unknown"]

_BEGUN = "skymask: begun by process {process}, start {start}, on {host}"
_DONE = "skymask: done"
_FAILED = "skymask: failed: "
_PATTERN = re.compile(_BEGUN.format(process=r"(\d+)", start=r"(\d+)", host="(.*)"))


@dataclass(frozen=True)
class JobLog:
    """What a log says of its job.

    ``running``: it has begun, and its process lives or is on another host, where nobody here can
    look; ``stopped``: it has begun and its process is gone without a word, as when it is killed;
    ``unknown``: the log is of another form.  ``sentence`` is the error of a failed job.
    """

    state: State
    process: int | None = None
    host: str | None = None
    sentence: str = ""


@contextmanager
def logged(path: str) -> Iterator[None]:
    """Send all output of the job to its log file, and of an error one sentence to the terminal.

    The log begins with the process and ends with how the job ended; of an error it gets the
    traceback, and the job then ends with exit code 1.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    with open(path, "w", buffering=1, encoding="utf-8") as log:
        _flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        host, process = os.uname().nodename, os.getpid()
        log.write(_BEGUN.format(process=process, start=_start(process), host=host) + "\n")
        try:
            yield
            _flush()
            log.write(f"{_DONE}\n")
        except Exception as error:
            traceback.print_exc()
            _flush()
            said = f"{type(error).__name__}: {error}"
            log.write(f"{_FAILED}{' '.join(said.split())}\n")
            os.write(terminal, f"\n{said}\n(traceback in {path})\n\n".encode())
            sys.exit(1)
        finally:
            os.close(terminal)


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
    process, start, host = int(begun[1]), int(begun[2]), begun[3]
    for line in reversed(lines):
        if line == _DONE:
            return JobLog("done", process, host)
        if line.startswith(_FAILED):
            return JobLog("failed", process, host, line.removeprefix(_FAILED))
    lives = host != os.uname().nodename or _lives(process, start)
    return JobLog("running" if lives else "stopped", process, host)


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
