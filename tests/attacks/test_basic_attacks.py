"""The attacks against hand-computed cases and independent implementations."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist, pdist

from skymask.attacks import fang_trim, label_flip, min_max, none
from skymask.contracts import RequirementError

PERTURBATIONS = ["unit", "std", "sign"]


def updates_of(n, f, d, seed, dtype=torch.float64):
    source = torch.Generator().manual_seed(seed)
    updates = torch.randn(n, d, generator=source, dtype=dtype) + 0.5
    malicious = torch.zeros(n, dtype=torch.bool)
    malicious[torch.randperm(n, generator=source)[:f]] = True
    return updates, malicious


def direction(benign, perturbation):
    mean = benign.mean(axis=0)
    if perturbation == "std":
        return -benign.std(axis=0, ddof=1)
    return -np.sign(mean) if perturbation == "sign" else -mean / np.linalg.norm(mean)


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


# benign column of three clients → the interval of the draws, with b = 2
FANG_CASES = {
    "s > 0, lo > 0": ([1.0, 2.0, 3.0], (0.5, 1.0)),
    "s > 0, lo < 0": ([-1.0, 2.0, 3.0], (-2.0, -1.0)),
    "s > 0, lo = 0": ([0.0, 2.0, 3.0], (0.0, 0.0)),
    "s < 0, hi > 0": ([1.0, -2.0, -3.0], (1.0, 2.0)),
    "s < 0, hi < 0": ([-1.0, -2.0, -3.0], (-1.0, -0.5)),
    "s < 0, hi = 0": ([0.0, -2.0, -3.0], (0.0, 0.0)),
    "s = 0": ([-1.0, 0.0, 1.0], (0.0, 0.0)),
    "s = 0, all zero": ([0.0, 0.0, 0.0], (0.0, 0.0)),
}


def fang(columns, malicious, seed=0, **options):
    """Draws [f, len(columns), 400] for the known clients' values in ``columns``."""
    known = torch.tensor(columns, dtype=torch.float64).T.repeat_interleave(400, dim=1)
    rows = ~malicious if options.get("knowledge", "full") == "full" else malicious
    updates = torch.full((len(malicious), known.shape[1]), 77.0, dtype=torch.float64)
    updates[rows] = known
    source = torch.Generator().manual_seed(seed)
    result = fang_trim(updates, malicious, generator=source, **options)
    return result[malicious].view(int(malicious.sum()), len(columns), 400)


def assert_fills(draws, low, high):
    slack = 1e-12 + 0.05 * (high - low)
    assert low - 1e-12 <= draws.min() <= low + slack
    assert high - slack <= draws.max() <= high + 1e-12


@pytest.mark.parametrize("case", FANG_CASES)
def test_fang_trim_draws_fill_the_interval_of_each_case(case):
    column, (low, high) = FANG_CASES[case]
    draws = fang([column], torch.tensor([True, False, False, True, False]))
    assert_fills(draws, low, high)


def test_fang_trim_treats_each_coordinate_by_its_own_case():
    columns = [column for column, _ in FANG_CASES.values()]
    draws = fang(columns, torch.tensor([False, True, True, False, False]))
    for index, (_, (low, high)) in enumerate(FANG_CASES.values()):
        assert_fills(draws[:, index], low, high)


def test_fang_trim_widens_the_interval_with_b():
    malicious = torch.tensor([True, False, False, False])
    assert_fills(fang([[1.0, 2.0, 3.0]], malicious, b=4.0), 0.25, 1.0)
    assert_fills(fang([[-1.0, 2.0, 3.0]], malicious, b=4.0), -4.0, -1.0)
    assert_fills(fang([[1.0, -2.0, -3.0]], malicious, b=4.0), 1.0, 4.0)
    assert_fills(fang([[-1.0, -2.0, -3.0]], malicious, b=4.0), -1.0, -0.25)


def test_fang_trim_draws_anew_for_each_attacker_and_coordinate():
    draws = fang([[1.0, 2.0, 3.0]], torch.tensor([True, True, False, False, False]))
    assert len(draws.unique()) == draws.numel()
    other = fang([[1.0, 2.0, 3.0]], torch.tensor([True, True, False, False, False]), seed=1)
    assert not draws.equal(other)


@pytest.mark.parametrize("sign", [1, -1])
def test_fang_trim_with_partial_knowledge_draws_three_to_four_deviations_off(sign):
    column = [sign * value for value in (1.0, 2.0, 6.0)]  # μ = 3, σ² = 7 with ddof 1
    malicious = torch.tensor([True, False, True, True, False])
    draws = sign * fang([column], malicious, knowledge="partial")
    assert_fills(draws, 3 - 4 * 7**0.5, 3 - 3 * 7**0.5)


def test_fang_trim_needs_somebody_to_learn_from():
    source, updates = torch.Generator(), torch.ones(3, 2)
    with pytest.raises(RequirementError, match=r"needs a benign client.*n = 3, f = 3"):
        fang_trim(updates, torch.ones(3, dtype=torch.bool), generator=source)
    one = torch.tensor([True, False, False])
    with pytest.raises(RequirementError, match=r"two malicious ones under partial knowledge"):
        fang_trim(updates, one, generator=source, knowledge="partial")
    with pytest.raises(RequirementError, match=r"b must be greater than 1 \(b = 1.0\)"):
        fang_trim(updates, one, generator=source, b=1.0)


def test_label_flip_mirrors_the_classes():
    features, labels = torch.rand(4, 2), torch.tensor([0, 1, 5, 9])
    same, flipped = label_flip(features, labels, classes=10)
    assert same.equal(features)
    assert flipped.tolist() == [9, 8, 4, 0]
    assert label_flip(features, torch.tensor([0, 1, 2, 1]), classes=3)[1].tolist() == [2, 1, 0, 1]


def test_none_changes_nothing():
    updates, malicious = updates_of(4, 2, 5, seed=0)
    assert none(updates, malicious).equal(updates)
