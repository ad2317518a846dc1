"""About how long a round takes, reckoned from the experiment: for the cut of a run into jobs.

A round of n clients with d parameters, m samples each in batches of b for E epochs, and v
multiply-adds of the model per sample takes about

    E · (steps · STEP + samples · v · TRAINED) / threads        steps = n · ⌈m / b⌉, samples = n · m
    + test samples · v · EVALUATED / evaluate_every
    + FIXED + n · d · ENTRY                                     for the attack and for each rule

seconds.  The constants below were measured on one thread of a shared x86-64 virtual machine; within
a factor of two is all they are for, since no result depends on how rounds are cut.  Imports nothing
heavy: the Snakefile plans its DAG with it.
"""

from math import ceil

from skymask.models.layer_shapes import multiply_adds, parameters
from skymask.study.experiment import Experiment, Method
from skymask.study.registry import registry

MINUTE = 60.0
"""Seconds."""

MOST_JOBS = 100
"""Jobs that a run is cut into at most: planning costs Snakemake time for each."""

STEP = 3e-4
"""Seconds of a step of SGD beside its arithmetic."""

TRAINED, EVALUATED = 1.2e-10, 6e-11
"""Seconds per multiply-add of the model's forward pass, with and without the way back."""

FIXED, ENTRY = 2e-3, 4e-8
"""Seconds of an attack or a rule, and per entry of the updates."""

METHODS: dict[str, tuple[float, float]] = {
    "skymask": (0.05, 1.8e-7),
    "deepsight": (0.03, 1e-7),
    "signguard": (0.06, 4e-8),
    "fltrust_adaptive": (0.05, 4.6e-7),
    "skymask_adaptive": (0.3, 8.3e-7),
    "lie_backdoor": (0.02, 4e-8),
}
"""The same for those that are much slower than the others."""

FASTER = {"cpu": 1.0, "cuda": 10.0}
"""How many times as fast a device is.  For CUDA this is taken, not measured."""


def seconds_per_round(run: Experiment) -> float:
    """About how long a round of ``run`` takes on the machine the constants are of."""
    data = registry("skymask.data.datasets", "DATASETS")[run.dataset].facts
    kind = (run.model, tuple(data["shape"]), data["classes"])
    of_sample, entries = multiply_adds(*kind), run.clients * parameters(*kind)
    root = run.root_size if run.root_size is not None else (run.root_share or 0) * data["train"]
    held = run.samples_per_client or (data["train"] - root) / run.clients
    step = ceil(held / run.batch_size) * STEP + held * of_sample * TRAINED
    training = run.clients * run.local_epochs * step / run.threads
    evaluation = data["test"] * of_sample * EVALUATED / run.evaluate_every
    rules = [run.attack, *run.defense.pre_aggregators, run.defense]
    judging = sum(_seconds_of(rule, entries) for rule in rules)
    faster = FASTER[run.device.partition(":")[0]]
    return float((training + evaluation + judging) / faster)


def _seconds_of(method: Method, entries: int) -> float:
    fixed, entry = METHODS.get(method.name, (FIXED, ENTRY))
    return fixed + entries * entry


def rounds_per_job(run: Experiment, rounds: int, minutes: float = 1) -> int:
    """How many of a run's ``rounds`` a job should carry to take about so many ``minutes``.

    At least 2.  There are at most ``MOST_JOBS`` jobs, and all carry equally many rounds where that
    changes their number by no more than a quarter.
    """
    jobs = min(max(round(rounds * seconds_per_round(run) / (minutes * MINUTE)), 1), MOST_JOBS)
    even = [n for n in range(1, MOST_JOBS + 1) if rounds % n == 0 and abs(n - jobs) <= jobs / 4]
    if even:
        jobs = min(even, key=lambda n: max(n / jobs, jobs / n))
    return max(ceil(rounds / jobs), 2)
