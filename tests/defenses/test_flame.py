"""Tests of FLAME against brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import flame
from tests.support.updates import (
    normal,
    seeded,
)


def directions(degrees, lengths=1.0):
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    rows = torch.stack([angles.cos(), angles.sin()])
    return (rows * torch.tensor(lengths, dtype=torch.float64)).T


@pytest.mark.parametrize(
    ("degrees", "accepted"),
    [
        # three of five are the majority, and hang together within 1°
        ([0, 1, 2, 90, 91], [1, 1, 1, 0, 0]),
        ([90, 0, 91, 1, 2], [0, 1, 0, 1, 1]),
        # four of six are needed, and only the gap of 88° makes a group of four
        ([0, 1, 2, 90, 91, 92], [1, 1, 1, 1, 1, 1]),
        ([0, 1, 2, 3, 90, 91], [1, 1, 1, 1, 0, 0]),
        # the fourth joins at 5°, as do the fifth, by a tie
        ([0, 2, 4, 9, 14, 50, 80], [1, 1, 1, 1, 1, 0, 0]),
        ([0, 120], [1, 1]),
        ([30], [1]),
    ],
)
def test_flame_keeps_the_closest_group_of_more_than_half_by_hand(degrees, accepted):
    outcome = flame(directions(degrees), seeded())
    assert outcome.accepted.tolist() == [bool(flag) for flag in accepted]


def brute_force_flame(updates):
    """The least threshold at which more than half hang together; clip; average."""
    n = len(updates)
    distances = cdist(updates, updates, "cosine")
    for threshold in np.sort(distances[np.triu_indices(n, 1)]):
        _, labels = connected_components(distances <= threshold)
        label = np.bincount(labels).argmax()
        if (labels == label).sum() > n // 2:
            break
    lengths = np.linalg.norm(updates, axis=1)
    kept = labels == label
    limit = np.median(lengths)
    clipped = [row * min(1, limit / length) for row, length in zip(updates, lengths, strict=True)]
    return kept, np.mean(np.array(clipped)[kept], axis=0), limit


@given(n=st.integers(2, 15), d=st.integers(2, 8), seed=st.integers(0, 9999))
def test_flame_is_brute_force_and_noise(n, d, seed):
    updates = normal(n, d, seed=seed)
    outcome = flame(updates, seeded(seed))
    kept, mean, length = brute_force_flame(updates.numpy())
    assert outcome.accepted.tolist() == kept.tolist()
    assert_close(outcome.weights @ updates, torch.from_numpy(mean), rtol=1e-9, atol=1e-12)
    # λ = √(2 ln 125) / 3000
    noise = 0.0010358371 * length * normal(d, seed=seed)
    assert_close(outcome.update, torch.from_numpy(mean) + noise, rtol=1e-7, atol=1e-12)


def test_flame_clips_to_the_median_of_all_and_not_of_the_kept():
    updates = directions([0, 0, 0, 90, 90], [1.0, 2.0, 8.0, 3.0, 4.0])
    outcome = flame(updates, seeded(), epsilon=1e12)
    assert outcome.accepted.tolist() == [True, True, True, False, False]
    assert_close(outcome.update[0].item(), (1 + 2 + 3) / 3)
    assert_close(outcome.weights.tolist(), [1 / 3, 1 / 3, 1 / 8, 0.0, 0.0])


def test_the_noise_of_flame_has_its_standard_deviation():
    updates = torch.zeros(3, 20_000)
    updates[:, 0] = 2.0
    for epsilon, delta, deviation in [(3000.0, 0.01, 0.0020717), (10.0, 0.5, 0.270746)]:
        noise = flame(updates, seeded(), epsilon=epsilon, delta=delta).update[1:]
        assert_close(noise.std().item(), deviation, rtol=0.03, atol=0)
        assert abs(noise.mean()) < 4 * deviation / math.sqrt(20_000)


def test_flame_keeps_copies_together_despite_rounding():
    row = normal(300)
    updates = row.repeat(9, 1) * torch.linspace(0.1, 7, 9, dtype=torch.float64)[:, None]
    assert flame(updates, seeded()).accepted.all()
    assert flame(torch.zeros(4, 3), seeded()).accepted.all()


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"delta": 0.0}, {"delta": 1.0}])
def test_flame_refuses_parameters_out_of_range(wrong):
    with pytest.raises(RequirementError, match=next(iter(wrong))):
        flame(torch.ones(3, 2), seeded(), **wrong)
