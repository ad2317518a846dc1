"""Tests of the mean, the trimmed mean and the median."""

import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from skymask.defenses import (
    fedavg,
    median,
    oracle,
    trimmed_mean,
)
from tests.support.updates import EXACT, SIZES, column, either, normal


@given(updates=either)
def test_fedavg_is_the_mean_and_accepts_all_clients(updates):
    outcome = fedavg(torch.from_numpy(updates))
    assert_close(outcome.update, torch.from_numpy(updates.mean(axis=0)))
    assert outcome.accepted.all()
    assert_close(outcome.weights.sum().item(), 1.0)


def test_fedavg_by_samples_weighs_by_sample_counts():
    updates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    outcome = fedavg(updates, torch.tensor([3, 1, 0]), weighting="samples")
    assert outcome.update.tolist() == [0.75, 0.25]
    assert outcome.weights.tolist() == [0.75, 0.25, 0.0]


@pytest.mark.parametrize("counts", [None, torch.tensor([0, 0]), torch.tensor([3, -1])])
def test_fedavg_by_samples_needs_samples(counts):
    with pytest.raises(ValueError, match="needs the clients' sample counts"):
        fedavg(torch.ones(2, 3), counts, weighting="samples")


def test_fedavg_weighs_16_bit_updates_by_sample_counts_beyond_their_range():
    updates = torch.tensor([[1.0], [5.0]], dtype=torch.float16)
    outcome = fedavg(updates, torch.tensor([300_000, 100_000]), weighting="samples")
    assert outcome.update.tolist() == [2.0]


def test_oracle_is_the_mean_of_the_benign_clients():
    updates = torch.tensor([[1.0], [100.0], [3.0]])
    outcome = oracle(updates, torch.tensor([False, True, False]))
    assert outcome.update.tolist() == [2.0]
    assert outcome.accepted.tolist() == [True, False, True]
    assert oracle(updates, torch.ones(3, dtype=torch.bool)).update.tolist() == [0.0]


@given(updates=either, data=st.data())
def test_trimmed_mean_is_that_of_sorted_columns(updates, data):
    n = len(updates)
    f = data.draw(st.integers(0, (n - 1) // 2))
    expected = [np.mean(sorted(column)[f : n - f]) for column in updates.T.tolist()]
    outcome = trimmed_mean(torch.from_numpy(updates), f)
    assert_close(outcome.update, torch.tensor(expected, dtype=torch.float64))
    assert outcome.accepted is None
    assert outcome.weights is None


@pytest.mark.parametrize(
    ("column", "f", "expected"),
    [
        ([5.0, 1.0, 9.0, 2.0, 4.0], 0, 4.2),
        ([5.0, 1.0, 9.0, 2.0, 4.0], 1, 11 / 3),
        ([5.0, 1.0, 9.0, 2.0, 4.0], 2, 4.0),
        ([5.0, 1.0, 9.0, 2.0], 1, 3.5),
        ([2.0, 2.0, 2.0, 7.0, 7.0, 7.0], 2, 4.5),
        ([3.0], 0, 3.0),
    ],
)
def test_trimmed_mean_by_hand(column, f, expected):
    assert_close(trimmed_mean(torch.tensor(column)[:, None], f).update.item(), expected)


@pytest.mark.parametrize(("n", "f"), SIZES)
def test_mean_trimmed_mean_and_median_are_those_of_byzfl(byzfl, n, f):
    updates = normal(n, 6, seed=n)
    array = updates.numpy()
    assert_close(fedavg(updates).update.numpy(), byzfl.Average()(array), **EXACT)
    assert_close(trimmed_mean(updates, f).update.numpy(), byzfl.TrMean(f)(array), **EXACT)
    assert_close(median(updates).update.numpy(), byzfl.Median()(array), **EXACT)


@given(updates=either)
def test_median_is_that_of_the_standard_library(updates):
    expected = [statistics.median(values) for values in updates.T.tolist()]
    outcome = median(torch.from_numpy(updates))
    assert_close(outcome.update, torch.tensor(expected, dtype=torch.float64))
    assert outcome.accepted is None
    assert outcome.weights is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [((7, 1, 3), 3), ((7, 1, 3, 4), 3.5), ((5,), 5), ((2, 2, 9, 9), 5.5), ((-1, 6), 2.5)],
)
def test_median_by_hand(values, expected):
    assert median(column(*values)).update.item() == expected


def test_the_midpoint_of_two_huge_values_is_finite():
    assert median(torch.full((2, 1), 3e38)).update.isfinite().all()
