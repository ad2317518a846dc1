"""Local training of all clients compared with the loop of the released code."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from measure import Case, Work
from peers import DataLoaderLoop, paper_cnn
from workloads import CLASSES, SHAPE, random_samples

from skymask.federation.local_training import train_clients
from skymask.federation.settings import LocalTraining
from skymask.models import architectures
from skymask.models.flat_parameters import ResidentModel
from skymask.seeds import generator

SETTINGS = LocalTraining(1, 32, 0.5, 1e-2)


def cases(device: str) -> Iterator[Case]:
    """Yield one round of the CNN, dominated by work, and of small models, by overhead."""
    gpu = device.startswith("cuda")
    count, samples = (100, 600) if gpu else (20, 300)
    for name in ("cnn", "small_cnn", "mlp", "logistic_regression"):
        yield Case(
            "Client training",
            f"{count} clients × {samples} samples × {name}",
            partial(_contenders, name, count, samples, device),
            target=(30.0 if gpu else 2.5) if name == "cnn" else None,
        )


def _contenders(name: str, count: int, samples: int, device: str) -> dict[str, Work]:
    source = generator(1, "benchmark")
    data = [random_samples(samples, source, device) for _ in range(count)]
    net = paper_cnn() if name == "cnn" else architectures.build(name, SHAPE, CLASSES, 1)
    model = ResidentModel(architectures.build(name, SHAPE, CLASSES, 1).to(device))
    start = model.vector.clone()

    def ours(**settings: object) -> Work:
        return partial(
            train_clients,
            model,
            start,
            data,
            replace(SETTINGS, **settings),
            partial(generator, 1, "batches"),
        )

    return {
        "DataLoader loop": DataLoaderLoop(net.to(device), data, 32, 0.5, 1e-2),
        "skymask": ours(),
        "skymask, loop": ours(batching="loop"),
        "skymask, stacked": ours(batching="stacked"),
        "skymask, bfloat16": ours(precision="bfloat16"),
    }
