"""LASA."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skymask.attacks import layer_norm_sparse
from skymask.defenses import lasa
from skymask.defenses.lasa import _sparsified
from skymask.defenses.outliers import near_median
from skymask.models.flat_parameters import Layout
from skymask.numerics.order_statistics import midpoint_median

LAYOUT = Layout(("1.weight", "1.bias", "2.weight"), ((4, 5), (4,), (3, 4)))
ONE = Layout(("weight",), ((4, 9),))
LOOSE = {"norm_limit": 1e9, "sign_limit": 1e9}


def rows(n=10, d=LAYOUT.dimension, seed=0, shift=0.5):
    source = torch.Generator().manual_seed(seed)
    return shift + torch.randn(n, d, generator=source)


def test_one_layer_without_limits_is_the_mean_of_clipped_updates():
    updates = rows(d=36)
    lengths = updates.norm(dim=1)
    factors = (lengths.sort().values[4:6].mean() / lengths).clamp(max=1)
    expected = (updates * factors[:, None]).mean(dim=0)
    for average in ("sparsified", "clipped"):
        result = lasa(updates, ONE, sparsity=0.0, average=average, **LOOSE)
        assert_close(result.update, expected)
        assert result.accepted.all()


def test_the_smallest_weights_are_set_to_zero_and_biases_stay():
    sparse = _sparsified(rows(), LAYOUT, 0.3)
    weights = torch.cat([torch.ones(20), torch.zeros(4), torch.ones(12)]).bool()
    # of 32 weights ⌊0.7 · 32⌋ = 22 are left
    assert ((sparse != 0) & weights).sum(dim=1).tolist() == [22] * 10
    assert sparse[:, ~weights].equal(rows()[:, ~weights])
    for before, after in zip(rows(), sparse, strict=True):
        dropped = weights & (after == 0)
        assert before[dropped].abs().max() <= after[weights & (after != 0)].abs().min()


@pytest.mark.parametrize(("sparsity", "left"), [(0.3, 7), (0.1, 9), (0.9, 1), (0.95, 0)])
def test_shares_of_ten_are_exact(sparsity, left):
    one = Layout(("weight",), ((2, 5),))
    sparse = _sparsified(torch.arange(1.0, 11)[None], one, sparsity)
    assert sparse[0].tolist() == [0.0] * (10 - left) + [*range(11 - left, 11)]


def test_what_is_averaged_has_a_name():
    updates = rows()
    one = lasa(updates, LAYOUT, sparsity=0.5, **LOOSE)
    other = lasa(updates, LAYOUT, sparsity=0.5, average="clipped", **LOOSE)
    assert one.weights is None
    lengths = updates.norm(dim=1)
    clipped = updates * (lengths.sort().values[4:6].mean() / lengths).clamp(max=1)[:, None]
    assert_close(other.update, clipped.mean(dim=0))
    assert_close(one.update, _sparsified(clipped, LAYOUT, 0.5).mean(dim=0))


def test_a_client_that_is_bad_in_one_layer_is_dropped_there_and_kept_elsewhere():
    updates = rows(20, shift=1.0)
    bad = LAYOUT.columns(updates)["2.weight"]
    # as long as the others', with opposite signs
    bad[6] = -bad[6].abs() * bad.norm(dim=1).median() / bad[6].norm()
    result = lasa(updates, LAYOUT, norm_limit=3.0, sign_limit=2.5)
    assert result.accepted[6].tolist() == [True, True, False]
    others = [client for client in range(20) if client != 6]
    assert result.accepted[others, 2].float().mean() > 0.9


def test_alike_clients_lose_about_half_of_each_layer_at_the_defaults():
    layout = Layout(("a", "b"), ((50, 40), (40, 50)))
    kept = {1.0: [], 2.0: []}
    for seed in range(15):
        updates = rows(20, 4000, seed, shift=0.1)
        for limit, shares in kept.items():
            result = lasa(updates, layout, norm_limit=limit, sign_limit=limit)
            shares.append(result.accepted.double().mean().item())
    means = {limit: sum(shares) / len(shares) for limit, shares in kept.items()}
    assert means == {1.0: pytest.approx(0.45, abs=0.05), 2.0: pytest.approx(0.9, abs=0.03)}


def test_identical_updates_are_all_kept():
    result = lasa(rows(1).repeat(7, 1), LAYOUT)
    assert result.accepted.all()
    assert lasa(rows(1), LAYOUT).accepted.all()


@pytest.mark.parametrize("d", [9, 36, 360])
def test_updates_of_one_length_but_for_rounding_pass_the_check_of_lengths(d):
    one = Layout(("weight",), ((9, d // 9),))
    for seed in range(20):
        updates = rows(9, d, seed)
        updates *= 4 / updates.norm(dim=1, keepdim=True)
        assert lasa(updates, one, sparsity=0.0, sign_limit=1e9).accepted.all()


def test_where_no_client_passes_no_client_is_accepted():
    # two groups of the same size: each is one standard deviation from the middle
    one = Layout(("bias",), ((2,),))
    updates = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
    result = lasa(updates, one)
    assert not result.accepted.any()
    assert result.update.tolist() == [0.0, 0.0]


def test_layers_of_a_module():
    module = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3, bias=False))
    result = lasa(rows(), Layout.of(module))
    assert result.update.equal(lasa(rows(), LAYOUT).update)


def test_layer_norm_sparse_passes_the_check_of_lengths():
    updates, malicious = rows(12), torch.arange(12) < 3
    sent = layer_norm_sparse(updates, malicious, LAYOUT)
    for part in LAYOUT.columns(sent).values():
        lengths = part.norm(dim=1)
        assert_close(lengths[0], midpoint_median(lengths[3:]).float())
        # LASA's score of the attackers is 0, that of benign clients is not
        near = near_median(lengths, 1e-3)
        assert near[malicious].all()
        assert not near[~malicious].all()
