"""Rules that cluster the clients, against scikit-learn, brute force and hand-made groups."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from sklearn.cluster import HDBSCAN
from torch import nn
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import deepsight, flame
from skymask.defenses.deepsight import (
    combined,
    division_differences,
    normalised_energies,
    threshold_exceedings,
)
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import FunctionalModel
from skymask.numerics.distances import cosine_distances
from skymask.numerics.hdbscan import density_clusters


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def partition(labels):
    """The clusters as sets of rows, without the noise."""
    labels = np.asarray(labels)
    return {frozenset(np.flatnonzero(labels == k).tolist()) for k in set(labels.tolist()) - {-1}}


def library(distances, smallest, single=False):
    return HDBSCAN(
        min_cluster_size=smallest,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=single,
        copy=True,
    ).fit_predict(np.asarray(distances))


@settings(max_examples=200)
@given(
    n=st.integers(2, 40),
    groups=st.integers(1, 4),
    seed=st.integers(0, 9999),
    smallest=st.integers(2, 8),
    single=st.booleans(),
)
def test_clusters_are_those_of_scikit_learn_where_there_are_no_ties(
    n, groups, seed, smallest, single
):
    source = np.random.default_rng(seed)
    points = source.normal(size=(n, 3)) + 6 * source.normal(size=(groups, 3))[np.arange(n) % groups]
    distances = cdist(points, points)
    found = density_clusters(torch.from_numpy(distances), smallest, allow_single=single)
    assert partition(found) == partition(library(distances, smallest, single))


def test_some_of_those_clusterings_have_nested_clusters_and_noise():
    # two tight pairs of groups: the four are more stable than the two
    centres = torch.tensor([0.0, 1.0, 20.0, 21.0])
    offsets = torch.tensor([0.0, 0.03, 0.07])
    line = torch.cat([(centres[:, None] + offsets).flatten(), torch.tensor([50.0])])
    distances = (line[:, None] - line).abs()
    expected = {frozenset({3 * k, 3 * k + 1, 3 * k + 2}) for k in range(4)}
    assert partition(density_clusters(distances, 3)) == expected
    assert partition(library(distances.double(), 3)) == expected
    # and with groups of at least four, the two
    expected = {frozenset(range(6)), frozenset(range(6, 12))}
    assert partition(density_clusters(distances, 4)) == expected


@given(seed=st.integers(0, 9999), n=st.integers(1, 16), single=st.booleans())
def test_ties_are_not_broken_by_the_order_of_the_rows(seed, n, single):
    source = torch.Generator().manual_seed(seed)
    points = torch.randint(0, 4, (n, 2), generator=source).double()
    distances = torch.cdist(points, points, p=1)
    order = torch.randperm(n, generator=source)
    plain = density_clusters(distances, 3, allow_single=single)
    other = density_clusters(distances[order][:, order], 3, allow_single=single)
    assert partition(other) == partition_of(partition(plain), order)


def partition_of(clusters, order):
    place = {int(row): k for k, row in enumerate(order)}
    return {frozenset(place[row] for row in cluster) for cluster in clusters}


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_rows_all_at_one_distance_are_noise_unless_one_cluster_is_allowed(n):
    for distance in (0.0, 1.0):
        distances = distance * (1 - torch.eye(n))
        assert density_clusters(distances, 2).eq(-1).all()
        assert density_clusters(distances, 2, allow_single=True).eq(0).all()


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


def test_flame_keeps_copies_together_whatever_rounding_says():
    row = normal(300)
    updates = row.repeat(9, 1) * torch.linspace(0.1, 7, 9, dtype=torch.float64)[:, None]
    assert flame(updates, seeded()).accepted.all()
    assert flame(torch.zeros(4, 3), seeded()).accepted.all()


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"delta": 0.0}, {"delta": 1.0}])
def test_flame_refuses_parameters_out_of_range(wrong):
    with pytest.raises(RequirementError, match=next(iter(wrong))):
        flame(torch.ones(3, 2), seeded(), **wrong)


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


def test_deepsight_weighs_three_kinds_of_clusters_alike_by_hand():
    # 2 and 3 are noise to the third kind; two of three seeds part 0 from 1
    whole, halves = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 1, 0, 1])
    found = combined([whole, halves, halves], whole, torch.tensor([0, 0, -1, -1]))
    expected = [[0, 2, 3, 5], [2, 0, 5, 3], [3, 5, 0, 5], [5, 3, 5, 0]]
    assert_close(9 * found, torch.tensor(expected, dtype=torch.float64))


def test_deepsight_drops_the_group_that_is_about_one_class():
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
def test_deepsight_stands_a_huge_update(size):
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


def test_deepsight_refuses_a_model_without_an_output_layer_that_it_knows():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    d = 3 * 4 + 4 + 8
    with pytest.raises(ValueError, match=r"output layer, not of shapes \(4,\), \(2, 4\)"):
        deepsight(torch.ones(3, d), torch.zeros(d), FunctionalModel(module, (3,)), seeded())


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"inputs": 0}, {"tau": 0.0}, {"smallest": 1}])
def test_deepsight_refuses_parameters_out_of_range(wrong):
    model, start, _ = network()
    with pytest.raises(RequirementError, match=next(iter(wrong))):
        deepsight(normal(3, 64), start, model, seeded(), **wrong)


def test_cosine_distances_of_equal_rows_are_equal_to_the_bit():
    rows = normal(12, 500)
    rows[3], rows[7] = rows[0], 5 * rows[0]
    found = cosine_distances(rows)
    assert found[0, 3] == found[0, 7] == 0
    assert found[0].equal(found[3])
    assert found.equal(found.T)
    assert_close(found, torch.from_numpy(cdist(rows, rows, "cosine")), rtol=0, atol=1e-11)
