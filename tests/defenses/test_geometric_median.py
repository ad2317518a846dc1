"""Tests of the geometric median against byzfl and its first-order condition."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import (
    geometric_median,
)
from tests.support.updates import column, normal, seeded


def pull(updates, place):
    """The sum of the unit vectors from ``place`` to the updates elsewhere."""
    offsets = updates - place
    lengths = offsets.norm(dim=1, keepdim=True)
    away = lengths.flatten() > 1e-9
    return (offsets[away] / lengths[away]).sum(dim=0)


@pytest.mark.parametrize(("n", "d"), [(3, 2), (4, 3), (7, 1), (9, 5), (10, 40), (20, 3), (12, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_geometric_median_is_that_of_byzfl(byzfl, n, d, seed):
    updates = normal(n, d, seed=seed)
    outcome = geometric_median(updates, tolerance=1e-10)
    other = torch.from_numpy(byzfl.GeometricMedian(nu=1e-12, T=5000)(updates.numpy()))
    assert outcome.accepted is None

    def total(place):
        return (updates - place).norm(dim=1).sum()

    assert total(outcome.update) <= total(other) * (1 + 1e-9)
    if d > 1:  # on a line with an even number the minimum is an interval
        assert_close(outcome.update, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "d"), [(3, 2), (8, 3), (15, 30), (50, 4), (2, 7)])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-11])
@pytest.mark.parametrize("seed", range(5))
def test_geometric_median_meets_the_first_order_condition(n, d, tolerance, seed):
    updates = normal(n, d, seed=seed) ** 3
    outcome = geometric_median(updates, tolerance=tolerance)
    met = int(((updates - outcome.update).norm(dim=1) <= 1e-9).sum())
    limit = met + tolerance * n * 1.001 + 1e-8
    assert pull(updates, outcome.update).norm() <= limit
    assert_close(outcome.weights.sum().item(), 1.0)
    assert (outcome.weights >= 0).all()
    assert_close(outcome.weights @ updates, outcome.update)


def test_geometric_median_by_hand():
    # an equilateral triangle: its centre; an obtuse one (over 120°): that corner
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.float64)
    assert_close(geometric_median(corners).update, corners.mean(dim=0), rtol=1e-5, atol=1e-5)
    obtuse = torch.tensor([[-9.0, 1.0], [0.0, 0.0], [8.0, 1.0]])
    assert geometric_median(obtuse).update.tolist() == [0.0, 0.0]
    assert geometric_median(obtuse).weights.tolist() == [0.0, 1.0, 0.0]
    # a square: where the diagonals meet; the corner of a pair outweighs one other
    square = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    assert_close(geometric_median(square).update, torch.ones(2), rtol=0, atol=1e-5)
    pair = torch.tensor([[5.0, 1.0], [5.0, 1.0], [0.0, 7.0]])
    assert geometric_median(pair).update.tolist() == [5.0, 1.0]
    assert geometric_median(pair).weights.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("values", "expected"), [((0, 4), 2), ((9, 0, 1, 5), 3), ((0, 1, 99), 1), ((3, 3, 8, 8), 5.5)]
)
def test_geometric_median_on_a_line_is_the_median(values, expected):
    assert_close(geometric_median(column(*values)).update.item(), float(expected))


def test_geometric_median_leaves_an_update_that_is_no_minimum():
    # the first is nearest to all, and the iteration starts at it
    updates = torch.tensor([[0.0, 0.1], [3, 0], [-3, 0.3], [0, 3], [0, -3], [0.2, 3]]).double()
    start = (updates[:, None] - updates[None]).norm(dim=2).sum(dim=1).argmin()
    outcome = geometric_median(updates, tolerance=1e-9)
    assert start == 0
    assert (outcome.update - updates[0]).norm() > 1e-3
    assert pull(updates, outcome.update).norm() <= 1e-8


def test_the_step_of_vardi_and_zhang_from_an_update_and_its_copy():
    # the pair at the start is nearest to all, and the four others pull with more than its force
    updates = torch.tensor([[0, 0], [0, 0], [10, 10], [10, -10], [9, 11], [9, -11]]).double()
    others = updates[2:]
    lengths = others.norm(dim=1, keepdim=True)
    unhindered = (others / lengths).sum(dim=0) / (1 / lengths).sum()
    force = (others / lengths).sum(dim=0).norm()
    assert force > 2
    expected = updates[0] + (1 - 2 / force) * unhindered
    assert_close(geometric_median(updates, max_steps=1).update, expected)


def test_one_huge_update_hardly_moves_the_geometric_median():
    updates = normal(9, 30, dtype=torch.float32)
    usual = geometric_median(updates[1:]).update
    updates[0] = 1e12
    outcome = geometric_median(updates)
    assert (outcome.update - usual).norm() < 2
    assert pull(updates.double(), outcome.update.double()).norm() < 1e-4


def test_geometric_median_stops_after_max_steps():
    updates = normal(9, 4)
    few, many = (geometric_median(updates, max_steps=k, tolerance=1e-12) for k in (1, 1000))
    assert pull(updates, few.update).norm() > 10 * pull(updates, many.update).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["any", "whole numbers", "close pairs"])
def test_geometric_median_on_a_line_does_not_depend_on_the_order_of_the_clients(form, dtype):
    for seed in range(100):
        source = seeded(seed)
        n = int(torch.randint(1, 13, (1,), generator=source))
        values = torch.randn(n, 1, generator=source, dtype=torch.float64)
        if form == "whole numbers":
            values = (2 * values).round()
        if form == "close pairs":
            values[n // 2 :] = values[: n - n // 2] * (1 + 1e-8)
        updates = values.to(dtype)
        order = torch.randperm(n, generator=source)
        one, other = geometric_median(updates), geometric_median(updates[order])
        assert other.weights.equal(one.weights[order])
        assert_close(other.update, one.update, rtol=1e-6, atol=0)
        # the midpoint of the middle two, where these and their copies are equally many
        ordered = updates.double().sort(dim=0).values
        low, high = ordered[(n - 1) // 2], ordered[n // 2]
        assert low <= one.update.double() + 1e-6
        assert one.update.double() <= high + 1e-6
        if ordered.unique().numel() == n:
            assert_close(one.update.double(), (low + high) / 2, rtol=1e-6, atol=1e-12)
