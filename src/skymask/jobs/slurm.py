"""SLURM jobs that Snakemake started from a working directory.

When the main process of Snakemake is killed, its SLURM jobs go on without it.  They are recognised
by the directory in which they run and by their name, which contains the UUID that the SLURM
executor plugin of Snakemake gives to each call.
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

TIMEOUT = 60.0
"""Seconds that SLURM may take to answer."""

BATCH = 500
"""Jobs that one call of scancel ends: a command line has a maximal length."""


class SlurmError(ValueError):
    """SLURM gave no answer; the message has its error and what to do."""


@dataclass(frozen=True)
class SlurmJob:
    """A job by its number, and its state as squeue writes it: PENDING, RUNNING, COMPLETING..."""

    number: int
    state: str


def available() -> bool:
    """Return whether this machine has a SLURM to ask."""
    return shutil.which("squeue") is not None


def jobs_of(folder: Path, timeout: float = TIMEOUT) -> list[SlurmJob]:
    """List this user's jobs, queued or running, that a Snakemake started in ``folder``.

    Interactive sessions and other batch scripts in that folder are left out.

    Args:
        folder: The working directory.
        timeout: Seconds that SLURM may take to answer.

    Raises:
        SlurmError: SLURM fails or does not answer in time.
    """
    return [SlurmJob(int(number), state) for number, state in rows_of(folder, "%A|%T", timeout)]


def rows_of(folder: Path, fields: str, timeout: float = TIMEOUT) -> list[list[str]]:
    """List some ``fields`` of the jobs that ``jobs_of`` lists, in squeue's format.

    Args:
        folder: The working directory.
        fields: Fields between bars, such as ``%A|%T``; none that may contain a bar.
        timeout: Seconds that SLURM may take to answer.

    Raises:
        SlurmError: SLURM fails or does not answer in time.
    """
    # a folder may have bars in its name
    form, count = f"{fields}|%j|%Z", fields.count("|") + 1
    command = ["squeue", "--noheader", f"--user={os.getuid()}", f"--format={form}"]
    rows = [line.split("|", count + 1) for line in ask(command, timeout).splitlines()]
    return [
        row[:count]
        for row in rows
        if len(row) == count + 2
        and _NAME.fullmatch(row[-2])
        and os.path.realpath(row[-1]) == os.path.realpath(folder)
    ]


def cancel(jobs: Iterable[SlurmJob]) -> None:
    """Ask SLURM to end ``jobs``; those that have ended already are no error.

    Raises:
        SlurmError: SLURM fails or does not answer.
    """
    numbers = [str(job.number) for job in jobs]
    for start in range(0, len(numbers), BATCH):
        try:
            ask(["scancel", *numbers[start : start + BATCH]])
        except SlurmError as error:
            if not re.search("invalid job id|already complet", str(error), re.IGNORECASE):
                raise


def wait(folder: Path, interval: float, show: Callable[[list[SlurmJob]], None]) -> None:
    """Return when no job of ``folder`` is queued or running.

    Args:
        folder: The working directory.
        interval: Seconds between two looks at the queue; while SLURM does not answer, it is asked
            again.
        show: Takes the jobs that are left, whenever their number has changed.
    """
    before = -1
    while True:
        try:
            left = jobs_of(folder)
        except SlurmError:
            time.sleep(interval)
            continue
        if not left:
            return
        if len(left) != before:
            show(left)
            before = len(left)
        time.sleep(interval)


def ask(command: list[str], timeout: float = TIMEOUT) -> str:
    """Return what a program of SLURM prints.

    Raises:
        SlurmError: It fails or does not end in time.
    """
    hint = "retry once SLURM answers; nothing was changed"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=timeout,
            check=False,
            # folders and reasons may have any bytes in their names
            encoding="utf-8",
            errors="surrogateescape",
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} gave no answer in {timeout:g} s: {hint}") from error
    except OSError as error:
        raise SlurmError(f"{command[0]} cannot be run here: {error}: {hint}") from error
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise SlurmError(f"{command[0]} failed, {reason}: {hint}")
    return done.stdout
