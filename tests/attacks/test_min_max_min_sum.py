"""Tests of Min-Max and Min-Sum against a search for the largest step."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist, pdist
from torch.testing import assert_close

from skymask.attacks import (
    min_max,
    min_sum,
)
from skymask.contracts import RequirementError
from tests.support.updates import (
    PERTURBATIONS,
    among,
    direction,
    updates_of,
)


def largest_gamma(benign, p):
    """Bisection on γ ↦ max_i ‖μ + γp − Δ_i‖ ≤ max_{i,j} ‖Δ_i − Δ_j‖."""
    mean, limit = benign.mean(axis=0), pdist(benign).max()

    def fits(gamma):
        return cdist((mean + gamma * p)[None], benign).max() <= limit

    low, high = 0.0, 1.0
    while fits(high):
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@given(
    size=st.sampled_from([(4, 1, 3), (10, 2, 50), (9, 4, 1), (3, 1, 200)]),
    seed=st.integers(0, 999),
)
def test_min_max_gamma_is_the_largest_that_keeps_the_bound(perturbation, size, seed):
    n, f, d = size
    updates, malicious = updates_of(n, f, d, seed)
    benign = updates[~malicious].numpy()
    mean, p = benign.mean(axis=0), direction(benign, perturbation)
    rows = min_max(updates, malicious, perturbation=perturbation)[malicious].numpy()
    gamma = (rows[0] - mean) @ p / (p @ p)
    assert_allclose(rows, np.tile(mean + gamma * p, (len(rows), 1)), rtol=1e-9, atol=1e-12)

    limit = pdist(benign).max()
    assert cdist(rows[:1], benign).max() <= limit * (1 + 1e-12)
    assert cdist((mean + gamma * (1 + 1e-3) * p)[None], benign).max() > limit
    assert_allclose(gamma, largest_gamma(benign, p), rtol=2e-5)


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_min_max_reaches_the_bound_within_its_tolerance(perturbation):
    updates, malicious = updates_of(12, 3, 80, seed=1)
    benign = updates[~malicious].numpy()
    for tolerance in (1e-5, 1e-2):
        rows = min_max(updates, malicious, perturbation=perturbation, tolerance=tolerance)
        reached = cdist(rows[malicious].numpy(), benign).max() / pdist(benign).max()
        assert 1 - 2 * tolerance <= reached <= 1


def test_min_max_by_hand():
    # benign 1 and 3: μ = 2, p = −1, and m = 2 − γ may lie 2 away from 3, so m = 1
    updates, malicious = torch.tensor([[1.0], [9.0], [3.0]]), torch.tensor([False, True, False])
    assert min_max(updates, malicious, tolerance=1e-9).tolist() == [[1.0], [1.0], [3.0]]


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_min_max_sends_the_mean_when_benign_updates_agree(perturbation, value):
    updates, malicious = torch.full((5, 4), value), torch.tensor([True, False, False, True, False])
    result = min_max(updates, malicious, perturbation=perturbation)
    torch.testing.assert_close(result, updates)


def test_min_max_needs_two_benign_clients():
    sentence = re.escape("min_max: min_max needs two benign clients (n = 3, f = 2)")
    with pytest.raises(RequirementError, match=sentence):
        min_max(torch.ones(3, 2), torch.tensor([True, True, False]))
    with pytest.raises(RequirementError, match=r"tolerance must be positive"):
        min_max(torch.ones(3, 2), torch.tensor([True, False, False]), tolerance=0.0)


def row_sum(m, benign):
    return cdist(m[None], benign, "sqeuclidean").sum()


@pytest.mark.parametrize("bound", ["max", "min"])
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@given(
    size=st.sampled_from([(4, 1, 3), (10, 2, 50), (9, 4, 1), (3, 1, 200), (7, 3, 8)]),
    seed=st.integers(0, 999),
)
def test_min_sum_gamma_is_the_largest_that_keeps_the_bound(perturbation, bound, size, seed):
    n, f, d = size
    updates, malicious = updates_of(n, f, d, seed)
    benign = updates[~malicious].numpy()
    mean, p = benign.mean(axis=0), direction(benign, perturbation)
    rows = min_sum(updates, malicious, perturbation=perturbation, bound=bound)[malicious].numpy()
    gamma = (rows[0] - mean) @ p / (p @ p)
    assert_allclose(rows, np.tile(mean + gamma * p, (f, 1)), rtol=1e-9, atol=1e-12)

    sums = cdist(benign, benign, "sqeuclidean").sum(axis=1)
    limit = sums.max() if bound == "max" else sums.min()
    assert row_sum(rows[0], benign) <= limit * (1 + 1e-12)
    assert row_sum(mean + gamma * (1 + 2e-5) * p, benign) > limit * (1 - 1e-12)


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_min_sum_reaches_the_bound_within_its_tolerance(perturbation):
    updates, malicious = updates_of(12, 3, 80, seed=1)
    benign = updates[~malicious].numpy()
    limit = cdist(benign, benign, "sqeuclidean").sum(axis=1).max()
    for tolerance in (1e-5, 1e-2):
        rows = min_sum(updates, malicious, perturbation=perturbation, tolerance=tolerance)
        reached = row_sum(rows[malicious][0].numpy(), benign) / limit
        assert 1 - 2 * tolerance <= reached <= 1


def test_min_sum_by_hand():
    # μ = 2; the row sums are 26, 17 and 41, and m = 2 − γ has 14 + 3 γ²
    updates, malicious = among(0.0, 1.0, 5.0, attackers=2)
    for bound, expected in (("max", -1.0), ("min", 1.0)):
        rows = min_sum(updates, malicious, bound=bound, tolerance=1e-9)[malicious]
        assert_close(rows, torch.full((2, 1), expected, dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_min_sum_sends_the_mean_when_benign_updates_agree(perturbation, value):
    updates, malicious = torch.full((5, 4), value), torch.tensor([True, False, False, True, False])
    assert_close(min_sum(updates, malicious, perturbation=perturbation), updates)
