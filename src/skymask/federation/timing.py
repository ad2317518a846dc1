"""Wall time of a job, by stage and for the rest."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from skymask.numerics.out_of_memory import explain_memory_errors

Row = dict[str, Any]


@contextmanager
def timed(rows: list[Row], round_: int, stage: str, device: str) -> Iterator[None]:
    """Time the block and append a row: seconds, device, and the peak memory of the process in MiB.

    On a GPU the memory is the device's, and the clock waits for the device.

    Args:
        rows: Rows to append to.
        round_: Round, from 1.
        stage: Name of the stage.
        device: Device of the run.

    Raises:
        DeviceMemoryError: The device's memory does not suffice.
    """
    start = time.perf_counter()
    with explain_memory_errors(stage, device):
        yield
        if device.startswith("cuda"):
            torch.cuda.synchronize()
    rows.append(_row(round_, stage, time.perf_counter() - start, device))


class Clock:
    """Time of a job outside the four stages; to be made where the job's own code begins.

    ``start`` is the time from the start of the process until then: the interpreter and all imports.
    ``read`` and ``write`` are what the job counts as such.  ``other`` is the rest.
    """

    def __init__(self) -> None:
        age = process_age()
        self._began = time.perf_counter() - age
        self._parts = {"start": age, "read": 0.0, "write": 0.0}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block as ``name``: read or write."""
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds as ``name``: read or write."""
        self._parts[name] += seconds

    def rows(self, stages: list[Row], round_: int, device: str) -> list[Row]:
        """Make the timing rows of the job until now, in addition to those of its ``stages``.

        The seconds of all rows add up to the time since the process started.
        """
        whole = time.perf_counter() - self._began
        other = whole - sum(row["seconds"] for row in stages) - sum(self._parts.values())
        parts = {**self._parts, "other": other}
        return [_row(round_, name, seconds, device) for name, seconds in parts.items()]


def process_age(stat: Path = Path("/proc/self/stat")) -> float:
    """Read the seconds since this process started, to a hundredth; 0 where not known."""
    try:
        # the name of the program, in brackets, may contain anything
        started = int(stat.read_text().rpartition(")")[2].split()[19])
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        return max(since_boot - started / os.sysconf("SC_CLK_TCK"), 0.0)
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0


def _row(round_: int, stage: str, seconds: float, device: str) -> Row:
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {
        "round": round_,
        "stage": stage,
        "seconds": seconds,
        "device": device,
        "peak_memory_mib": peak,
    }
