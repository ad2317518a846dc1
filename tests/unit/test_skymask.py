"""The SkyMask defense as a whole, on digits, on the released code's updates and in corner cases."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skymask import models
from skymask.attacks import min_max
from skymask.contracts import RequirementError
from skymask.datasets import digits
from skymask.defenses import skymask
from skymask.defenses.skymask import server_cluster
from skymask.objective import Samples, root_loss
from skymask.parameters import ResidentModel
from skymask.partition import ROOT, assign, draw_malicious
from skymask.seeds import generator
from skymask.training import LocalTraining, train_client

DATA = Path(__file__).parents[1] / "data"
CLIENTS, MALICIOUS = 12, 3


@cache
def honest_round(seed):
    """Updates of one IID round on digits: (updates, flags, w, root loss, server's update)."""
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
    model = ResidentModel(models.build("mlp", (1, 8, 8), 10, seed))
    start, settings = model.vector.clone(), LocalTraining(local_lr=0.2)
    held = [data.select(torch.nonzero(assignment == who)[:, 0]) for who in (*range(CLIENTS), ROOT)]
    rows = [train_client(model, start, own, settings, generator(seed, "x")) for own in held]
    loss = root_loss(models.build("mlp", (1, 8, 8), 10, seed), held[-1])
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
    loss = root_loss(models.logistic_regression((561,), 6), root)
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
