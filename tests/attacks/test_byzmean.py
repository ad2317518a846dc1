"""Tests of ByzMean."""

import pytest
import torch
from torch.testing import assert_close

from skymask.attacks import byzmean
from skymask.contracts import RequirementError
from tests.support.updates import EXACT, among, flags, normal, updates_of


@pytest.mark.parametrize("z", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("n", "f"), [(10, 1), (10, 2), (10, 3), (20, 8), (9, 7)])
def test_the_mean_of_all_updates_is_the_wanted_one(n, f, z):
    updates, malicious = normal(n, 30, seed=n + f), torch.arange(n) % (n // f) == 0
    malicious &= malicious.cumsum(0) <= f
    assert malicious.sum() == f
    benign = updates[~malicious]
    wanted = benign.mean(dim=0) - z * benign.std(dim=0)
    attacked = byzmean(updates, malicious, z=z)
    assert_close(attacked.mean(dim=0), wanted, **EXACT)
    assert attacked[~malicious].equal(benign)


def test_half_of_the_attackers_send_the_mean_itself():
    updates, malicious = updates_of(10, 5, 6, seed=2)
    benign = updates[~malicious]
    sent = byzmean(updates, malicious)[malicious]
    wanted = benign.mean(dim=0) - 0.5 * benign.std(dim=0)
    assert_close(sent[:2], wanted.repeat(2, 1), **EXACT)
    assert sent[2:].equal(sent[2].repeat(3, 1))
    assert not torch.allclose(sent[2], wanted)


def test_by_hand():
    # μ = 2, σ² = 2, a = 2 − 2√2
    updates, malicious = among(1.0, 3.0, attackers=3)
    wanted = 2 - 2 * 2**0.5
    expected = [1.0, wanted, *[(4 * wanted - 4) / 2] * 2, 3.0]
    assert_close(byzmean(updates, malicious, z=2.0).flatten().tolist(), expected)
    alone, malicious = among(1.0, 3.0, attackers=1)
    assert_close(byzmean(alone, malicious, z=2.0)[1].item(), 3 * wanted - 4)


def test_without_attackers_nothing_changes_and_two_benign_clients_are_needed():
    updates, malicious = updates_of(3, 0, 4, seed=0)
    assert byzmean(updates, malicious).equal(updates)
    with pytest.raises(RequirementError, match=r"two benign clients \(n = 3, f = 2\)"):
        byzmean(updates, flags("110"))
