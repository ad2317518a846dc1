"""The jobs that Snakemake's SLURM executor has in the queue for one working directory.

When the main process of Snakemake is killed, its jobs go on without it; they are known by the
directory they work in and by their name, the random number that Snakemake gives to a call.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(.*_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FORMAT = "%A|%T|%j|%Z"

PATIENCE = 60.0
"""Seconds that SLURM may take to answer."""

AT_ONCE = 500
"""Jobs that one call of scancel ends: a command line is not endless."""


class SlurmError(ValueError):
    """SLURM gave no answer; the message says what it said and what to do."""


@dataclass(frozen=True)
class SlurmJob:
    """A job by its number, and its state as squeue writes it: PENDING, RUNNING, COMPLETING..."""

    number: int
    state: str


def available() -> bool:
    """Whether there is a SLURM to ask on this machine."""
    return shutil.which("squeue") is not None


def of_folder(folder: Path, patience: float = PATIENCE) -> list[SlurmJob]:
    """This user's jobs, queued or running, that a Snakemake started in ``folder``.

    Interactive sessions and batch scripts there are none of them.  Raises SlurmError, also after
    ``patience`` seconds without an answer.
    """
    user = str(os.getuid())
    said = _ask(
        ["squeue", "--noheader", f"--user={user}", f"--format={_FORMAT}"], patience=patience
    )
    rows = [line.split("|", 3) for line in said.splitlines() if line.count("|") >= 3]
    return [
        SlurmJob(int(number), state)
        for number, state, name, place in rows
        if _NAME.fullmatch(name) and os.path.realpath(place) == os.path.realpath(folder)
    ]


def cancel(jobs: Iterable[SlurmJob]) -> None:
    """Ask SLURM to end ``jobs``; it is no error if some have ended by now.  Raises SlurmError."""
    numbers = [str(job.number) for job in jobs]
    for start in range(0, len(numbers), AT_ONCE):
        try:
            _ask(["scancel", *numbers[start : start + AT_ONCE]])
        except SlurmError as error:
            if not re.search("invalid job id|already complet", str(error), re.IGNORECASE):
                raise


def wait(folder: Path, every: float, say: Callable[[list[SlurmJob]], None]) -> None:
    """Return when no job of ``folder`` is queued or running; look ``every`` so many seconds.

    ``say`` is called with the jobs that are left, whenever their number has changed.  An answer
    that SLURM fails to give is awaited.
    """
    before = -1
    while True:
        try:
            left = of_folder(folder)
        except SlurmError:
            time.sleep(every)
            continue
        if not left:
            return
        if len(left) != before:
            say(left)
            before = len(left)
        time.sleep(every)


def _ask(command: list[str], patience: float = PATIENCE) -> str:
    way_out = "ask again once SLURM answers; nothing was changed"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} gave no answer in {patience:g} s: {way_out}") from error
    except OSError as error:
        raise SlurmError(f"{command[0]} cannot be run here: {error}: {way_out}") from error
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise SlurmError(f"{command[0]} failed, {said}: {way_out}")
    return done.stdout
