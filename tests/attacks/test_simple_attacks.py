"""Tests of attacks that are one formula, by hand."""

import math

import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import kstest

from skymask.attacks import (
    gaussian,
    ipm,
    label_flip,
    non_finite,
    none,
    sign_flip,
)
from tests.support.updates import among, seeded, updates_of


def test_label_flip_mirrors_the_classes():
    features, labels = torch.rand(4, 2), torch.tensor([0, 1, 5, 9])
    same, flipped = label_flip(features, labels, classes=10)
    assert same.equal(features)
    assert flipped.tolist() == [9, 8, 4, 0]
    assert label_flip(features, torch.tensor([0, 1, 2, 1]), classes=3)[1].tolist() == [2, 1, 0, 1]


def test_none_changes_nothing():
    updates, malicious = updates_of(4, 2, 5, seed=0)
    assert none(updates, malicious).equal(updates)


def test_ipm_by_hand():
    updates, malicious = among(1.0, 2.0, 6.0, attackers=2)
    assert ipm(updates, malicious)[malicious].tolist() == [[-1.5], [-1.5]]
    assert ipm(updates, malicious, epsilon=4.0)[malicious].tolist() == [[-12.0], [-12.0]]


def test_sign_flip_negates_each_update():
    updates, malicious = torch.arange(8.0).view(4, 2), torch.tensor([True, False, False, True])
    assert sign_flip(updates, malicious)[malicious].tolist() == [[0.0, -1.0], [-6.0, -7.0]]
    stronger = sign_flip(updates, malicious, factor=2.5)
    assert stronger[malicious].tolist() == [[0.0, -2.5], [-15.0, -17.5]]


@pytest.mark.parametrize("sigma", [0.1, 3.0])
def test_gaussian_draws_are_normal_with_the_given_deviation(sigma):
    updates, malicious = updates_of(6, 3, 4000, seed=0)
    rows = gaussian(updates, malicious, generator=seeded(), sigma=sigma)[malicious]
    assert kstest(rows.flatten().numpy() / sigma, "norm").pvalue > 0.01
    assert len(rows.unique()) == rows.numel()
    elsewhere = gaussian(updates + 5, malicious, generator=seeded(), sigma=sigma)[malicious]
    assert elsewhere.equal(rows)
    assert not gaussian(updates, malicious, generator=seeded(1), sigma=sigma)[malicious].equal(rows)


def test_gaussian_has_deviation_0_1_by_default():
    updates, malicious = updates_of(6, 3, 4000, seed=0)
    rows = gaussian(updates, malicious, generator=seeded())[malicious]
    assert_allclose(rows.std().item(), 0.1, rtol=0.05)


def test_non_finite_has_one_of_each_kind_and_is_honest_elsewhere():
    updates, malicious = updates_of(8, 5, 60, seed=0)
    rows = non_finite(updates, malicious, generator=seeded())[malicious]
    assert (rows.isnan().sum(dim=1) == 1).all()
    assert ((rows == math.inf).sum(dim=1) == 1).all()
    assert ((rows == -math.inf).sum(dim=1) == 1).all()
    finite = rows.isfinite()
    assert rows[finite].equal(updates[malicious][finite])
    assert len(rows.isnan().int().argmax(dim=1).unique()) > 1


@pytest.mark.parametrize(("d", "kinds"), [(1, ["nan"]), (2, ["inf", "nan"])])
def test_non_finite_sends_what_fits(d, kinds):
    updates, malicious = updates_of(4, 2, d, seed=0)
    for row in non_finite(updates, malicious, generator=seeded())[malicious]:
        assert sorted(map(str, row.tolist())) == kinds
