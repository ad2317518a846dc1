"""The SkyMask defense as a whole, on digits, on the released code's updates and in corner cases."""

import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skymask.attacks import min_max
from skymask.contracts import RequirementError
from skymask.data.datasets import digits
from skymask.data.partition import ROOT, assign, draw_malicious
from skymask.defenses import skymask
from skymask.federation.local_training import LocalTraining, train_client
from skymask.masks import decision
from skymask.masks.decision import server_cluster
from skymask.models import architectures
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import FunctionalModel, root_loss
from skymask.models.samples import Samples
from skymask.numerics.distances import squared_distances
from skymask.seeds import generator

DATA = Path(__file__).parents[1] / "reference"
CLIENTS, MALICIOUS = 12, 3


@cache
def held(seed):
    """The samples of the clients and, last, of the server: digits, IID."""
    arrays = digits([])
    features = torch.from_numpy(arrays.train_features).float() / arrays.scale
    data = Samples(features, torch.from_numpy(arrays.train_labels))
    assignment = torch.from_numpy(
        assign(
            arrays.train_labels,
            classes=10,
            partition="iid",
            parameters={},
            clients=CLIENTS,
            samples_per_client=100,
            root_size=100,
            root_bias=None,
            data_seed=seed,
        )
    )
    return [data.select(torch.nonzero(assignment == who)[:, 0]) for who in (*range(CLIENTS), ROOT)]


@cache
def honest_round(seed):
    """Updates of one IID round on digits: (updates, flags, w, root loss, server's update)."""
    model = ResidentModel(architectures.build("mlp", (1, 8, 8), 10, seed))
    start, settings = model.vector.clone(), LocalTraining(local_lr=0.2)
    parties = held(seed)
    rows = [train_client(model, start, own, settings, generator(seed, "x")) for own in parties]
    loss = root_loss(architectures.build("mlp", (1, 8, 8), 10, seed), parties[-1])
    flags = torch.from_numpy(draw_malicious(CLIENTS, MALICIOUS, seed))
    return torch.stack(rows[:-1]), flags, start, loss, rows[-1]


def opposed(updates, flags):
    attacked = updates.clone()
    attacked[flags] = -5 * updates[~flags].mean(dim=0)
    return attacked


@pytest.mark.parametrize("clusters", [2, "auto"])
@pytest.mark.parametrize("attack", [opposed, min_max])
@pytest.mark.parametrize("seed", [0, 1])
def test_poisoned_clients_are_rejected_and_benign_ones_kept(seed, attack, clusters):
    updates, flags, start, loss, server = honest_round(seed)
    attacked = attack(updates, flags)
    outcome = skymask(attacked, start, loss, server, clusters=clusters)
    assert outcome.accepted.equal(~flags)
    assert_close(outcome.update, updates[~flags].mean(dim=0))
    assert_close(outcome.weights, (~flags) / float(CLIENTS - MALICIOUS))


@pytest.mark.parametrize("attack", [opposed, min_max])
@pytest.mark.parametrize("seed", [0, 1])
def test_verdicts_are_the_same_with_masks_learned_from_bfloat16(seed, attack):
    updates, flags, start, loss, server = honest_round(seed)
    attacked = attack(updates, flags)
    exact = skymask(attacked, start, loss, server)
    coarse = skymask(attacked, start, loss, server, mask_precision="bfloat16")
    assert coarse.accepted.equal(exact.accepted)
    assert not coarse.coordinates.equal(exact.coordinates)
    # the aggregate is of the updates themselves
    assert coarse.update.equal(exact.update)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_an_attack_auto_accepts_everybody(seed):
    updates, _, start, loss, server = honest_round(seed)
    outcome = skymask(updates, start, loss, server)
    assert outcome.accepted.all()
    assert_close(outcome.update, updates.mean(dim=0))


@pytest.mark.parametrize("clusters", [2, "auto"])
@pytest.mark.parametrize("name", ["lr_12_clients", "lr_20_clients_40pct"])
def test_attackers_of_the_released_rounds_are_found(name, clusters):
    with np.load(DATA / f"{name}.npz") as arrays:
        given = {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}
    root = Samples(given["root_x"], given["root_y"])
    loss = root_loss(architectures.logistic_regression((561,), 6), root)
    updates, start = given["updates"], given["global_params"]
    outcome = skymask(updates[:-1], start, loss, updates[-1], clusters=clusters)
    expected = torch.arange(len(updates) - 1) >= given["num_malicious"]
    assert outcome.accepted.equal(expected)


