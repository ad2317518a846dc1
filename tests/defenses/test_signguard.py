"""Tests of SignGuard."""

import torch
from torch.testing import assert_close

from skymask.defenses import (
    signguard,
)
from tests.support.updates import column, indices, seeded


def test_signguard_by_hand():
    # lengths 2, 2, 4, 1, 10: M = 2; 10 is too long for 3 M
    base = torch.tensor([[1.0, 1.0, 1.0, -1.0]], dtype=torch.float64) / 2
    updates = torch.tensor([[2.0], [2.0], [4.0], [1.0], [10.0]], dtype=torch.float64) * base
    outcome = signguard(updates, seeded(), share=1.0)
    assert outcome.accepted.tolist() == [True, True, True, True, False]
    # the 4 is cut to 2, the 1 stays
    assert_close(outcome.update, (2 + 2 + 2 + 1) / 4 * base[0])
    assert_close(outcome.weights, torch.tensor([1, 1, 0.5, 1, 0]).double() / 4)


def test_the_bounds_of_signguard_are_shares_of_the_midpoint_median():
    # M = 2.5
    updates = column(0.24, 0.26, 2, 3, 7.4, 7.6) * torch.ones(1, 4) / 2
    kept = signguard(updates, seeded()).accepted.tolist()
    assert kept == [False, True, True, True, True, False]
    wide = signguard(updates, seeded(), lower=0.0, upper=10.0)
    assert wide.accepted.all()
    assert signguard(updates, seeded(), lower=0.9, upper=1.0).accepted.tolist() == [0] * 6


def signs(*counts):
    """Rows of 20 coordinates with so many ones, zeros, and minus ones for the rest."""
    rows = [[1.0] * p + [0.0] * z + [-1.0] * (20 - p - z) for p, z in counts]
    return torch.tensor(rows, dtype=torch.float64)


def test_signguard_keeps_the_largest_cluster_of_sign_shares():
    usual = [(14, 0), (15, 0), (14, 0), (13, 0), (14, 1)]
    for other in [(4, 0), (5, 0), (4, 0)], [(14, 6), (14, 5)], [(7, 7), (7, 7), (7, 6)], [(20, 0)]:
        updates = signs(*usual, *other)
        outcome = signguard(updates, seeded(), share=1.0, lower=0.0, upper=9.0)
        assert indices(outcome.accepted) == [0, 1, 2, 3, 4]
    # the larger of two clusters, in any position
    turned = -signs((14, 0), (14, 0), (3, 0), (3, 0), (3, 0))
    assert indices(signguard(turned, seeded(), share=1.0).accepted) == [2, 3, 4]


def test_signguard_keeps_all_clusters_that_are_the_largest():
    updates = signs((15, 0), (15, 0), (5, 0), (5, 0), (10, 0))
    kept = signguard(updates, seeded(), share=1.0).accepted
    assert indices(kept) == [0, 1, 2, 3]


def test_signguard_counts_signs_on_the_share_of_coordinates_it_draws():
    # 2 of 20 coordinates are looked at; only there do three clients differ
    chosen = torch.randperm(20, generator=seeded(3))[:2]
    updates = torch.ones(8, 20, dtype=torch.float64)
    updates[:3, chosen] = -1
    assert indices(signguard(updates, seeded(3)).accepted) == [3, 4, 5, 6, 7]
    unseen = torch.ones(8, 20, dtype=torch.float64)
    hidden = torch.randperm(20, generator=seeded(3))[2:]
    unseen[:3, hidden] = -1
    assert signguard(unseen, seeded(3)).accepted.all()


def test_signguard_is_zero_if_no_client_is_accepted():
    # the larger cluster by signs is that of the huge ones
    updates = torch.cat([1e-3 * signs((15, 0), (15, 0)), 1e3 * signs((2, 0), (2, 0), (2, 0))])
    outcome = signguard(updates, seeded(), share=1.0, upper=0.9, lower=0.5)
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()
