"""What a job asks of a cluster: memory and time, reckoned from the experiment.

A job of n clients with d parameters on a data set of V values (training and test samples times
features) is taken to need

    (NESTED + RUNTIME [+ CUDA] + V · VALUE + (n + 1) · d · ENTRY) · SPARE    of memory
    START + rounds · seconds per round · SLACK                               of time

each times the attempt, so that a job that was ended for either is tried again with more.  The
constants cover what was measured: up to 640 MB on the digits (n = 20, d = 1,898), 1,180 MB on
Fashion-MNIST (n = 80, d = 139,960) and 3.3 GB with n = 1000, NESTED aside; and jobs that took up to
eight times the time of ``costs`` on a busy machine, short ones more.  What is asked for limits a
job, it changes no result.  Imports nothing heavy: the Snakefile plans with it.
"""

from math import ceil, prod
from typing import Any

from skymask.jobs import costs
from skymask.models.layer_shapes import parameters
from skymask.study.experiment import Experiment
from skymask.study.registry import registry

NESTED = 265
"""MB of the two Snakemakes that start a job inside its allocation."""

RUNTIME = 560
"""MB of Python with torch, numba and scikit-learn."""

CUDA = 3000
"""MB of host memory beside it for a job on a GPU.  Taken, not measured."""

VALUE = 8e-6
"""MB for a value of the data: as it is read, and as 32-bit number."""

ENTRY = 3.2e-5
"""MB for an entry of the updates: eight copies of 32 bits, on their way through the stages."""

SPARE = 1.5
"""How much more than reckoned is asked for."""

START = 10
"""Minutes for starting, on a file system that many share."""

SLACK = 8
"""How many times as slow as reckoned a machine may be."""


def memory(run: Experiment, attempt: int = 1) -> int:
    """MB for a job that carries stages of ``run``."""
    facts = _facts(run.dataset)
    dimension = parameters(run.model, tuple(facts["shape"]), facts["classes"])
    entries = (run.clients + 1) * dimension
    cuda = CUDA if run.device.startswith("cuda") else 0
    needed = NESTED + RUNTIME + cuda + _values(facts) * VALUE + entries * ENTRY
    return ceil(needed * SPARE) * attempt


def memory_of_data(dataset: str, attempt: int = 1) -> int:
    """MB for a job that reads a data set and trains nothing."""
    return ceil((NESTED + RUNTIME + _values(_facts(dataset)) * VALUE) * SPARE) * attempt


def minutes(run: Experiment, rounds: int, attempt: int = 1) -> int:
    """Minutes after which a job of so many ``rounds`` of ``run`` may be ended."""
    reckoned = rounds * costs.seconds_per_round(run) / costs.MINUTE
    return ceil(START + reckoned * SLACK) * attempt


def _facts(dataset: str) -> dict[str, Any]:
    return registry("skymask.data.datasets", "DATASETS")[dataset].facts


def _values(facts: dict[str, Any]) -> int:
    return int((facts["train"] + facts["test"]) * prod(facts["shape"]))
