"""Tests of DeepSight against an implementation in numpy."""

from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import deepsight
from skymask.defenses.deepsight import (
    combined,
    division_differences,
    normalised_energies,
    threshold_exceedings,
)
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import FunctionalModel
from tests.support.clusters import library, partition
from tests.support.updates import normal, seeded


def network(inputs=5, hidden=6, classes=4, seed=3):
    """A small network, its parameters [d] in float64, and where its output layer begins."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    start = ResidentModel(module).vector.double()
    return FunctionalModel(module, (inputs,)), start, len(start) - classes * (hidden + 1)


def numpy_predictions(parameters, features):
    first, b1 = parameters[:30].reshape(6, 5), parameters[30:36]
    second, b2 = parameters[36:60].reshape(4, 6), parameters[60:]
    logits = np.maximum(features @ first.T + b1, 0) @ second.T + b2
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def apart(labels):
    labels = np.where(labels < 0, -1 - np.arange(len(labels)), labels)
    return (labels[:, None] != labels).astype(float)


def plain_deepsight(updates, start, head, source, seeds=3, inputs=50, smallest=3):
    """The rule once more, in numpy, with scikit-learn's HDBSCAN."""
    n = len(updates)
    weight, bias = updates[:, head:-4].reshape(n, 4, 6), updates[:, -4:]
    energies = (np.abs(bias) + np.abs(weight).sum(axis=2)) ** 2
    neups = energies / energies.sum(axis=1, keepdims=True)
    exceedings = np.array([np.sum(u > 0.25 * u.max()) for u in neups])
    suspicious = exceedings <= np.median(exceedings) / 2
    found, by_difference = [], []
    for _ in range(seeds):
        features = torch.rand(inputs, 5, generator=source).double().numpy()
        before = numpy_predictions(start, features)
        ddifs = [np.mean(numpy_predictions(start + u, features) / before, axis=0) for u in updates]
        found.append(library(cdist(ddifs, ddifs), smallest))
        by_difference.append(apart(found[-1]))
    found.append(library(cdist(neups, neups), smallest))
    found.append(library(np.clip(cdist(bias, bias, "cosine"), 0, 2), smallest))
    merged = (np.mean(by_difference, axis=0) + apart(found[-2]) + apart(found[-1])) / 3
    labels = library(merged, smallest)
    together = 1 - apart(labels)
    accepted = (together @ suspicious) / together.sum(axis=1) < 1 / 3
    lengths = np.linalg.norm(updates, axis=1)
    scale = np.minimum(1, np.median(lengths) / lengths) * accepted / max(accepted.sum(), 1)
    return accepted, exceedings, scale @ updates, [partition(labels) for labels in found]


def groups_of_updates(sizes, seed, d=64, concerns=None, noise=0.02):
    """Updates in groups; a group that ``concerns`` one class moves no other output neuron."""
    rows = []
    for k, size in enumerate(sizes):
        centre = 0.3 * normal(d, seed=seed + 100 * k)
        block = centre + noise * normal(size, d, seed=seed + 100 * k + 1)
        if concerns and concerns[k] is not None:
            keep = torch.zeros(d, dtype=torch.bool)
            keep[:36] = True
            keep[36 + 6 * concerns[k] : 42 + 6 * concerns[k]] = True
            keep[60 + concerns[k]] = True
            block[:, ~keep] *= 1e-3
        rows.append(block)
    return torch.cat(rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(
    ("sizes", "concerns"),
    [((6, 4), (None, 1)), ((4, 3, 4), (None, None, 2)), ((9, 4), (None, 0)), ((7,), (None,))],
)
def test_deepsight_is_the_rule_in_numpy(monkeypatch, sizes, concerns, mixed, seed):
    seen = []

    def spy(differences, energies, cosines):
        seen.extend(partition(labels) for labels in (*differences, energies, cosines))
        return combined(differences, energies, cosines)

    monkeypatch.setattr(import_module("skymask.defenses.deepsight"), "combined", spy)
    model, start, head = network()
    updates = groups_of_updates(sizes, seed, concerns=concerns)
    if mixed:  # the biases form other groups than the rest
        updates[:, 60:] = groups_of_updates(sizes, seed + 50)[:, 60:].flip(0)
    outcome = deepsight(updates, start, model, seeded(seed))
    accepted, exceedings, update, groupings = plain_deepsight(
        updates.numpy(), start.numpy(), head, seeded(seed)
    )
    assert seen == groupings
    assert outcome.scores.tolist() == exceedings.tolist()
    assert outcome.accepted.tolist() == accepted.tolist()
    assert_close(outcome.update, torch.from_numpy(update), rtol=1e-9, atol=1e-12)
    assert_close(outcome.weights @ updates, outcome.update)


def test_deepsight_weights_three_kinds_of_clusters_equally():
    # 2 and 3 are noise to the third kind; two of three seeds part 0 from 1
    whole, halves = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 1, 0, 1])
    found = combined([whole, halves, halves], whole, torch.tensor([0, 0, -1, -1]))
    expected = [[0, 2, 3, 5], [2, 0, 5, 3], [3, 5, 0, 5], [5, 3, 5, 0]]
    assert_close(9 * found, torch.tensor(expected, dtype=torch.float64))


