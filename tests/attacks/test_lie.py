"""Tests of "a little is enough"."""

import math

import pytest
import torch
from scipy.stats import norm
from torch.testing import assert_close

from skymask.attacks import (
    lie,
    mimic,
)
from tests.support.updates import (
    among,
    updates_of,
)


@pytest.mark.parametrize(
    ("n", "f", "share"),
    [(50, 24, 24 / 26), (50, 12, 24 / 38), (51, 12, 25 / 39), (10, 2, 4 / 8), (10, 5, 4 / 5)],
)
def test_lie_z_by_hand(n, f, share):
    updates, malicious = updates_of(n, f, 6, seed=n + f)
    benign = updates[~malicious]
    expected = benign.mean(dim=0) - norm.ppf(share) * benign.std(dim=0)
    assert_close(lie(updates, malicious)[malicious], expected.repeat(f, 1))


def test_lie_z_of_the_paper_is_1_43():
    # μ = 0 and σ = √(26/25)
    updates, malicious = among(*[1.0, -1.0] * 13, attackers=24)
    z = -lie(updates, malicious)[malicious][0].item() / math.sqrt(26 / 25)
    assert round(z, 2) == 1.43


def test_lie_with_a_given_z_by_hand():
    # μ = 3 and σ² = 7
    updates, malicious = among(1.0, 2.0, 6.0, attackers=4)
    assert_close(
        lie(updates, malicious, z=2.0)[malicious], torch.full((4, 1), 3 - 2 * 7**0.5).double()
    )


def test_mimic_copies_the_client_farthest_out_along_the_principal_direction():
    # the spread is along the second coordinate; the first is what all have in common
    benign = [[90.0, 1.0], [99.0, 2.0], [95.0, -60.0], [93.0, 30.0]]
    updates = torch.tensor([[0.0, 500.0], *benign])
    malicious = torch.tensor([True, False, False, False, False])
    result, _ = mimic(updates, malicious, {})
    assert result[0].tolist() == [95.0, -60.0]
    updates[3] *= -1
    assert mimic(updates, malicious, {})[0][0].tolist() == [-95.0, 60.0]
