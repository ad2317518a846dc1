"""Tests of the attack of Fang et al. on the trimmed mean."""

import pytest
import torch

from skymask.attacks import fang_trim
from skymask.contracts import RequirementError

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


def test_fang_trim_draws_separately_for_each_attacker_and_coordinate():
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


def test_fang_trim_needs_known_updates():
    source, updates = torch.Generator(), torch.ones(3, 2)
    with pytest.raises(RequirementError, match=r"needs a benign client.*n = 3, f = 3"):
        fang_trim(updates, torch.ones(3, dtype=torch.bool), generator=source)
    one = torch.tensor([True, False, False])
    with pytest.raises(RequirementError, match=r"two malicious ones under partial knowledge"):
        fang_trim(updates, one, generator=source, knowledge="partial")
    with pytest.raises(RequirementError, match=r"b must be greater than 1 \(b = 1.0\)"):
        fang_trim(updates, one, generator=source, b=1.0)
