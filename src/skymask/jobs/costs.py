"""Estimated time of a round, from its experiment.

A round of n clients with d parameters, m samples each in batches of b for E epochs, and v
multiply-adds of the model per sample takes about

    E · (steps · STEP + samples · v · TRAINED) / threads        steps = n · ⌈m / b⌉, samples = n · m
    + test samples · v · EVALUATED / evaluate_every
    + FIXED + n · d · ENTRY                                     for the attack and for each defense

seconds.  The constants below were measured on one thread of a shared x86-64 virtual machine.  They
need to be right within a factor of two: no result depends on how rounds are divided into jobs.
"""

from math import ceil

from skymask.models.layer_shapes import multiply_adds, parameters
from skymask.study.experiment import Experiment, Method
from skymask.study.registry import registry

MINUTE = 60.0
"""Seconds."""

MOST_JOBS = 100
"""Maximal number of jobs of a run: each costs Snakemake time to plan."""

STEP = 3e-4
"""Seconds of a step of SGD in addition to its arithmetic."""

TRAINED, EVALUATED = 1.2e-10, 6e-11
"""Seconds per multiply-add of the model's forward pass, with and without the backward pass."""

FIXED, ENTRY = 2e-3, 4e-8
"""Seconds of an attack or a defense, and per entry of the updates."""

METHODS: dict[str, tuple[float, float]] = {
    "skymask": (0.05, 1.8e-7),
    "deepsight": (0.03, 1e-7),
    "signguard": (0.06, 4e-8),
    "fltrust_adaptive": (0.05, 4.6e-7),
    "skymask_adaptive": (0.3, 8.3e-7),
    "lie_backdoor": (0.02, 4e-8),
    "lp_attack": (0.02, 4e-8),
    "neurotoxin": (0.02, 4e-8),
    "hybrid_sparse": (0.02, 4e-8),
}
"""The same for the methods that are much slower than the others."""

FASTER = {"cpu": 1.0, "cuda": 10.0}
"""Speed of a device relative to the CPU; that of CUDA is a guess, not measured."""


def seconds_per_round(run: Experiment) -> float:
    """Estimate the time of a round, in seconds, on the machine of the constants."""
    data = registry("skymask.data.datasets", "DATASETS")[run.dataset].facts
    kind = (run.model, tuple(data["shape"]), data["classes"])
    of_sample, entries = multiply_adds(*kind), run.clients * parameters(*kind)
    root = run.root_size if run.root_size is not None else (run.root_share or 0) * data["train"]
    samples = run.samples_per_client or (data["train"] - root) / run.clients
    step = ceil(samples / run.batch_size) * STEP + samples * of_sample * TRAINED
    training = run.clients * run.local_epochs * step / run.threads
    evaluation = data["test"] * of_sample * EVALUATED / run.evaluate_every
    methods = [run.attack, *run.defense.pre_aggregators, run.defense]
    applying = sum(_seconds_of(method, entries) for method in methods)
    faster = FASTER[run.device.partition(":")[0]]
    return float((training + evaluation + applying) / faster)


def _seconds_of(method: Method, entries: int) -> float:
    fixed, entry = METHODS.get(method.name, (FIXED, ENTRY))
    return fixed + entries * entry


def rounds_per_job(run: Experiment, rounds: int, minutes: float = 1) -> int:
    """Choose how many rounds a job has.

    There are at most ``MOST_JOBS`` jobs, and all have equally many rounds where that changes their
    number by no more than a quarter.

    Args:
        run: The experiment.
        rounds: Rounds of the run.
        minutes: Wanted duration of a job.

    Returns:
        Rounds of a job, at least 2.
    """
    jobs = min(max(round(rounds * seconds_per_round(run) / (minutes * MINUTE)), 1), MOST_JOBS)
    even = [n for n in range(1, MOST_JOBS + 1) if rounds % n == 0 and abs(n - jobs) <= jobs / 4]
    if even:
        jobs = min(even, key=lambda n: max(n / jobs, jobs / n))
    return max(ceil(rounds / jobs), 2)
