"""Tests of NNM, bucketing and norm clipping against byzfl."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import (
    bucketing,
    nnm,
    norm_clip,
)
from tests.support.updates import EXACT, column, normal, seeded


@pytest.mark.parametrize(("n", "f"), [(1, 0), (2, 1), (5, 0), (7, 2), (10, 4), (9, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_nnm_is_that_of_byzfl(byzfl, n, f, seed):
    updates = normal(n, 6, seed=seed)
    mixture = nnm(updates, f)
    expected = byzfl.NNM(f)(updates.numpy())
    assert_close((mixture.mixing @ updates).numpy(), expected, **EXACT)
    assert mixture.row_of.tolist() == list(range(n))
    assert mixture.mixing.diagonal().gt(0).all()


def test_a_client_is_its_own_neighbour_before_its_copies_are():
    mixing = nnm(column(1, 1, 1, 1, 5), 3).mixing
    assert mixing.diagonal().tolist() == [0.5] * 5


@pytest.mark.parametrize(("n", "size"), [(1, 2), (6, 2), (7, 2), (10, 3), (5, 1), (4, 9), (11, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_bucketing_is_that_of_byzfl_with_its_permutation(byzfl, n, size, seed):
    updates = normal(n, 6, seed=seed).float()
    mixture = bucketing(updates, seeded(seed), size=size)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    expected = byzfl.Bucketing(size)(updates)
    torch.set_rng_state(state)
    assert_close(mixture.mixing.float() @ updates, expected)
    counts = mixture.row_of.bincount()
    assert len(counts) == bucketing.leaves(n, size) == len(expected)
    assert counts[:-1].eq(size).all()
    for client, row in enumerate(mixture.row_of.tolist()):
        assert mixture.mixing[row, client] > 0


@pytest.mark.parametrize("radius", [0.5, 2.0, 100.0])
def test_norm_clip_is_that_of_byzfl(byzfl, radius):
    updates = normal(9, 6)
    expected = byzfl.Clipping(radius)(updates.numpy().copy())
    mixture = norm_clip(updates, radius=radius)
    assert_close((mixture.mixing @ updates).numpy(), expected, **EXACT)


def test_norm_clip_by_default_clips_to_the_midpoint_median():
    updates = column(-8, 2, 4, 1)
    assert (norm_clip(updates).mixing @ updates).flatten().tolist() == [-3, 2, 3, 1]
    zero = norm_clip(torch.zeros(3, 2))
    assert zero.mixing.isfinite().all()
