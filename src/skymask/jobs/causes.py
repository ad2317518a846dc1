"""Why a job failed: its own error, the scheduler's answer, or the signal that ended it."""

import os
import re
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skymask.jobs import slurm_ends
from skymask.jobs.interrupts import EXIT_CODE
from skymask.jobs.log import CALL, JobLog, read_log
from skymask.jobs.snakemake_internals import JobError

TAIL = 8
"""Lines shown of the log of a job that ended without an error."""

_EXIT = re.compile(r"returned non-zero exit status (\d+)|died with <Signals\.(\w+): \d+>")
# where Snakemake or Python tells what could not be written
_ERROR = re.compile(r"\w*(Error|Exception): .*|.*\[Errno \d+\].*")
_MISSING = re.compile(r"output files are missing.*\n(\S+)", re.DOTALL)


@dataclass(frozen=True)
class Cause:
    """Why a job failed.

    Attributes:
        sentence: The cause and what to do.
        lines: The last lines of the log that has it, where the sentence depends on them.
        logs: The logs that exist.
        retry: Whether a retry may help.
    """

    sentence: str
    lines: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    retry: bool = True

    def text(self, tail: bool) -> str:
        """Return the cause as lines for the terminal, with or without lines of the log."""
        shown = [f"    | {line}" for line in self.lines] if tail else []
        return "\n".join([f"    {self.sentence}", *shown, *(f"    {log}" for log in self.logs)])


def oom_kills() -> int | None:
    """Count the processes that the kernel has killed for lack of memory; ``None`` if unknown."""
    with suppress(OSError, ValueError, IndexError):
        counts = Path("/proc/vmstat").read_text(encoding="ascii")
        return int(counts.split("\noom_kill ")[1].split()[0])
    return None


def of_this_call(log: Path | None) -> JobLog | None:
    """Return the state of a job from its log, if this call of Snakemake wrote it."""
    with suppress(OSError):
        found = read_log(log) if log else None
        return found if found and found.call == os.environ.get(CALL) else None
    return None


def cause(
    rule: str,
    log: Path | None,
    error: JobError,
    text: str = "",
    ends: slurm_ends.Ends | None = None,
    kernel_killed: bool = False,
) -> Cause:
    """Find out why a job failed.

    Args:
        rule: Its rule.
        log: Its own log.
        error: What Snakemake reports about the job.
        text: The error that Snakemake's thread reported just before, if any.
        ends: Asks SLURM.
        kernel_killed: The kernel has killed processes for lack of memory while the job ran.
    """
    own = of_this_call(log)
    logs = [f"log: {log}"] if log and os.path.exists(log) else []
    if own and own.state == "failed":
        return Cause(own.error, logs=tuple(logs), retry=own.retry)
    logs += [f"SLURM log: {_shown(path)}" for path in error.cluster_logs if os.path.exists(path)]
    lines: list[str] = []
    done, exit_ = own is not None and own.state == "done", _EXIT.search(text)
    if error.cluster_job:
        cluster = [line for path in error.cluster_logs for line in _lines(path)]
        end = _asked(ends, error.cluster_job) or _reported(error)
        failed = slurm_ends.state_of(end, cluster) == "FAILED"
        exit_ = _EXIT.search("\n".join(cluster))
        told = _told(cluster)
        lines = slurm_ends.lines_of_slurm(cluster) or _own_lines(log, own) or told or cluster
        if failed and exit_:
            ended = _ended(exit_, own, on_slurm=True)
            sentence = f"in SLURM job {error.cluster_job}, {ended}"
        elif failed and done:
            sentence, lines = _unrecorded(error, told, done), []
        else:
            sentence = slurm_ends.sentence(error.cluster_job, end, cluster, rule)
    elif refused := _refused(error):
        sentence = refused
    elif _MISSING.search(error.message) or (not exit_ and (done or text)):
        sentence = _unrecorded(error, _told(text.splitlines()), done)
    else:
        sentence, lines = _ended(exit_, own, kernel_killed), _own_lines(log, own)
    return Cause(sentence, tuple(lines[-TAIL:]), tuple(logs))


