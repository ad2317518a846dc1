"""Mask learning compared with autograd and with the memory bandwidth."""

from collections.abc import Iterator

import torch
from measure import Case, Work
from peers import autograd_masks
from torch import Tensor

from skymask.masks import learning as masks_learning
from skymask.masks import steps as masks_steps
from skymask.models import architectures
from skymask.models.flat_parameters import Layout
from skymask.models.functional import Loss, root_loss
from skymask.models.samples import Samples
from skymask.seeds import generator

SETTINGS = {"rate": 1e7, "clamp": 1e-7, "steps": 20}
SHAPE, CLASSES, ROOT = (1, 28, 28), 10, 100


def problem(count: int, device: str) -> tuple[Tensor, Loss, Layout]:
    """``count`` models around a CNN, and its loss on random root data."""
    source = generator(1, "benchmark")
    module = architectures.build("cnn", SHAPE, CLASSES, seed=1).to(device)
    features = torch.rand(ROOT, *SHAPE, generator=source).to(device)
    labels = torch.randint(0, CLASSES, (ROOT,), generator=source).to(device)
    layout = Layout.of(module)
    start = torch.cat([p.detach().flatten() for p in module.parameters()])
    noise = torch.randn(count, layout.dimension, generator=source).to(device)
    return start + 0.01 * noise, root_loss(module, Samples(features, labels)), layout


def cases(device: str) -> Iterator[Case]:
    """101 models × CNN × 20 steps."""

    def learning() -> dict[str, Work]:
        rows, loss, layout = problem(101, device)
        small = rows.bfloat16()
        options = {"learning_rate": SETTINGS["rate"], "clamp": SETTINGS["clamp"]}

        def ours(rows: Tensor) -> Work:
            return lambda: masks_learning.learn_masks(
                rows, loss, **options, steps=20, tolerance=-1e9
            )

        shapes = list(layout.shapes)
        return {
            "autograd over a mask per client and layer": lambda: autograd_masks(
                rows, shapes, loss, **SETTINGS
            ),
            "skymask": ours(rows),
            "skymask, W in bfloat16": ours(small),
        }

    yield Case("Mask learning", "101 × CNN (139,960), 20 steps", learning, target=5.0, repeats=3)

    def step() -> dict[str, Work]:
        rows, _, layout = problem(101, device)
        theta = torch.ones_like(rows)
        masked, weight = masks_learning.combine(rows, theta)
        gradient = 1e-6 * torch.randn(layout.dimension).to(device)
        target = torch.empty_like(rows)
        half = rows[: len(rows) // 2]
        found: dict[str, Work] = {}

        def floor() -> None:
            # 3 · m · d · 4 bytes: a copy reads and writes, so one and a half of them
            target.copy_(rows)
            target[: len(half)].copy_(half)

        def taken(kind: str, rows: Tensor) -> Work:
            steps = {
                "numba": masks_steps.by_numba,
                "triton": masks_steps.by_triton,
                "torch": masks_steps.by_torch,
            }
            step = steps[kind](rows)
            return lambda: step(theta, masked, weight, gradient, 1e7, 1e-7)

        found["floor: 3 m d 4 bytes copied"] = floor
        found["skymask"] = taken(masks_steps.kind_of(rows), rows)
        found["skymask, W in bfloat16"] = taken(masks_steps.kind_of(rows), rows.bfloat16())
        found["skymask, torch's operations"] = taken("torch", rows)
        return found

    yield Case(
        "Mask learning",
        "one step beyond the model's gradient, 101 × CNN",
        step,
        target=0.5,
        repeats=15,
    )

    def gradient() -> dict[str, Work]:
        rows, loss, _ = problem(101, device)
        theta = torch.ones_like(rows)
        masked, weight = masks_learning.combine(rows, theta)
        step = masks_steps.by_numba(rows) if device == "cpu" else masks_steps.by_triton(rows)
        return {
            "the model's gradient on 100 root samples": lambda: masks_learning.value_and_gradient(
                loss, masked
            ),
            "skymask": lambda: step(theta, masked, weight, 0 * masked, 0.0, 0.0),
        }

    yield Case("Mask learning", "the step compared with the model's gradient", gradient, repeats=15)
