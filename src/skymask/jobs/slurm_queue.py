"""Why jobs wait in SLURM's queue, and which of their nodes cannot be used."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skymask.jobs import slurm

TIMEOUT = 20.0
"""Seconds that SLURM may take to answer."""

STILL = 60.0
"""Seconds without a job that starts or ends after which the queue is explained."""

REPEAT = 1800.0
"""Seconds after which the same explanation is shown again."""

_NODES = 4
"""Groups of nodes shown at most."""

_STUCK = "never starting"

# the first pattern that matches the reason decides
_WORDS = (
    (r"None|", "waiting for the next look of SLURM's scheduler"),
    (
        r"Resources|Priority|Cleaning|Prolog|BootNode",
        "waiting for a turn: nodes are busy, or other jobs have a higher priority",
    ),
    (
        r"ReqNodeNotAvail.*|Nodes required for job are DOWN.*|NodeDown",
        "waiting for nodes of the partition that are down, drained or reserved",
    ),
    (r"PartitionDown|PartitionInactive", "waiting for the partition, which is closed ({reason})"),
    (r"BeginTime", "waiting for the time at which they may begin"),
    (r"Dependency", "waiting for another job"),
    (r"Reservation.*", "waiting for a reservation ({reason})"),
    (r"Licenses", "waiting for licenses"),
    (r"JobHeldUser", f"{_STUCK}, put on hold: release them with scontrol release NUMBER"),
    (r"JobHeldAdmin|job requeued.*", "put on hold by an administrator of the cluster"),
    (
        r"PartitionTimeLimit|PartitionNodeLimit|BadConstraints|DependencyNeverSatisfied"
        r"|AccountNotAllowed|QOSNotAllowed|InvalidAccount|InvalidQOS|.*MaxWall.*|.*PerJob.*",
        f"{_STUCK}: more than the cluster allows ({{reason}}): change profiles/slurm or the study, "
        "end this call with Ctrl-C and run it again",
    ),
    (
        r"(QOS|Assoc|MaxCpuPerAccount|MaxMemPerLimit).*",
        "waiting for other jobs to end: a limit of your account or quality of service ({reason})",
    ),
)


@dataclass(frozen=True)
class Waiting:
    """Jobs that wait: how many by SLURM's reason, and in which partitions; jobs that run."""

    reasons: Counter[str]
    partitions: frozenset[str]
    running: frozenset[str]


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition in one state."""

    partition: str
    count: int
    state: str
    names: str
    reason: str

    @property
    def usable(self) -> bool:
        """Whether jobs can start there, now or when others end."""
        words = r"down|drain|fail|maint|reserved|unknown|power|no_respond|inval|[*]"
        return not re.search(words, self.state.lower())


def waiting(folder: Path) -> Waiting:
    """Return the jobs of ``folder`` that are in the queue, and those that run.

    Raises:
        SlurmError: SLURM fails or does not answer in time.
    """
    rows = slurm.rows_of(folder, "%A|%T|%P|%r", TIMEOUT)
    pending = [row for row in rows if row[1] in ("PENDING", "CONFIGURING", "REQUEUED")]
    partitions = (name for row in pending for name in row[2].split(","))
    return Waiting(
        Counter(row[3].strip("()") for row in pending),
        frozenset(partitions),
        frozenset(row[0] for row in rows if row not in pending),
    )


def nodes(partitions: frozenset[str]) -> list[Nodes]:
    """Return the nodes of some partitions, grouped by their state.

    Raises:
        SlurmError: SLURM fails or does not answer in time.
    """
    names = ",".join(sorted(partitions))
    command = ["sinfo", "--noheader", f"--partition={names}", "--format=%R|%D|%T|%N|%E"]
    rows = [line.split("|", 4) for line in slurm.ask(command, TIMEOUT).splitlines()]
    return [
        Nodes(row[0], int(row[1]), row[2], row[3], row[4].strip())
        for row in rows
        if len(row) == 5 and row[1].isdigit()
    ]


def words(reason: str) -> str:
    """Return what jobs wait for, from SLURM's reason, in plain words."""
    # squeue --format and scontrol write the same reason with spaces or underscores
    plain = reason.replace("_", " ")
    for pattern, text in _WORDS:
        if re.fullmatch(pattern, plain):
            return text.format(reason=reason)
    return f"waiting for a reason that SLURM calls {reason}"


class Watch:
    """Explains a queue in which no job starts or ends.

    Args:
        folder: The working directory of the jobs.
        clock: Seconds of a steady clock.
    """

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder, self._clock = folder, clock
        self._running: frozenset[str] | None = None
        self._silent = False
        self._shown: tuple[object, float] | None = None

    def look(self) -> str | None:
        """Return the explanation, if one is due: to be called every ``STILL`` seconds.

        It is due where jobs wait and the same jobs run as at the last look, or SLURM has not
        answered twice; and if its causes differ from those that were shown, or that was ``REPEAT``
        seconds ago.
        """
        try:
            found = waiting(self._folder)
            before, self._running = self._running, found.running
            self._silent = False
            if not found.reasons or before != found.running:
                return None
            unusable = _unusable(found.partitions)
        except slurm.SlurmError as error:
            self._silent, twice = True, self._silent
            if not twice:
                return None
            text = f"{error}".partition(": retry once")[0]
            return self._due("silent", f"SLURM does not answer now ({text}); its jobs go on")
        causes = frozenset(words(reason) for reason in found.reasons)
        return self._due((causes, frozenset(unusable)), explanation(found, unusable))

    def moved(self) -> None:
        """Take note that a job has ended."""
        self._running = None

    def _due(self, causes: object, text: str) -> str | None:
        now = self._clock()
        if self._shown and self._shown[0] == causes and now - self._shown[1] < REPEAT:
            return None
        self._shown = causes, now
        return text


def _unusable(partitions: frozenset[str]) -> list[str]:
    """Describe the nodes of some partitions on which no job can start."""
    found = nodes(partitions)
    described = []
    for name in sorted({group.partition for group in found}):
        groups = [group for group in found if group.partition == name]
        broken = [group for group in groups if not group.usable]
        if not broken:
            continue
        few, many = sum(group.count for group in broken), sum(group.count for group in groups)
        each = "; ".join(map(_described, broken[:_NODES]))
        rest = "" if len(broken) <= _NODES else "; and others (sinfo -R)"
        described.append(f"partition {name}: {few} of {many} nodes cannot be used: {each}{rest}")
    return described


def _described(group: Nodes) -> str:
    reason = "" if group.reason.lower() in ("", "none") else f" ({group.reason})"
    return f"{group.names} {group.state.strip('*')}{reason}"


def explanation(found: Waiting, unusable: list[str]) -> str:
    """Say how many jobs wait and for what, and which nodes cannot be used."""
    total = found.reasons.total()
    runs = len(found.running)
    of_words: Counter[str] = Counter()
    for reason, count in found.reasons.items():
        of_words[words(reason)] += count
    reasons = [f"{count} {text}" for text, count in of_words.most_common()]
    lines = [
        f"\nno job has started or ended for a minute: {total} wait{'s'[: total == 1]} in SLURM's "
        f"queue, {runs} run{'s'[: runs == 1]}",
        *reasons,
        *unusable,
    ]
    if not any(text.startswith(_STUCK) for text in of_words):
        lines.append("nothing has to be restarted: they start by themselves once they can")
    return "\n    ".join(lines)