def test_without_the_servers_update_a_step_of_descent_stands_in():
    updates, flags, start, loss, _ = honest_round(0)
    outcome = skymask(opposed(updates, flags), start, loss)
    assert outcome.accepted.equal(~flags)


def test_where_the_loss_is_flat_the_servers_stand_in_is_the_global_model():
    outcome = skymask(torch.ones(4, 3), torch.zeros(3), lambda w: 0 * w.sum())
    assert outcome.accepted.all()
    assert outcome.update.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("clusters", [2, "auto"])
def test_identical_masks_are_one_cluster(clusters):
    updates = torch.full((5, 20), 0.3)
    loss = honest_loss(torch.ones(20))
    outcome = skymask(updates, torch.zeros(20), loss, updates[0], clusters=clusters)
    assert outcome.accepted.all()
    assert_close(outcome.update, updates[0])
    assert outcome.coordinates.eq(0).all()


@pytest.mark.parametrize("clusters", [2, "auto"])
def test_server_alone_in_its_cluster_keeps_nobody(clusters):
    noise = 0.01 * torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    outcome = skymask(
        noise - 1, torch.zeros(40), honest_loss(torch.ones(40)), torch.ones(40), clusters=clusters
    )
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()
    assert outcome.weights.eq(0).all()


def honest_loss(target):
    return lambda w: (w - target).square().sum()


def test_one_client_cannot_be_told_from_the_server():
    outcome = skymask(-torch.ones(1, 8), torch.zeros(8), honest_loss(torch.ones(8)), torch.ones(8))
    assert outcome.accepted.tolist() == [True]


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


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"threshold": 1.0}, "skymask: threshold must lie in (0, 1) (threshold = 1.0)"),
        ({"threshold": 0.0}, "skymask: threshold must lie in (0, 1) (threshold = 0.0)"),
        ({"mask_steps": 0}, "skymask: mask_steps must be at least 1 (mask_steps = 0)"),
        ({"mask_clamp": 0.0}, "skymask: mask_clamp must be positive (mask_clamp = 0.0)"),
        ({"mask_lr": -1.0}, "skymask: mask_lr must be positive (mask_lr = -1.0)"),
    ],
)
def test_parameters_out_of_range_are_refused(option, sentence):
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        skymask(torch.ones(3, 2), torch.zeros(2), honest_loss(torch.ones(2)), **option)


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
def test_the_harmful_are_rejected(malicious):
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


def test_along_the_sum_those_below_must_be_worse_in_both_columns():
    noise = np.tile(np.linspace(-0.85, 0.85, 20), 2)
    groups = np.repeat([-0.5, 0.5], 20)
    for sign in (1, -1):
        # the noise of the two columns cancels, so the sum explains more than either
        found = np.stack([groups + noise, 0.001 * sign * groups - noise], axis=1)
        assert decision.harmful(found).any() == (sign > 0)


@pytest.mark.parametrize(("gain", "clients", "kept"), [(3.5, 20, 14), (3.5, 9, 9), (3, 20, 20)])
def test_fewer_rows_must_gain_more(monkeypatch, gain, clients, kept):
    points = np.random.default_rng(2).normal(size=(clients + 1, 2))
    points[:6, 0] += 20
    monkeypatch.setattr(decision, "bic_gain", lambda *_: gain)
    assert (server_cluster(points) > 0.5).sum() == kept


def test_a_small_gain_counts_where_the_evidence_bears_it_out(monkeypatch):
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


def test_the_evidence_may_bear_a_cluster_out_among_those_who_are_left(monkeypatch):
    masks, found, asked = cloud(0, 21), helpful(20), []
    masks[5] = masks[6]
    monkeypatch.setattr(
        decision, "server_cluster", lambda points, known: asked.append(known) or np.ones(18)
    )
    decision.verdict(masks, torch.from_numpy(found))
    assert np.array_equal(asked[0], np.delete(found, [5, 6], axis=0))


def test_what_bears_out_adds_up_over_the_columns_that_are_worse():
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