def _shown(path: Path) -> Path:
    """Return a path in the form in which the user has the others."""
    with suppress(ValueError, OSError):
        return path.relative_to(Path.cwd())
    return path


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def _own_lines(log: Path | None, own: JobLog | None) -> list[str]:
    """Return the lines that a job of this call wrote itself."""
    lines = _lines(log) if log and own else []
    return [line for line in lines if not line.startswith("skymask: ")]


def _told(lines: Sequence[str]) -> list[str]:
    """Return the errors of Python or Snakemake among some lines."""
    return [line.strip() for line in lines if _ERROR.fullmatch(line.strip())]


def _unrecorded(error: JobError, told: Sequence[str], done: bool) -> str:
    """Say what failed outside the job's own process."""
    if missing := _MISSING.search(error.message):
        return (
            f"the job itself finished, but its output {missing[1]} is missing here: on a network "
            "file system raise --latency-wait, else find out what removed it"
        )
    reason = f" ({told[-1]})" if told else ""
    remedy = (
        "free space on the disk with results and .snakemake, or make it writable"
        if not told or "[Errno" in told[-1]
        else "see the lines above"
    )
    if done:
        return f"the job itself finished, but its result could not be recorded{reason}: {remedy}"
    return f"Snakemake could not run the job or record its result{reason}: {remedy}"


def _asked(ends: slurm_ends.Ends | None, number: str) -> slurm_ends.End | None:
    # an error of the question must not hide the failure
    with suppress(Exception):
        return ends.of(number) if ends else None
    return None


def _reported(error: JobError) -> slurm_ends.End | None:
    """Return the state that Snakemake's plugin reports, for where SLURM does not answer."""
    state = re.search(r"SLURM status is: '(\w+)", error.message)
    return slurm_ends.End(state[1]) if state else None


def _refused(error: JobError) -> str:
    """Say why SLURM did not take a job; empty if it was no job for SLURM."""
    found = re.search(
        r"sbatch failed\. The error message was '(.*?)'\.|submission failed with exception: (.*)",
        error.message,
        re.DOTALL,
    )
    reason = " ".join((found[1] or found[2] or "").split()) if found else ""
    return (
        f"SLURM did not take the job ({reason}): compare profiles/slurm with your cluster"
        if found
        else ""
    )


def _ended(
    exit_: re.Match[str] | None,
    own: JobLog | None,
    kernel_killed: bool = False,
    on_slurm: bool = False,
) -> str:
    """Say how a process ended that logged no error, from what Snakemake says about its exit."""
    code = int(exit_[1] or 0) if exit_ else 0
    name = (own.signal if own else "") or (exit_[2] if exit_ else "")
    if not name and code == EXIT_CODE:
        return "it was interrupted or terminated before it began its work"
    name = name or _signal(code - 128)
    remedy = "a retry asks for more" if on_slurm else "let fewer jobs run at once, with --cores"
    if name == "SIGKILL" and kernel_killed:
        return f"the kernel killed it (SIGKILL), as memory ran out: {remedy}"
    if name == "SIGKILL":
        return f"it was killed (SIGKILL), perhaps for lack of memory: {remedy}"
    if name in ("SIGTERM", "SIGHUP"):
        return f"it was terminated ({name}), by a user or the system"
    if name == "SIGINT":
        return "it was interrupted (SIGINT)"
    if name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"):
        return f"it crashed ({name})"
    if name:
        return f"it was ended by {name}"
    if code:
        where = "in its SLURM log" if on_slurm else "above"
        return f"it ended with exit code {code} and logged no error: see what it printed {where}"
    return "it ended without an error message: killed, perhaps for lack of memory"


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return ""
