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

from collections.abc import Callable
from math import ceil, prod

from skymask.study.experiment import Experiment, Method
from skymask.study.registry import registry

Shape = tuple[int, ...]

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


Layer = tuple[int, int, int]
"""Weights of an output, outputs at a place, places: 1 for a linear layer, pixels of the output."""


def _small_cnn(shape: Shape, classes: int) -> list[Layer]:
    channels, height, width = shape
    return [
        (9 * channels, 8, height * width),
        (9 * 8, 16, (height // 2) * (width // 2)),
        (16 * (height // 4) * (width // 4), classes, 1),
    ]


def _cnn(shape: Shape, classes: int) -> list[Layer]:
    channels, height, width = shape
    rows, columns = ((height - 2) // 2 - 2) // 2, ((width - 2) // 2 - 2) // 2
    return [
        (9 * channels, 30, (4 * rows + 4) * (4 * columns + 4)),
        (9 * 30, 50, 2 * rows * 2 * columns),
        (50 * rows * columns, 100, 1),
        (100, classes, 1),
    ]


def _resnet20(shape: Shape, classes: int) -> list[Layer]:
    channels, height, width = shape
    layers, before = [], channels

    def convolution(weights: int, outputs: int, pixels: int) -> list[Layer]:
        # no bias, but a scale and a shift; the second of them stands as a layer of its own
        return [(weights, outputs, pixels), (0, outputs, 0)]

    layers += convolution(9 * channels, 16, height * width)
    before = 16
    for place, outputs in enumerate((16, 32, 64)):
        pixels = -(-height // 2**place) * -(-width // 2**place)
        for _ in range(3):
            layers += convolution(9 * before, outputs, pixels)
            layers += convolution(9 * outputs, outputs, pixels)
            layers += convolution(before, outputs, pixels) if before != outputs else []
            before = outputs
    return [*layers, (64, classes, 1)]


LAYERS: dict[str, Callable[[Shape, int], list[Layer]]] = {
    "logistic_regression": lambda shape, classes: [(prod(shape), classes, 1)],
    "mlp": lambda shape, classes: [(prod(shape), 64, 1), (64, classes, 1)],
    "small_cnn": _small_cnn,
    "cnn": _cnn,
    "resnet20": _resnet20,
}
"""The layers of a model on samples of a shape; one that is missing counts as ``mlp``."""


def parameters(model: str, shape: Shape, classes: int) -> int:
    """The number of a model's parameters, d.

    >>> parameters("cnn", (1, 28, 28), 10)
    139960
    """
    return sum((weights + 1) * outputs for weights, outputs, _ in _layers(model, shape, classes))


def multiply_adds(model: str, shape: Shape, classes: int) -> int:
    """The multiply-adds of a model's forward pass on one sample, v.

    >>> multiply_adds("mlp", (1, 8, 8), 10)
    4736
    """
    return sum(prod(layer) for layer in _layers(model, shape, classes))


def _layers(model: str, shape: Shape, classes: int) -> list[Layer]:
    return LAYERS.get(model, LAYERS["mlp"])(shape, classes)


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
