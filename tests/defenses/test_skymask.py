"""Tests of the SkyMask defense as a whole."""

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
from skymask.federation.local_training import train_client
from skymask.federation.settings import LocalTraining
from skymask.models import architectures
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import FunctionalModel, root_loss
from skymask.models.samples import Samples
from skymask.seeds import generator
from tests.support.line import ROOT_DATA, Line

DATA = Path(__file__).parents[1] / "reference"


CLIENTS, MALICIOUS = 12, 3


@cache
def samples_of(seed):
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
    parties = samples_of(seed)
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
def test_without_an_attack_auto_accepts_all_clients(seed):
    updates, _, start, loss, server = honest_round(seed)
    outcome = skymask(updates, start, loss, server)
    assert outcome.accepted.all()
    assert_close(outcome.update, updates.mean(dim=0))


@pytest.mark.parametrize("clusters", [2, "auto"])
@pytest.mark.parametrize("name", ["lr_12_clients", "lr_20_clients_40pct"])
def test_attackers_of_the_released_rounds_are_rejected(name, clusters):
    with np.load(DATA / f"{name}.npz") as arrays:
        given = {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}
    root = Samples(given["root_x"], given["root_y"])
    loss = root_loss(architectures.logistic_regression((561,), 6), root)
    updates, start = given["updates"], given["global_params"]
    outcome = skymask(updates[:-1], start, loss, updates[-1], clusters=clusters)
    expected = torch.arange(len(updates) - 1) >= given["num_malicious"]
    assert outcome.accepted.equal(expected)


def test_without_the_servers_update_a_step_of_descent_replaces_it():
    updates, flags, start, loss, _ = honest_round(0)
    outcome = skymask(opposed(updates, flags), start, loss)
    assert outcome.accepted.equal(~flags)


def test_where_the_loss_is_flat_the_global_model_replaces_the_servers():
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
def test_a_server_alone_in_its_cluster_accepts_no_client(clusters):
    noise = 0.01 * torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    outcome = skymask(
        noise - 1, torch.zeros(40), honest_loss(torch.ones(40)), torch.ones(40), clusters=clusters
    )
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()
    assert outcome.weights.eq(0).all()


def honest_loss(target):
    return lambda w: (w - target).square().sum()


def test_one_client_is_always_in_the_servers_cluster():
    outcome = skymask(-torch.ones(1, 8), torch.zeros(8), honest_loss(torch.ones(8)), torch.ones(8))
    assert outcome.accepted.tolist() == [True]


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


def test_evidence_is_kept_by_the_clients_numbers():
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
    root = samples_of(0)[-1]
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


def test_the_state_does_not_depend_on_the_order_of_the_clients():
    once, twice = harm_in_rounds(1)[1], harm_in_rounds(2)[1]
    assert_close(twice["sums"], 1.9 * once["sums"])
    assert_close(twice["weights"], 1.9 * once["weights"])


def test_two_clusters_use_no_evidence():
    updates, _, start, loss, server = honest_round(0)
    model = FunctionalModel(architectures.build("mlp", (1, 8, 8), 10, 0), (1, 8, 8))
    plain = skymask(updates, start, loss, server, clusters=2)
    given = skymask(updates, start, loss, server, model=model, root=samples_of(0)[-1], clusters=2)
    assert given.accepted.equal(plain.accepted)
    assert given.state == {}


@pytest.mark.parametrize("clusters", ["auto", 2])
@pytest.mark.parametrize("size", [1e12, 1e25, 3e37])
def test_skymask_rejects_an_update_that_makes_the_root_loss_infinite(size, clusters):
    source = torch.Generator().manual_seed(0)
    module = architectures.build("small_cnn", (1, 8, 8), 10, seed=1)
    root = Samples(torch.rand(40, 1, 8, 8, generator=source), torch.arange(40) % 10)
    start = ResidentModel(architectures.build("small_cnn", (1, 8, 8), 10, seed=1)).vector
    updates = 0.01 * torch.randn(20, len(start), generator=source)
    updates[3] = size * torch.randn(len(start), generator=source)
    outcome = skymask(updates, start, root_loss(module, root), clusters=clusters)
    assert not outcome.accepted[3]
    assert outcome.update.isfinite().all()
