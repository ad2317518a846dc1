"""Tests of the cluster decision."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skymask.masks import decision
from skymask.masks.decision import server_cluster
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.numerics.distances import squared_distances
from tests.support.line import ROOT_DATA, Line


@pytest.mark.parametrize("always_two", [True, False])
def test_server_cluster_is_the_one_with_the_last_point(always_two):
    near = np.random.default_rng(0).normal(size=(9, 2))
    far = np.random.default_rng(1).normal(size=(4, 2)) + 100
    with_near = server_cluster(np.concatenate([far, near]), always_two=always_two)
    assert (with_near > 0.5).tolist() == [False] * 4 + [True] * 8
    with_far = server_cluster(np.concatenate([near, far]), always_two=always_two)
    assert (with_far > 0.5).tolist() == [False] * 9 + [True] * 3


def test_always_two_splits_even_one_cloud():
    cloud = np.random.default_rng(0).normal(size=(30, 2))
    assert (server_cluster(cloud) == 1).all()
    assert (server_cluster(cloud, always_two=True) < 0.5).any()


def test_server_cluster_does_not_depend_on_the_scale_of_the_coordinates():
    points = np.concatenate([np.random.default_rng(0).normal(size=(9, 2)), np.full((3, 2), 50.0)])
    points[-3:] += np.random.default_rng(1).normal(size=(3, 2))
    for scale in (1e-6, 1.0, 1e6):
        assert (server_cluster(scale * points) > 0.5).tolist() == [False] * 9 + [True] * 2


def cloud(seed, rows, width=400):
    """Random binary masks [rows, width], far from each other."""
    return torch.rand(rows, width, generator=torch.Generator().manual_seed(seed)).round()


def helpful(rows, seed=0):
    """Evidence of honest clients, [rows, 2]."""
    return np.random.default_rng(seed).normal(0.2, 0.02, size=(rows, 2))


def test_copies_of_a_mask_are_rejected():
    masks = cloud(0, 21)
    masks[3] = masks[11]
    expected = [client not in (3, 11) for client in range(20)]
    assert (decision.verdict(masks) > 0.5).tolist() == expected
    near = masks.clone()
    near[3, 0] = 1 - near[3, 0]
    assert (decision.verdict(near) > 0.5).tolist() == expected
    apart = masks.clone()
    apart[3, :60] = 1 - apart[3, :60]
    assert (decision.verdict(apart) > 0.5).all()


def test_copies_of_the_servers_mask_are_kept():
    masks = cloud(0, 21)
    masks[3] = masks[11] = masks[-1]
    assert not decision.coincident(squared_distances(masks).numpy()).any()


def test_if_all_clients_coincide_none_is_a_copy():
    distances = np.array([[0.0, 0.0, 5.0], [0.0, 0.0, 5.0], [5.0, 5.0, 0.0]])
    assert not decision.coincident(distances).any()


@pytest.mark.parametrize("column", [0, 1])
def test_a_cluster_that_is_better_by_the_evidence_is_not_rejected(column):
    groups = cloud(0, 2)[[0] * 14 + [1] * 6 + [0]]
    noise = torch.rand(21, 400, generator=torch.Generator().manual_seed(1)) < 0.02
    masks = (groups.bool() ^ noise).float()
    apart = [client < 14 for client in range(20)]
    assert (decision.verdict(masks) > 0.5).tolist() == apart
    found = helpful(20)
    found[14:] += found[:14].mean(axis=0) - found[14:].mean(axis=0)
    for gap, expected in ((-0.005, apart), (0.005, [True] * 20)):
        known = found.copy()
        known[14:, column] += gap
        assert (decision.verdict(masks, torch.from_numpy(known)) > 0.5).tolist() == expected


@pytest.mark.parametrize("malicious", [2, 5, 12, 16])
def test_harmful_clients_are_rejected(malicious):
    found = helpful(20)
    found[:malicious] -= 0.4
    expected = [client < malicious for client in range(20)]
    assert decision.harmful(found).tolist() == expected
    assert (decision.verdict(cloud(0, 21), torch.from_numpy(found)) <= 0.5).tolist() == expected
    # far better than the others is no harm, and then it is the others who are few and worse
    found[:malicious] += 0.8
    assert decision.harmful(found).tolist() == [not flag for flag in expected]


@pytest.mark.parametrize("clients", [10, 20, 100])
def test_honest_evidence_is_one_group(clients):
    for seed in range(20):
        assert not decision.harmful(helpful(clients, seed)).any()


def test_harm_against_the_alignment_needs_a_wider_gap():
    line = np.random.default_rng(0).normal(0, 0.1, size=40)
    aligned = np.linspace(1, 0, 40)
    line[20:] += 0.6
    expected = [True] * 20 + [False] * 20
    assert decision.harmful(np.stack([line, -aligned], axis=1)).tolist() == expected
    line[20:] -= 0.2
    assert decision.harmful(np.stack([line, line], axis=1)).tolist() == expected
    assert not decision.harmful(np.stack([line, aligned], axis=1)).any()


def test_along_the_sum_the_lower_group_must_be_worse_in_both_columns():
    noise = np.tile(np.linspace(-0.85, 0.85, 20), 2)
    groups = np.repeat([-0.5, 0.5], 20)
    for sign in (1, -1):
        # the noise of the two columns cancels, so the sum explains more than either
        found = np.stack([groups + noise, 0.001 * sign * groups - noise], axis=1)
        assert decision.harmful(found).any() == (sign > 0)


@pytest.mark.parametrize(("gain", "clients", "kept"), [(3.5, 20, 14), (3.5, 9, 9), (3, 20, 20)])
def test_fewer_rows_need_a_larger_gain(monkeypatch, gain, clients, kept):
    points = np.random.default_rng(2).normal(size=(clients + 1, 2))
    points[:6, 0] += 20
    monkeypatch.setattr(decision, "bic_gain", lambda *_: gain)
    assert (server_cluster(points) > 0.5).sum() == kept


def test_a_small_gain_counts_if_the_evidence_confirms_it(monkeypatch):
    points = np.random.default_rng(2).normal(size=(21, 2))
    points[:6, 0] += 20
    found = helpful(20)
    found[:6] -= 0.1
    apart = np.arange(20) < 6
    for gain, evidence, kept in ((1.0, found, 14), (1.0, -found, 20), (0.4, found, 20)):
        monkeypatch.setattr(decision, "bic_gain", lambda *_, gain=gain: gain)
        assert (server_cluster(points, evidence) > 0.5).sum() == kept
    assert (server_cluster(points) > 0.5).all()
    assert not decision.confirmed(helpful(20), apart)
    for few in (np.arange(20) < 1, np.arange(20) < 19):
        assert not decision.confirmed(np.stack([~few, ~few], axis=1).astype(float), few)


def test_the_evidence_can_confirm_a_cluster_of_the_clients_that_are_left(monkeypatch):
    masks, found, asked = cloud(0, 21), helpful(20), []
    masks[5] = masks[6]
    monkeypatch.setattr(
        decision, "server_cluster", lambda points, known: asked.append(known) or np.ones(18)
    )
    decision.verdict(masks, torch.from_numpy(found))
    assert np.array_equal(asked[0], np.delete(found, [5, 6], axis=0))


def test_confirmation_adds_up_over_the_worse_columns():
    apart = np.array([True] * 10 + [False] * 10)
    # a column of -g ± 1 and g ± 1 has R² = g² / (1 + g²), so it explains ln(1 + g²)
    noise = np.array([1.0, -1.0] * 10)
    needed = decision.CONFIRMED_EXPLAINED + decision.CONFIRMED_MARGIN / 20**2

    def column(explained):
        return noise + np.where(apart, -1, 1) * math.sqrt(math.expm1(explained))

    for share, other, expected in ((0.7, 0.31, True), (0.7, 0.29, False), (1.01, 0, True)):
        columns = [column(needed * share), column(needed * other)]
        assert decision.confirmed(np.stack(columns, axis=1), apart) == expected
    both = np.stack([column(needed * 0.7), -column(needed * 5)], axis=1)
    assert not decision.confirmed(both, apart)


def test_the_best_cut_is_the_one_of_all_cuts():
    for seed in range(10):
        line = np.random.default_rng(seed).normal(size=9).round(1)
        ratios = {}
        for value in np.unique(line)[:-1]:
            parts = line[line <= value], line[line > value]
            within = sum(((part - part.mean()) ** 2).sum() for part in parts)
            ratios[np.log(((line - line.mean()) ** 2).sum() / within)] = value
        explained, lower = decision._best_cut(line)
        assert explained == pytest.approx(max(ratios))
        assert lower.tolist() == (line <= ratios[max(ratios)]).tolist()


def test_equal_or_few_values_are_not_separated():
    assert not decision.harmful(np.ones((8, 2))).any()
    assert not decision.harmful(np.array([[0.0, 0.0], [1.0, 1.0]])).any()


def test_evidence_is_by_the_loss_of_the_model():
    # two of three root samples are of class 0: π is (3/5, 2/5) with the added ones
    root = Samples(torch.tensor([[1.0], [0.5], [-1.0]]), torch.tensor([0, 0, 1]))
    updates = torch.tensor([[1.0, 0.0, 0.0], [-2.0, 0.3, 0.0]])

    def drop(weight, loss):
        centred = weight * (root.features[:, 0] - root.features.mean())
        if loss == "batch_softmax":
            # class 1 has the output 0 everywhere
            shares = torch.stack([*(centred.softmax(dim=0)[:2]), torch.tensor(1 / 3)])
        else:
            odds = (centred + math.log(3 / 2)) * torch.tensor([1, 1, -1])
            shares = odds.sigmoid()
        return -shares.log().mean()

    for loss in ("batch_softmax", "logit_adjusted"):
        model = FunctionalModel(Line(), (1,), loss)
        found = decision.evidence(updates, updates[0], torch.zeros(3), model, root)
        expected = torch.stack([drop(0.0, loss) - drop(weight, loss) for weight in (1.0, -2.0)])
        assert_close(found[:, 0], expected.double(), rtol=0, atol=1e-6)


def test_verdicts_do_not_depend_on_the_order_of_the_clients():
    masks, found = cloud(0, 21), helpful(20)
    masks[5] = masks[6]
    found[8:12] -= 0.4
    scores = decision.verdict(masks, torch.from_numpy(found)) > 0.5
    assert scores.sum() == 14
    order = np.random.default_rng(0).permutation(20)
    rows = torch.from_numpy(np.append(order, 20))
    mixed = decision.verdict(masks[rows], torch.from_numpy(found[order])) > 0.5
    assert mixed.tolist() == scores[order].tolist()


def test_evidence_is_the_drop_of_the_loss_without_the_mean_output_and_the_cosine():
    model = FunctionalModel(Line(), (1,))
    updates = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [1.0, 5, -5], [-9.0, 0, 0]])
    server, start = torch.tensor([2.0, 0, 0]), torch.zeros(3)
    found = decision.evidence(updates, server, start, model, ROOT_DATA)
    drop, rise = math.log(2) - math.log1p(math.exp(-1)), math.log(2) - math.log1p(math.exp(1))
    assert_close(found[:, 0], torch.tensor([drop, rise, drop, -3.0]).double(), rtol=0, atol=1e-6)
    expected = torch.tensor([1, -1, 1 / math.sqrt(51), -1]).double()
    assert_close(found[:, 1], expected, rtol=0, atol=1e-6)
