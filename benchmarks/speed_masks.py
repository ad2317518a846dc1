"""Mask learning compared with autograd and with the memory bandwidth."""

from collections.abc import Iterator
from functools import partial

import torch
from measure import Case, Work
from peers import autograd_masks
from torch import Tensor
from workloads import CLASSES, SHAPE, random_samples

from skymask.masks import learning, steps
from skymask.models import architectures
from skymask.models.flat_parameters import Layout
from skymask.models.functional import Loss, root_loss
from skymask.seeds import generator

RATE, CLAMP = 1e7, 1e-7
ROWS, ROOT = 101, 100  # local models with the server's, root samples
TOPIC = "Mask learning"


def cases(device: str) -> Iterator[Case]:
    """Yield mask learning as a whole, and one of its steps."""
    yield Case(
        TOPIC,
        f"{ROWS} × CNN (139,960), 20 steps",
        partial(_learning, device),
        target=5.0,
        repeats=3,
    )
    yield Case(
        TOPIC,
        f"one step beyond the model's gradient, {ROWS} × CNN",
        partial(_step, device),
        target=0.5,
        repeats=15,
    )
    yield Case(
        TOPIC,
        "the step compared with the model's gradient",
        partial(_gradient, device),
        repeats=15,
    )


def _problem(device: str) -> tuple[Tensor, Loss, Layout]:
    """Local models [ROWS, d] near a CNN, and its loss on random root data."""
    source = generator(1, "benchmark")
    module = architectures.build("cnn", SHAPE, CLASSES, seed=1).to(device)
    root = random_samples(ROOT, source, device)
    layout = Layout.of(module)
    start = torch.cat([p.detach().flatten() for p in module.parameters()])
    noise = torch.randn(ROWS, layout.dimension, generator=source).to(device)
    return start + 0.01 * noise, root_loss(module, root), layout


def _learning(device: str) -> dict[str, Work]:
    rows, loss, layout = _problem(device)
    # a tolerance that is never reached: all steps are done
    ours = partial(
        learning.learn_masks,
        loss=loss,
        learning_rate=RATE,
        clamp=CLAMP,
        steps=20,
        tolerance=-1e9,
    )
    return {
        "autograd over a mask per client and layer": partial(
            autograd_masks, rows, list(layout.shapes), loss, RATE, CLAMP, steps=20
        ),
        "skymask": partial(ours, rows),
        "skymask, W in bfloat16": partial(ours, rows.bfloat16()),
    }


def _step(device: str) -> dict[str, Work]:
    rows, _, layout = _problem(device)
    theta = torch.ones_like(rows)
    masked, weight = learning.combine(rows, theta)
    gradient = 1e-6 * torch.randn(layout.dimension).to(device)
    target = torch.empty_like(rows)
    half = len(rows) // 2

    def copy() -> None:
        # 3 · m · d · 4 bytes: a copy reads and writes, so these are one and a half copies
        target.copy_(rows)
        target[:half].copy_(rows[:half])

    def step(kind: str, rows: Tensor) -> Work:
        kinds = {"numba": steps.by_numba, "triton": steps.by_triton, "torch": steps.by_torch}
        return partial(kinds[kind](rows), theta, masked, weight, gradient, RATE, CLAMP)

    kind = steps.kind_of(rows)
    return {
        "floor: 3 m d 4 bytes copied": copy,
        "skymask": step(kind, rows),
        "skymask, W in bfloat16": step(kind, rows.bfloat16()),
        "skymask, torch's operations": step("torch", rows),
    }


def _gradient(device: str) -> dict[str, Work]:
    rows, loss, _ = _problem(device)
    theta = torch.ones_like(rows)
    masked, weight = learning.combine(rows, theta)
    step = steps.by_numba(rows) if device == "cpu" else steps.by_triton(rows)
    return {
        f"the model's gradient on {ROOT} root samples": partial(
            learning.value_and_gradient, loss, masked
        ),
        "skymask": lambda: step(theta, masked, weight, 0 * masked, 0.0, 0.0),
    }
