"""Going on after the main process of Snakemake was killed while its jobs were with SLURM.

Such jobs, orphans, go on without it.  A second call that started the same work again would have two
jobs write one file; hence a call refuses to start while there are any, and ``skymask resume`` ends
them, or waits for them, first.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from skymask.jobs import locks as jobs_locks
from skymask.jobs import slurm
from skymask.jobs.slurm import SlurmError, SlurmJob

OWN = Path(".snakemake")
"""Snakemake's folder in the working directory."""

EVERY = {"cancel": 1.0, "adopt": 10.0}
"""Seconds between two looks at the queue."""

HASTE = 5.0
"""Seconds for SLURM to answer before a call that does not use it."""

Say = Callable[[str], None]


def clear(adopt: bool, say: Say) -> None:
    """Leave no job of the working directory queued or running, and no lock of Snakemake.

    Orphans are ended, or with ``adopt`` awaited.  ``say`` gets what is done, in sentences.  Raises
    InUseError while a Snakemake is at work here, and SlurmError where SLURM does not answer.
    """
    with jobs_locks.seize(OWN):
        orphans = slurm.of_folder(Path.cwd()) if slurm.available() else []
        if orphans:
            _end(orphans, adopt, say)
        else:
            say("No SLURM job of this folder is queued or running.")
        locks = jobs_locks.unlock(OWN)
        say("The folder is unlocked." if locks else "The folder was not locked.")


def _end(orphans: Sequence[SlurmJob], adopt: bool, say: Say) -> None:
    how = "adopt" if adopt else "cancel"
    if adopt:
        say(f"Waiting for {_counted(orphans)} that a killed Snakemake left; Ctrl-C ends only this.")
    else:
        slurm.cancel(orphans)
        say(f"Cancelled {_counted(orphans)} that a killed Snakemake left.")
    slurm.wait(Path.cwd(), EVERY[how], lambda left: say(f"Still there: {_counted(left)}."))
    say("None is left.")


def snakemake(arguments: Sequence[str]) -> None:
    """Become Snakemake with ``arguments``, as on its command line."""
    sys.stdout.flush()
    command = [sys.executable, "-m", "snakemake", *arguments, "--rerun-incomplete"]
    os.execv(sys.executable, command)


def refusal(needed: bool, command: Sequence[str]) -> str | None:
    """Why Snakemake must not start jobs in the working directory now, or ``None``.

    ``needed`` says that it will use SLURM itself, which must then answer; ``command`` is its own
    command line, for the way out.
    """
    if not slurm.available():
        return None
    try:
        orphans = slurm.of_folder(Path.cwd(), slurm.PATIENCE if needed else HASTE)
    except SlurmError as error:
        return f"Nothing was started: {error}" if needed else None
    if not orphans:
        return None
    arguments = " ".join(command)
    return (
        f"Nothing was started: {_counted(orphans)} of this folder, left by a Snakemake that was "
        "killed, would write the same files.\n"
        f"End them and go on:       skymask resume {arguments}\n"
        f"Wait for them and go on:  skymask resume --adopt {arguments}"
    )


def made_by_this_code(output: Path, benchmark: Path) -> bool:
    """Whether a job that nobody watched ran the package as it is now.

    It did if no module has changed since the job began: when ``output`` was made, less the seconds
    in ``benchmark``, and less a minute for what clocks of hosts differ.  What cannot be read counts
    as no.
    """
    try:
        seconds = float(benchmark.read_text(encoding="utf-8").splitlines()[1].split()[0])
        began = output.stat().st_mtime - seconds - 60
        package = Path(__file__).parents[1]
        return all(path.stat().st_mtime < began for path in package.rglob("*.py"))
    except (OSError, ValueError, IndexError):
        return False


def _counted(found: Sequence[SlurmJob]) -> str:
    states = Counter(job.state.lower() for job in found)
    shown = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{len(found)} SLURM job{'s' if len(found) > 1 else ''} ({shown})"