def test_deepsight_drops_the_group_trained_on_one_class():
    model, start, _ = network()
    updates = groups_of_updates((8, 4), 0, concerns=(None, 2))
    outcome = deepsight(updates, start, model, seeded())
    assert outcome.accepted.tolist() == [True] * 8 + [False] * 4
    assert (outcome.scores[8:] == 1).all()


def test_deepsight_clips_to_the_median_length_of_all():
    model, start, _ = network()
    updates = groups_of_updates((6,), 1)
    updates[0] *= 50
    outcome = deepsight(updates, start, model, seeded())
    assert outcome.accepted.all()
    lengths = updates.norm(dim=1)
    median = lengths.quantile(0.5)
    assert outcome.update.norm() <= median
    assert_close(outcome.weights[0], median / lengths[0] / 6)


@pytest.mark.parametrize(("tau", "kept"), [(0.3333333333333333, False), (0.34, True)])
def test_deepsight_judges_a_cluster_by_its_share_of_suspicious_clients(monkeypatch, tau, kept):
    model, start, _ = network()
    updates = groups_of_updates((3, 6), 0)
    # one in the group of three is suspicious: a third
    exceedings = torch.tensor([1.0] + [3.0] * 8, dtype=torch.float64)
    module = import_module("skymask.defenses.deepsight")
    monkeypatch.setattr(module, "threshold_exceedings", lambda neups: exceedings)
    outcome = deepsight(updates, start, model, seeded(), tau=tau)
    assert outcome.accepted.tolist() == [kept] * 3 + [True] * 6


def test_energies_and_exceedings_by_hand():
    bias = torch.tensor([[-1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0]])
    weight = torch.zeros(3, 4, 2)
    weight[0, 0] = torch.tensor([-1.0, 1.0])
    weight[0, 1] = torch.tensor([0.0, -1.0])
    neups = normalised_energies(weight.double(), bias.double())
    # energies 3, 1, 2, 0 and their squares 9, 1, 4, 0
    assert_close(neups[0], torch.tensor([9, 1, 4, 0], dtype=torch.float64) / 14)
    assert neups[1].eq(0).all()
    # beyond a quarter of the largest: 9 and 4 of (9, 1, 4, 0)
    assert threshold_exceedings(neups).tolist() == [2, 0, 1]
    # with many classes the threshold is a hundredth
    many = torch.zeros(1, 200)
    many[0, :4] = torch.tensor([1.0, 0.011, 0.009, 0.5])
    assert threshold_exceedings(many).tolist() == [3]


def test_division_differences_are_mean_ratios_of_predictions():
    model, start, _ = network()
    models = start + 0.4 * normal(3, 64)
    # more inputs than are put through at a time
    found = division_differences(model, start, models, 700, seeded(4))
    source = seeded(4)
    features = torch.cat([torch.rand(size, 5, generator=source) for size in (500, 200)])
    features = features.double().numpy()
    assert features.min() >= 0
    before = numpy_predictions(start.numpy(), features)
    expected = [(numpy_predictions(m.numpy(), features) / before).mean(axis=0) for m in models]
    assert_close(found, torch.from_numpy(np.array(expected)), rtol=1e-9, atol=1e-12)
    assert division_differences(model, start, start[None], 9, seeded()).eq(1).all()


@pytest.mark.parametrize("size", [1e6, 1e19, 3e37])
def test_deepsight_handles_a_huge_update(size):
    model, start, _ = network()
    updates = groups_of_updates((9,), 0).float()
    updates[2] = size * normal(64).float()
    outcome = deepsight(updates, start.float(), model, seeded())
    assert outcome.update.isfinite().all()
    assert outcome.update.norm() <= 1.01 * updates.norm(dim=1).median()


def test_outputs_that_are_not_finite_have_the_largest_differences():
    model, start, _ = network()
    models = torch.stack([start, torch.full_like(start, 3e38), start]).float()
    found = division_differences(model, start.float(), models, 20, seeded())
    assert_close(found[1].log(), torch.full((4,), 100.0).double())
    assert found[[0, 2]].eq(1).all()


def test_deepsight_rejects_all_where_the_output_layer_did_not_move():
    model, start, _ = network()
    updates = normal(5, 64)
    updates[:, 36:] = 0
    outcome = deepsight(updates, start, model, seeded())
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()


def test_deepsight_refuses_a_model_without_a_known_output_layer():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    d = 3 * 4 + 4 + 8
    with pytest.raises(ValueError, match=r"output layer, not of shapes \(4,\), \(2, 4\)"):
        deepsight(torch.ones(3, d), torch.zeros(d), FunctionalModel(module, (3,)), seeded())


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"inputs": 0}, {"tau": 0.0}, {"smallest": 1}])
def test_deepsight_refuses_parameters_out_of_range(wrong):
    model, start, _ = network()
    with pytest.raises(RequirementError, match=next(iter(wrong))):
        deepsight(normal(3, 64), start, model, seeded(), **wrong)
