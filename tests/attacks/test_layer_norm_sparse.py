"""Tests of the sparse attack within the norms of layers."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.testing import assert_close

from skymask.attacks import layer_norm_sparse
from skymask.contracts import RequirementError
from skymask.models.flat_parameters import Layout
from tests.support.updates import flags, seeded, updates_of

LAYOUT = Layout(("a.weight", "a.bias", "b.weight"), ((8, 5), (8,), (4, 8)))


@pytest.mark.parametrize(("n", "f"), [(9, 2), (10, 2), (10, 1), (4, 3)])
def test_every_layer_has_the_median_norm_and_opposes_the_mean(n, f):
    updates, malicious = updates_of(n, f, 80, seed=n + f)
    benign = updates[~malicious]
    attacked = layer_norm_sparse(updates, malicious, LAYOUT)
    assert attacked[~malicious].equal(benign)
    row = attacked[malicious][0]
    assert attacked[malicious].equal(row.repeat(f, 1))
    lengths = LAYOUT.columns(benign)
    for name, part in LAYOUT.columns(row).items():
        expected = np.median(lengths[name].norm(dim=1).numpy())
        assert_close(part.norm().item(), expected, rtol=1e-12, atol=0)
    attacks = row != 0
    assert attacks.sum() == 56
    assert (row.sign() == -benign.mean(dim=0).sign())[attacks].all()


@pytest.mark.parametrize("n", [8, 9])
def test_it_passes_a_check_of_the_norms_of_layers_with_score_zero(n):
    updates, malicious = updates_of(n, 2, 80, seed=3)
    attacked = layer_norm_sparse(updates, malicious, LAYOUT)
    for rows in LAYOUT.columns(attacked).values():
        lengths = rows.norm(dim=1).numpy()
        scores = np.abs(lengths - np.median(lengths)) / lengths.std()
        assert_close(scores[malicious.numpy()], np.zeros(2), rtol=0, atol=1e-12)
        assert scores.max() > 1


def test_coordinates_and_values_by_hand():
    # of the ten coordinates, 1, 4 and 7 are small in both updates, 2 in the first, 3 in the other
    rows = torch.ones(4, 10, dtype=torch.float64)
    rows[1, [1, 2, 4, 7]] = 0.1
    rows[2, [1, 3, 4, 7]] = -0.1
    rows[1, 0] = rows[2, 0] = -3.0
    malicious = flags("1001")
    layout = Layout(("one", "two"), ((5,), (5,)))
    settings = {"k1": 0.2, "k2": 0.7, "sparse_z": 3.0, "z": 0.5, "bottom": 0.4}
    attacked = layer_norm_sparse(rows, malicious, layout, **settings)
    # smallest counts: 0, 5, 6, 8, 9 (none), then 2 and 3 (one); the first two get 3
    v = np.array([3.0, 0, -0.5, -0.5, 0, -3.0, -0.5, 0, -0.5, -0.5])
    benign = rows[1:3].numpy()
    for part in (slice(0, 5), slice(5, 10)):
        v[part] *= np.median(np.linalg.norm(benign[:, part], axis=1)) / np.linalg.norm(v[part])
    assert_close(attacked[0].numpy(), v)


def test_the_default_z_is_a_quantile_of_the_normal_distribution():
    updates, malicious = updates_of(10, 3, 80, seed=1)
    expected = layer_norm_sparse(updates, malicious, LAYOUT, z=norm.ppf(1 - 3 / 20))
    assert_close(layer_norm_sparse(updates, malicious, LAYOUT), expected)


def test_only_the_ratio_of_the_two_values_matters():
    updates, malicious = updates_of(10, 3, 80, seed=1)
    one = layer_norm_sparse(updates, malicious, LAYOUT, sparse_z=1.5, z=1.0, k1=0.2)
    other = layer_norm_sparse(updates, malicious, LAYOUT, sparse_z=3.0, z=2.0, k1=0.2)
    assert_close(one, other)
    third = layer_norm_sparse(updates, malicious, LAYOUT, sparse_z=3.0, z=1.0, k1=0.2)
    assert not torch.allclose(one, third)


def test_a_layer_without_attacked_coordinates_is_zero():
    updates, malicious = updates_of(8, 2, 80, seed=2)
    updates[:, 40:48] *= 1e-6  # the bias is small in every update
    attacked = layer_norm_sparse(updates, malicious, LAYOUT, bottom=0.1)
    assert not attacked[malicious][:, 40:48].any()
    assert attacked[malicious][:, :40].any()
    nothing = layer_norm_sparse(updates, malicious, LAYOUT, k1=0.0, k2=0.0)
    assert not nothing[malicious].any()


def test_without_attackers_nothing_changes_and_ranges_are_checked():
    updates, malicious = updates_of(6, 0, 80, seed=2)
    assert layer_norm_sparse(updates, malicious, LAYOUT).equal(updates)
    malicious[0] = True
    for wrong in ({"k1": 0.8}, {"k2": 1.1}, {"sparse_z": 0.0}, {"z": -1.0}, {"bottom": 2.0}):
        (name,) = wrong
        with pytest.raises(RequirementError, match=name):
            layer_norm_sparse(updates, malicious, LAYOUT, **wrong)
    with pytest.raises(RequirementError, match="a benign client"):
        layer_norm_sparse(updates, flags("111111"), LAYOUT)


def test_updates_that_are_zero_stay_zero_and_float32_stays_float32():
    zeros = torch.zeros(5, 80)
    assert not layer_norm_sparse(zeros, flags("10000"), LAYOUT).any()
    rows = torch.randn(5, 80, generator=seeded())
    assert layer_norm_sparse(rows, flags("10000"), LAYOUT).dtype == torch.float32