def test_equal_or_few_values_are_not_parted():
    assert not decision.harmful(np.ones((8, 2))).any()
    assert not decision.harmful(np.array([[0.0, 0.0], [1.0, 1.0]])).any()


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


class Line(torch.nn.Module):
    """Two classes; the parameters are the weight of one feature and the two biases."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.bias = torch.nn.Parameter(torch.zeros(2))

    def forward(self, features):
        return torch.cat([features * self.weight, 0 * features], dim=1) + self.bias


ROOT_DATA = Samples(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]))


def test_evidence_is_the_drop_of_the_loss_without_the_mean_output_and_the_cosine():
    model = FunctionalModel(Line(), (1,))
    updates = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [1.0, 5, -5], [-9.0, 0, 0]])
    server, start = torch.tensor([2.0, 0, 0]), torch.zeros(3)
    found = decision.evidence(updates, server, start, model, ROOT_DATA)
    drop, rise = math.log(2) - math.log1p(math.exp(-1)), math.log(2) - math.log1p(math.exp(1))
    assert_close(found[:, 0], torch.tensor([drop, rise, drop, -3.0]).double(), rtol=0, atol=1e-6)
    expected = torch.tensor([1, -1, 1 / math.sqrt(51), -1]).double()
    assert_close(found[:, 1], expected, rtol=0, atol=1e-6)


def test_evidence_is_remembered_by_the_clients_numbers():
    model = FunctionalModel(Line(), (1,))
    server, start = torch.tensor([1.0, 0, 0]), torch.zeros(3)
    given = {"loss": model.loss_on(ROOT_DATA), "server_update": server}
    state = {}
    for updates, clients in (([1.0, -1, 2], [0, 4, 7]), ([3.0, 1], [7, 0]), ([2.0], [4])):
        rows = torch.tensor([[value, 0.0, 0.0] for value in updates])
        outcome = skymask(
            rows,
            start,
            model=model,
            root=ROOT_DATA,
            clients=torch.tensor(clients),
            state=state,
            **given,
        )
        state = outcome.state

    def drop(weight):
        return math.log(2) - math.log1p(math.exp(-weight))

    assert state["clients"].tolist() == [0, 4, 7]
    assert state["weights"].tolist() == pytest.approx([0.81 + 0.9, 0.81 + 1, 0.81 + 0.9])
    sums = [
        0.81 * drop(1) + 0.9 * drop(1),
        0.81 * drop(-1) + drop(2),
        0.81 * drop(2) + 0.9 * drop(3),
    ]
    assert state["sums"][:, 0].tolist() == pytest.approx(sums, abs=1e-6)
    assert state["sums"][:, 1].tolist() == pytest.approx([1.71, -0.81 + 1, 1.71], abs=1e-6)


def harm_in_rounds(rounds):
    """One honest IID round judged again and again, the clients in turned order every other time."""
    updates, _, start, loss, server = honest_round(0)
    root = held(0)[-1]
    model = FunctionalModel(architectures.build("mlp", (1, 8, 8), 10, 0), (1, 8, 8))
    state, outcome = {}, None
    for round_ in range(rounds):
        rows = updates if round_ % 2 else updates.flip(0)
        numbers = torch.arange(CLIENTS) if round_ % 2 else torch.arange(CLIENTS).flip(0)
        outcome = skymask(
            rows, start, loss, server, model=model, root=root, clients=numbers, state=state
        )
        state = outcome.state
    return outcome, state


def test_the_order_of_the_clients_in_a_round_does_not_matter_to_what_is_remembered():
    once, twice = harm_in_rounds(1)[1], harm_in_rounds(2)[1]
    assert_close(twice["sums"], 1.9 * once["sums"])
    assert_close(twice["weights"], 1.9 * once["weights"])


def test_two_clusters_ask_for_no_evidence():
    updates, _, start, loss, server = honest_round(0)
    model = FunctionalModel(architectures.build("mlp", (1, 8, 8), 10, 0), (1, 8, 8))
    plain = skymask(updates, start, loss, server, clusters=2)
    given = skymask(updates, start, loss, server, model=model, root=held(0)[-1], clusters=2)
    assert given.accepted.equal(plain.accepted)
    assert given.state == {}
