"""Tests of mask learning."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.testing import assert_close

from skymask.masks import learning
from skymask.masks import steps as masks_steps
from skymask.models import architectures
from skymask.models.flat_parameters import Layout
from skymask.models.functional import root_loss
from skymask.models.samples import Samples
from tests.support.devices import Device

DATA = Path(__file__).parents[1] / "reference"


ORACLES = ["lr_12_clients", "lr_20_clients_40pct"]


INF = float("inf")


def problem(rows, width, dtype=torch.float32, seed=0):
    """Models on all sides of a target, and the squared distance to it as the loss."""
    source = torch.Generator().manual_seed(seed)
    models_ = torch.randn(rows, width, generator=source, dtype=torch.float64).to(dtype)
    target = torch.randn(width, generator=source, dtype=torch.float64).to(dtype)
    return models_, lambda w: (w - target).square().mean()


def reference(rows, loss, learning_rate, clamp, steps):
    """The definition in one piece: autograd over θ, no blocks, no early stop."""
    theta = torch.ones_like(rows, requires_grad=True)
    for _ in range(steps):
        gate = torch.sigmoid(theta)
        value = loss((gate * rows).sum(dim=0) / gate.sum(dim=0))
        (gradient,) = torch.autograd.grad(value, theta)
        with torch.no_grad():
            theta -= learning_rate * gradient.clamp(-clamp, clamp)
    return theta.detach()


def learn_counting(rows, loss, **options):
    values = []
    theta = learning.learn_masks(
        rows, loss, on_step=lambda _, value: values.append(value), **options
    )
    return theta, values


@pytest.mark.parametrize(("axis", "loss"), [("class", "cross_entropy"), ("batch", "batch_softmax")])
@pytest.mark.parametrize("name", ORACLES)
def test_masks_are_those_of_the_released_code(name, axis, loss, device):
    with np.load(DATA / f"{name}.npz") as arrays:
        given = {key: torch.from_numpy(arrays[key]) for key in arrays.files if arrays[key].ndim}
    module = architectures.logistic_regression((561,), 6).to(device)
    root = Samples(given["root_x"].to(device), given["root_y"].to(device))
    rows = (given["global_params"] + given["updates"]).to(device)
    theta, losses = learn_counting(rows, root_loss(module, root, loss))
    expected, theta = given[f"mask_logits_{axis}"], theta.cpu()
    assert len(losses) == len(given[f"mask_losses_{axis}"])
    assert np.abs(np.array(losses) - given[f"mask_losses_{axis}"].numpy()).max() <= 1e-5
    assert (learning.binarise(theta) == (expected > 0)).double().mean() > 0.999
    assert ((theta - expected).abs() <= 1e-2).double().mean() > 0.999


@pytest.mark.parametrize(("learning_rate", "clamp"), [(200.0, INF), (1e7, 1e-7)])
def test_closed_gradient_is_that_of_autograd_on_a_convolutional_model(learning_rate, clamp):
    source = torch.Generator().manual_seed(1)
    module = architectures.build("small_cnn", (1, 8, 8), 10, seed=0).double()
    layout = Layout.of(module)
    features = torch.rand(30, 1, 8, 8, generator=source, dtype=torch.float64)
    labels = torch.randint(0, 10, (30,), generator=source)
    start = layout.flatten(dict(module.named_parameters())).detach()
    noise = torch.randn(4, layout.dimension, generator=source, dtype=torch.float64)

    def masked_loss(vector):
        logits = functional_call(module, layout.unflatten(vector), (features,))
        return torch.nn.functional.cross_entropy(logits, labels)

    rows = start + 0.1 * noise
    loss = root_loss(module, Samples(features, labels))
    options = {"learning_rate": learning_rate, "clamp": clamp, "steps": 6}
    theta = learning.learn_masks(rows, loss, **options)
    assert (theta - 1).abs().max() > 0.5
    assert_close(theta, reference(rows, masked_loss, **options), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "width",
    [1, masks_steps.BLOCK - 1, masks_steps.BLOCK, masks_steps.BLOCK + 1, 2 * masks_steps.BLOCK + 3],
)
def test_blocks_make_no_difference(width):
    rows, loss = problem(4, width, torch.float64)
    options = {"learning_rate": 1e7, "clamp": 1e-7, "steps": 8}
    theta = learning.learn_masks(rows, loss, tolerance=-INF, **options)
    assert_close(theta, reference(rows, loss, **options), rtol=0, atol=1e-6)


def test_many_small_blocks_make_no_difference(monkeypatch):
    rows, loss = problem(5, 100, torch.float64)
    whole = learning.learn_masks(rows, loss)
    masked, weight = learning.combine(rows, whole)
    monkeypatch.setattr(masks_steps, "BLOCK", 16)
    assert_close(learning.learn_masks(rows, loss), whole, rtol=0, atol=1e-6)
    assert_close(learning.combine(rows, whole), (masked, weight))
    gate = torch.sigmoid(whole)
    assert_close((masked, weight), ((gate * rows).sum(dim=0) / gate.sum(dim=0), gate.sum(dim=0)))


def test_first_step_moves_towards_the_models_that_help():
    rows = torch.tensor([[-1.0], [0.0], [3.0]], dtype=torch.float64)
    theta = learning.learn_masks(rows, lambda w: -w.sum(), learning_rate=1.0, clamp=INF, steps=1)
    gate = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))
    mean = 2.0 / 3.0
    expected = 1 + gate * (1 - gate) * (rows - mean) / (3 * gate)
    assert_close(theta, expected)


def test_inputs_are_unchanged():
    rows, loss = problem(4, 50)
    before = rows.clone()
    learning.learn_masks(rows, loss)
    assert rows.equal(before)
    assert not rows.requires_grad


def test_equal_models_get_equal_masks():
    rows = torch.randn(1, 60, generator=torch.Generator().manual_seed(2)).repeat(5, 1)
    theta = learning.learn_masks(rows, lambda w: (w - 1).square().sum())
    assert theta.equal(theta[:1].expand_as(theta))


def test_permuting_models_permutes_masks():
    rows, loss = problem(6, 80, torch.float64)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert_close(
        learning.learn_masks(rows[order], loss),
        learning.learn_masks(rows, loss)[order],
        rtol=0,
        atol=1e-6,
    )


def test_coordinate_whose_gates_all_underflow_is_the_plain_mean():
    rows = torch.tensor([[1.0, 1.0], [2.0, 5.0], [6.0, 6.0]])
    theta = torch.ones_like(rows)
    theta[:, 0] = -1000.0
    masked, weight = learning.combine(rows, theta)
    assert_close(masked, torch.tensor([3.0, 4.0]))
    assert (weight > 0).all()


@pytest.mark.parametrize("learning_rate", [1e8, 1e10, 1e20])
def test_saturated_masks_stay_finite(learning_rate):
    rows, loss = problem(5, 200)
    theta, losses = learn_counting(rows, loss, learning_rate=learning_rate, tolerance=-INF)
    assert theta.isfinite().all()
    assert len(losses) == 20
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(("check_every", "seen"), [(10, 12), (3, 5), (1, 2), (30, 20)])
def test_learning_stops_at_the_check_where_the_loss_no_longer_falls(check_every, seen):
    rows, _ = problem(3, 10)
    _, losses = learn_counting(rows, lambda w: 0 * w.sum() + 5, check_every=check_every)
    assert len(losses) == seen


@pytest.mark.parametrize(("fall", "seen"), [(2e-3, 20), (0.5e-3, 12)])
def test_tolerance_is_the_fall_since_the_last_check(fall, seen):
    values = iter(5 - fall * step for step in range(20))
    rows, _ = problem(3, 10, torch.float64)
    _, losses = learn_counting(rows, lambda w: 0 * w.sum() + next(values))
    assert len(losses) == seen


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_steps_limits_the_number_of_steps(steps):
    rows, loss = problem(3, 10)
    theta, losses = learn_counting(rows, loss, steps=steps, tolerance=-INF)
    assert len(losses) == steps
    assert theta.eq(1).all() == (steps == 0)


@pytest.mark.parametrize("bad", [float("nan"), INF])
def test_learning_stops_at_once_when_the_loss_is_not_finite(bad):
    rows, loss = problem(3, 10)
    factors = iter([1, 1, bad, 1, 1])
    theta, losses = learn_counting(rows, lambda w: loss(w) * next(factors))
    assert len(losses) == 3
    assert not np.isfinite(losses[-1])
    assert theta.equal(learning.learn_masks(rows, loss, steps=2))


def test_clamp_bounds_every_step():
    rows, loss = problem(3, 10)
    theta = learning.learn_masks(rows, loss, learning_rate=1e7, clamp=1e-7, steps=3)
    assert (theta - 1).abs().max() <= 3 + 1e-5


def test_threshold_is_applied_to_the_gate():
    theta = torch.tensor([-1.0, 0.0, 0.1, 2.0])
    assert learning.binarise(theta).tolist() == [False, False, True, True]
    assert learning.binarise(theta, 0.8).tolist() == [False, False, False, True]


def test_models_must_be_a_matrix():
    with pytest.raises(ValueError, match=r"matrix \[m, d\], not of shape \(3,\)"):
        learning.learn_masks(torch.zeros(3), lambda w: w.sum())


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_differences_from_an_origin_are_learned_as_the_models_are(precision):
    rows, loss = problem(5, 300, precision)
    origin = rows.mean(dim=0) + 1
    options = {"learning_rate": 1e7, "clamp": 1e-7, "steps": 8}
    theta = learning.learn_masks(rows - origin, loss, origin=origin, **options)
    expected = learning.learn_masks(rows, loss, **options)
    assert (expected - 1).abs().max() > 1
    assert_close(theta, expected, rtol=0, atol=1e-6 if precision == torch.float64 else 1e-2)


def distance_loss(models):
    return lambda w: ((w - models[0]) ** 2).sum() * 1e-4


@pytest.mark.parametrize("least", [32, 100, 5000])
@pytest.mark.parametrize("call", [1, 2])
def test_masks_learned_in_fewer_columns_are_the_same_to_the_bit(least, call, monkeypatch):
    # by torch's operations, as on a GPU without Triton
    monkeypatch.setattr(masks_steps, "installed", lambda _: False)
    monkeypatch.setattr(masks_steps, "BLOCK", 4096)
    width = 9000
    models = torch.randn(6, width, generator=torch.Generator().manual_seed(0))
    learn = {"learning_rate": 3e6, "steps": 4, "tolerance": 0.0}
    undisturbed = learning.learn_masks(models, distance_loss(models), **learn)
    assert not undisturbed.eq(1).all()
    device, sigmoid, calls = Device(min(least, 3000)), torch.sigmoid, {}

    def short(values):
        # of each block's two gates the first, or the second, when θ could have moved already
        key = values.shape[-1]
        calls[key] = calls.get(key, 0) + 1
        if calls[key] % 2 == call % 2:
            device.take(key)
        return sigmoid(values)

    monkeypatch.setattr(masks_steps.torch, "sigmoid", short)
    disturbed = learning.learn_masks(models, distance_loss(models), **learn)
    assert max(device.asked) > device.least
    assert disturbed.equal(undisturbed)
