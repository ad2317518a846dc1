"""Memory and time that a job requests, from its experiment.

A job of n clients with d parameters on a data set of V values (training and test samples times
features) is estimated to need

    (NESTED + RUNTIME [+ CUDA] + V · VALUE + (n + 1) · d · ENTRY) · SPARE    of memory
    START + rounds · seconds per round · SLACK                               of time

each times the attempt, so that a retry of a job that was ended for either has more.  The constants
cover the measured jobs: up to 640 MB on the digits (n = 20, d = 1,898), 1,180 MB on Fashion-MNIST
(n = 80, d = 139,960) and 3.3 GB with n = 1000, each without NESTED; and jobs that took up to eight
times the time of ``costs`` on a busy machine, short ones more.  These limits change no result.
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
"""MB of host memory that a job on a GPU needs in addition; a guess, not measured."""

VALUE = 8e-6
"""MB for a value of the data: as it is read, and as a 32-bit number."""

ENTRY = 3.2e-5
"""MB for an entry of the updates: eight copies of 32 bits over the stages."""

SPARE = 1.5
"""Requested memory relative to the estimate."""

START = 10
"""Minutes for starting, on a file system with many users."""

SLACK = 8
"""Requested time relative to the estimate."""


def memory(run: Experiment, attempt: int = 1) -> int:
    """Estimate the memory of a job with stages of ``run``, in MB."""
    facts = _facts(run.dataset)
    dimension = parameters(run.model, tuple(facts["shape"]), facts["classes"])
    entries = (run.clients + 1) * dimension
    cuda = CUDA if run.device.startswith("cuda") else 0
    needed = NESTED + RUNTIME + cuda + _values(facts) * VALUE + entries * ENTRY
    return ceil(needed * SPARE) * attempt


def memory_of_data(dataset: str, attempt: int = 1) -> int:
    """Estimate the memory of a job that reads a data set and trains nothing, in MB."""
    return ceil((NESTED + RUNTIME + _values(_facts(dataset)) * VALUE) * SPARE) * attempt


def minutes(run: Experiment, rounds: int, attempt: int = 1) -> int:
    """Estimate the minutes after which a job with ``rounds`` rounds of ``run`` may be ended."""
    estimated = rounds * costs.seconds_per_round(run) / costs.MINUTE
    return ceil(START + estimated * SLACK) * attempt


def _facts(dataset: str) -> dict[str, Any]:
    return registry("skymask.data.datasets", "DATASETS")[dataset].facts


def _values(facts: dict[str, Any]) -> int:
    return int((facts["train"] + facts["test"]) * prod(facts["shape"]))
