"""Continuation after the main process of Snakemake was killed on SLURM.

Its SLURM jobs, orphans, go on without it.  A second call that started the same work again would
have two jobs write one file; hence a call refuses to start while there are orphans, and
``skymask resume`` cancels them or waits for them first.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from skymask.jobs import locks, slurm

SNAKEMAKE_FOLDER = Path(".snakemake")
"""Snakemake's folder in the working directory."""

INTERVAL = {"cancel": 1.0, "adopt": 10.0}
"""Seconds between two looks at the queue."""

SHORT_TIMEOUT = 5.0
"""Seconds for SLURM to answer before a call that does not use it."""

Show = Callable[[str], None]


def clear(adopt: bool, show: Show) -> None:
    """Leave no SLURM job of the working directory and no lock of Snakemake.

    Args:
        adopt: Wait for the orphans instead of cancelling them.
        show: Takes sentences about what is done.

    Raises:
        InUseError: A Snakemake runs in this folder.
        SlurmError: SLURM does not answer.
    """
    with locks.acquire_alone(SNAKEMAKE_FOLDER):
        orphans = slurm.jobs_of(Path.cwd()) if slurm.available() else []
        if not orphans:
            show("No SLURM job of this folder is queued or running.")
        else:
            counted = f"{_counted(orphans)} that a killed Snakemake left"
            if adopt:
                show(f"Waiting for {counted}; Ctrl-C ends only the waiting.")
            else:
                slurm.cancel(orphans)
                show(f"Cancelled {counted}.")
            interval = INTERVAL["adopt" if adopt else "cancel"]
            slurm.wait(Path.cwd(), interval, lambda left: show(f"Still there: {_counted(left)}."))
            show("None is left.")
        unlocked = locks.unlock(SNAKEMAKE_FOLDER)
        show("The folder is unlocked." if unlocked else "The folder was not locked.")


def snakemake(arguments: Sequence[str]) -> None:
    """Replace this process by Snakemake with ``arguments``, as on its command line."""
    sys.stdout.flush()
    command = [sys.executable, "-m", "snakemake", *arguments, "--rerun-incomplete"]
    os.execv(sys.executable, command)


def refusal(uses_slurm: bool, arguments: Sequence[str]) -> str | None:
    """Return why Snakemake must not start jobs in the working directory now, or ``None``.

    Args:
        uses_slurm: Snakemake will use SLURM itself, which must then answer.
        arguments: The command line of Snakemake, for the hint.
    """
    if not slurm.available():
        return None
    try:
        orphans = slurm.jobs_of(Path.cwd(), slurm.TIMEOUT if uses_slurm else SHORT_TIMEOUT)
    except slurm.SlurmError as error:
        return f"Nothing was started: {error}" if uses_slurm else None
    if not orphans:
        return None
    shown = " ".join(arguments)
    return (
        f"Nothing was started: {_counted(orphans)} of this folder, left by a Snakemake that was "
        "killed, would write the same files.\n"
        f"Cancel them and continue:    skymask resume {shown}\n"
        f"Wait for them and continue:  skymask resume --adopt {shown}"
    )


def _counted(jobs: Sequence[slurm.SlurmJob]) -> str:
    states = Counter(job.state.lower() for job in jobs)
    shown = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{len(jobs)} SLURM job{'s' if len(jobs) > 1 else ''} ({shown})"
