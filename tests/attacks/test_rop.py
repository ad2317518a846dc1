"""Tests of the relocated orthogonal perturbation."""

import math

import pytest
import torch
from torch.testing import assert_close

from skymask.attacks import lie, rop
from skymask.attacks.rop import orthogonal
from skymask.contracts import RequirementError
from tests.support.updates import EXACT, flags, normal, updates_of

N, F, D = 10, 3, 40


def round_of(seed=0):
    updates, malicious = updates_of(N, F, D, seed)
    start, step = normal(D, seed=seed + 1), 0.3 * normal(D, seed=seed + 2)
    return updates, malicious, start + step, {"previous": start}, start + step - start


def cosine(one, other):
    return float(one @ other / (one.norm() * other.norm()))


@pytest.mark.parametrize("z", [0.4, 2.0])
@pytest.mark.parametrize("pi", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("angle", "expected"), [(270.0, 0.0), (90.0, 0.0), (180.0, -1.0), (0, 1)])
def test_the_step_has_its_length_and_its_angle_to_the_reference(z, pi, angle, expected):
    updates, malicious, model, state, last = round_of()
    attacked, after = rop(updates, malicious, model, state, z=z, pi=pi, angle=angle)
    mean = updates[~malicious].mean(dim=0)
    reference = 0.9 * last + 0.1 * mean
    step = attacked[malicious][0] - (pi * last + (1 - pi) * mean)
    assert_close(step.norm().item(), z, **EXACT)
    assert_close(cosine(step, reference), float(expected), **EXACT)
    assert attacked[malicious].equal(attacked[malicious][0].repeat(F, 1))
    assert attacked[~malicious].equal(updates[~malicious])
    assert after["previous"].equal(model)


def test_in_the_plane_of_ones_and_the_reference_by_hand():
    updates = torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    malicious = flags("001")
    start, model = torch.zeros(2).double(), torch.tensor([0.0, 3.0]).double()
    # r = 0.5 · (0, 3) + 0.5 · (2, 0) = (1, 1.5); ones less their part along r: (1, 1) − (10/13) r
    attacked, _ = rop(updates, malicious, model, {"previous": start}, z=2.0, history=0.5)
    across = torch.tensor([3.0, -2.0]).double() / math.sqrt(13)
    assert_close(attacked[2], model - 2 * across, **EXACT)
    attacked, _ = rop(updates, malicious, model, {"previous": start}, z=2.0, history=0.5, angle=30)
    along = torch.tensor([2.0, 3.0]).double() / math.sqrt(13)
    assert_close(attacked[2], model + across + math.sqrt(3) * along, **EXACT)


def test_in_the_first_round_the_reference_is_the_mean():
    updates, malicious, model, _, _ = round_of()
    mean = updates[~malicious].mean(dim=0)
    attacked, after = rop(updates, malicious, model, {}, z=1.5)
    step = attacked[malicious][0]
    assert_close(step.norm().item(), 1.5, **EXACT)
    assert_close(cosine(step, mean), 0.0, **EXACT)
    assert after["previous"].equal(model)
    attacked, _ = rop(updates, malicious, model, {}, z=1.5, angle=180.0, pi=0.25)
    assert_close(attacked[malicious][0], (0.75 - 1.5 / mean.norm()) * mean, **EXACT)


def test_the_default_z_is_that_of_lie_and_the_scale_is_the_spread():
    updates, malicious, model, state, last = round_of()
    benign = updates[~malicious]
    z = (benign.mean(dim=0) - lie(updates, malicious)[malicious][0])[0] / benign.std(dim=0)[0]
    attacked, _ = rop(updates, malicious, model, state)
    assert_close((attacked[malicious][0] - last).norm(), z.abs(), **EXACT)
    wide, _ = rop(updates, malicious, model, state, scale="sigma")
    expected = (attacked[malicious][0] - last) * benign.std(dim=0).norm()
    assert_close(wide[malicious][0] - last, expected, **EXACT)


def test_a_reference_along_the_ones_or_of_length_zero_is_no_obstacle():
    assert not orthogonal(torch.full((7,), 0.3)).any()
    assert_close(orthogonal(torch.zeros(4)), torch.full((4,), 0.5))
    updates, malicious = torch.ones(6, 5), flags("100000")
    attacked, state = rop(updates, malicious, torch.zeros(5), {}, z=1.0)
    assert attacked.isfinite().all()
    assert attacked[0].abs().max() < 1e-6
    attacked, _ = rop(0 * updates, malicious, torch.zeros(5), state, z=1.0)
    assert_close(attacked[0], torch.full((5,), -(0.2**0.5)))
    assert attacked.dtype == torch.float32


def test_without_attackers_nothing_changes_and_requirements_are_checked():
    updates, malicious, model, state, _ = round_of()
    attacked, after = rop(updates, flags("0" * 10), model, state)
    assert attacked.equal(updates)
    assert after is state
    one = flags("1111111110")
    rop(updates, one, model, state, z=1.0)
    with pytest.raises(RequirementError, match="two with the scale sigma"):
        rop(updates, one, model, state, z=1.0, scale="sigma")
    with pytest.raises(RequirementError, match="no finite z"):
        rop(updates, one, model, state)
    with pytest.raises(RequirementError, match="a benign client"):
        rop(updates, flags("1" * 10), model, state, z=1.0)
    for wrong in ({"history": 1.5}, {"pi": -0.5}):
        (name,) = wrong
        with pytest.raises(RequirementError, match=name):
            rop(updates, malicious, model, state, **wrong)
