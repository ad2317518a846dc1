"""How a SLURM job ended, in the scheduler's own words."""

import pwd
import re
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from skymask.jobs.slurm import SlurmError, ask

TIMEOUT = 10.0
"""Seconds that SLURM may take to answer: the check of all other jobs waits for it."""

PAUSE = 120.0
"""Seconds without a question after SLURM has not answered one."""

_FORGOTTEN = re.compile("invalid job id", re.IGNORECASE)
_FIELD = re.compile(r"(\w+)=(\S*)")
_SACCT = ("JobID", "State", "ExitCode", "NodeList", "Timelimit", "ReqMem")

# not the exit code of Snakemake within the job, which tells nothing
_DAEMON = re.compile(
    r"(slurmstepd|slurmd|srun|sbatch|slurmctld)\S*: (error|fatal): (?!.*Exited with exit code)"
)
# states that the log of a job tells where the controller only knows that it failed
_IN_LOG = {
    "OUT_OF_MEMORY": re.compile(
        r"exceeded .*memory limit|oom[-_ ]?kill|out[-_ ]of[-_ ]memory", re.IGNORECASE
    ),
    "TIMEOUT": re.compile("DUE TO TIME LIMIT"),
    "PREEMPTED": re.compile("DUE TO PREEMPTION"),
    "NODE_FAIL": re.compile("DUE TO NODE FAILURE"),
}


@dataclass(frozen=True)
class End:
    """The end of a job; fields that SLURM does not tell are empty.

    Attributes:
        state: As SLURM writes it: CANCELLED, TIMEOUT, OUT_OF_MEMORY, NODE_FAIL, FAILED...
        code: Exit code.
        signal: Number of the signal that ended it.
        user: Who cancelled it.
        node: The node on which it ran.
        minutes: Its limit of time.
        memory: Its limit of memory.
    """

    state: str
    code: int = 0
    signal: int = 0
    user: str = ""
    node: str = ""
    minutes: str = ""
    memory: str = ""


@dataclass
class Ends:
    """Questions to SLURM about jobs that have ended.

    A program that does not answer is left alone for ``PAUSE`` seconds, so that many failed jobs do
    not each wait for it.
    """

    _silent_until: dict[str, float] = field(default_factory=dict)

    def of(self, number: str) -> End | None:
        """Return how the job ended; ``None`` where SLURM does not answer or has forgotten it."""
        end = _of_controller(self._ask(["scontrol", "--oneliner", "show", "job", number]))
        # who cancelled it, and which step ran out of memory, only the accounting knows
        if end is None or end.state in ("CANCELLED", "FAILED"):
            form = f"--format={','.join(_SACCT)}"
            command = ["sacct", "--noheader", "--parsable2", f"--jobs={number}", form]
            end = _joined(end, _of_accounting(self._ask(command)))
        return end

    def _ask(self, command: list[str]) -> str:
        if time.monotonic() < self._silent_until.get(command[0], 0.0):
            return ""
        try:
            return ask(command, TIMEOUT)
        except SlurmError as error:
            if not _FORGOTTEN.search(str(error)):
                self._silent_until[command[0]] = time.monotonic() + PAUSE
            return ""


def _of_controller(answer: str) -> End | None:
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(answer):
        fields.setdefault(name, value)
    if not fields.get("JobState"):
        return None
    code, number = _exit(fields.get("ExitCode", ""))
    memory = fields.get("MinMemoryNode") or fields.get("MinMemoryCPU", "")
    return End(
        state=fields["JobState"],
        code=code,
        signal=number,
        node=_known(fields.get("NodeList", "")),
        minutes=_known(fields.get("TimeLimit", "")),
        memory=_known(memory),
    )


def _of_accounting(answer: str) -> End | None:
    rows = [line.split("|") for line in answer.splitlines() if line.count("|") == len(_SACCT) - 1]
    if not rows:
        return None
    _, state, exit_, node, minutes, memory = rows[0]
    # such as CANCELLED by 1000
    state, _, user = state.partition(" by ")
    if any(row[1] == "OUT_OF_MEMORY" for row in rows):
        state = "OUT_OF_MEMORY"
    code, number = _exit(exit_)
    return End(state, code, number, _name(user), _known(node), _known(minutes), _known(memory))


def _joined(end: End | None, accounted: End | None) -> End | None:
    """Add what the accounting knows to what the controller told."""
    if end is None or accounted is None:
        return end or accounted
    state = accounted.state if accounted.state == "OUT_OF_MEMORY" else end.state
    return replace(end, state=state, user=accounted.user)


def _exit(text: str) -> tuple[int, int]:
    """Exit code and signal from a text such as 0:9."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _known(text: str) -> str:
    return "" if text in ("(null)", "N/A", "None assigned", "None", "Unknown", "0") else text


def _name(user: str) -> str:
    with suppress(KeyError, ValueError, OverflowError):
        return pwd.getpwuid(int(user)).pw_name
    return user


def lines_of_slurm(log: Iterable[str]) -> list[str]:
    """Return the errors in a job's SLURM log that SLURM itself wrote."""
    return [line for line in log if _DAEMON.match(line)]


def sentence(number: str, end: End | None, log: Iterable[str], rule: str) -> str:
    """Say how a job ended and what to do.

    Args:
        number: Number of the job.
        end: SLURM's answer.
        log: Lines of its SLURM log.
        rule: Rule of the job, whose resources can be raised.
    """
    end = end or End("")
    state = state_of(end, log)
    job, more = f"SLURM job {number}", "a retry asks for more; to set it:"
    on = f" on node {end.node}" if end.node else ""
    if state == "CANCELLED":
        return f"{job} was cancelled (scancel)" + (f" by user {end.user}" if end.user else "")
    if state == "TIMEOUT":
        limit = f" of {end.minutes}" if end.minutes else ""
        return (
            f"{job} was ended at its time limit{limit}: {more} "
            f"--set-resources {rule}:runtime=MINUTES"
        )
    if state == "OUT_OF_MEMORY":
        limit = f" of {end.memory}" if end.memory else ""
        return (
            f"{job} was killed: it exceeded its memory limit{limit}: {more} "
            f"--set-resources {rule}:mem_mb=MB"
        )
    if state in _SENTENCES:
        return f"{job} {_SENTENCES[state].format(node=f' {end.node}' if end.node else '')}"
    if state == "FAILED" and end.signal:
        return f"{job} was ended by {_signal(end.signal)}{on}"
    if state == "FAILED":
        return f"{job} failed with exit code {end.code}{on}, without an error in the job's own log"
    if state:
        return f"{job} ended in state {state}{on}"
    return f"{job} failed, and SLURM does not tell why: neither scontrol nor sacct knows this job"


_SENTENCES = {
    "NODE_FAIL": "was lost: its node{node} failed; a retry runs on another node",
    "BOOT_FAIL": "did not start: its node{node} did not boot; a retry runs on another node",
    "PREEMPTED": "was preempted: its place went to a job of higher priority",
    "DEADLINE": "was ended at its deadline",
    "REVOKED": "was revoked by another cluster",
    "LAUNCH_FAILED": "did not start: SLURM could not launch it on its node{node}",
}


def state_of(end: End | None, log: Iterable[str]) -> str:
    """Return the state of a job, also where only its log tells why it was ended."""
    end = end or End("")
    if end.state not in ("FAILED", "CANCELLED", ""):
        return end.state
    lines = lines_of_slurm(log)
    for state, pattern in _IN_LOG.items():
        if any(pattern.search(line) for line in lines):
            return state
    return end.state


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
