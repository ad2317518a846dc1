"""Local training of all clients compared with the loop of the released code."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from measure import Case, Work
from peers import DataLoaderLoop, paper_cnn

from skymask.federation.local_training import LocalTraining, train_clients
from skymask.models import architectures
from skymask.models.flat_parameters import ResidentModel
from skymask.models.samples import Samples
from skymask.seeds import generator

SHAPE, CLASSES = (1, 28, 28), 10
SETTINGS = LocalTraining(1, 32, 0.5, 1e-2)


def clients(count: int, samples: int, device: str) -> list[Samples]:
    """Random images and labels."""
    source = generator(1, "benchmark")
    return [
        Samples(
            torch.rand(samples, *SHAPE, generator=source).to(device),
            torch.randint(0, CLASSES, (samples,), generator=source).to(device),
        )
        for _ in range(count)
    ]


def cases(device: str) -> Iterator[Case]:
    """One round: the CNN, where the work is, and the small models, where the overhead is."""
    many = device.startswith("cuda")
    for name in ("cnn", "small_cnn", "mlp", "logistic_regression"):
        count, samples = (100, 600) if many else (20, 300)

        def build(name: str = name, count: int = count, samples: int = samples) -> dict[str, Work]:
            data = clients(count, samples, device)
            net = paper_cnn() if name == "cnn" else architectures.build(name, SHAPE, CLASSES, 1)
            peer = DataLoaderLoop(net.to(device), data, 32, 0.5, 1e-2)
            model = ResidentModel(architectures.build(name, SHAPE, CLASSES, 1).to(device))
            start = model.vector.clone()

            def ours(**settings: object) -> Work:
                wanted = replace(SETTINGS, **settings)
                return lambda: (
                    train_clients(
                        model, start, data, wanted, lambda client: generator(1, "batches", client)
                    ).updates
                )

            return {
                "DataLoader loop": peer,
                "skymask": ours(),
                "skymask, loop": ours(batching="loop"),
                "skymask, stacked": ours(batching="stacked"),
                "skymask, bfloat16": ours(precision="bfloat16"),
            }

        target = 30.0 if many else 2.5
        yield Case(
            "Client training",
            f"{count} clients × {samples} samples × {name}",
            build,
            target if name == "cnn" else None,
            repeats=5,
        )
