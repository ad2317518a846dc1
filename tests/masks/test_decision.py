"""Tests of the verdicts from masks and evidence."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from skymask.masks import decision
from skymask.masks.decision import copies, harmful, separated, separation, server_cluster
from tests.support.updates import normal


def cloud(seed, rows, width=400):
    """Random binary masks [rows, width], far from each other."""
    return torch.rand(rows, width, generator=torch.Generator().manual_seed(seed)).round()


def two_groups(apart, seed=1):
    """Masks [n + 1, 400] in two groups, the server with the clients that are not ``apart``."""
    groups = cloud(0, 2)[torch.tensor([*map(int, apart), 0])]
    noise = torch.rand(groups.shape, generator=torch.Generator().manual_seed(seed)) < 0.02
    return (groups.bool() ^ noise).float()


def first(count, clients=20):
    """Flags of the first ``count`` clients."""
    return np.arange(clients) < count


def known(worse, separation=0.0, server=0.0, *, cosine=1.0, effect=None):
    """Evidence [n + 1, 3] that separates the flagged clients by exactly ``separation``.

    Their effects are separated by ``effect``, or all alike.
    """
    clients = len(worse)
    values = np.zeros(clients)
    for group in (worse, ~worse):
        values[group] = np.linspace(-1, 1, group.sum()) if group.sum() > 2 else 0.0
    values *= math.sqrt((clients - 2) / (values @ values))
    effects = 0 * values if effect is None else values - effect * worse
    columns = [values - separation * worse, effects, np.full(clients, cosine)]
    own = [server, server, 1.0]
    return np.stack([np.append(column, last) for column, last in zip(columns, own, strict=True)], 1)


def verdict(masks, evidence, updates=None, **options):
    """The clients that :func:`decision.verdict` accepts."""
    updates = normal(len(masks) - 1, 50) if updates is None else updates
    scores = decision.verdict(masks, updates, torch.from_numpy(evidence), **options)
    assert scores.shape == (len(masks) - 1,)
    return (scores > 0.5).tolist()


# --- copies -------------------------------------------------------------------------------------


def star(*offsets, radius=10.0):
    """Squared distances of clients at ``radius`` on axes of their own and a server at the origin.

    ``offsets`` [(client, its model, distance), ...] put clients at that squared distance of others.
    """
    points = np.zeros((11, 40))
    points[:10, :10] = radius * np.eye(10)
    for axis, (client, model, distance) in enumerate(offsets, start=10):
        points[client] = points[model]
        points[client, axis] = math.sqrt(distance)
    return ((points[:, None] - points) ** 2).sum(axis=2)


def flagged(distances):
    return np.flatnonzero(copies(distances)).tolist()


def test_two_clients_at_one_place_are_copies():
    assert flagged(star()) == []
    assert flagged(star((3, 7, 0.0))) == [3, 7]
    # a hundredth of the usual squared distance to the server, which is 100
    assert flagged(star((3, 7, 0.99))) == [3, 7]
    assert flagged(star((3, 7, 1.05))) == []


def test_near_copies_of_copies_are_copies():
    assert flagged(star((3, 7, 0.5), (4, 7, 3.3))) == [3, 4, 7]
    assert flagged(star((3, 7, 0.5), (4, 7, 4.5))) == [3, 7]
    # a chain, whose ends are far from each other
    assert flagged(star((3, 7, 0.5), (4, 7, 3.3), (5, 4, 3.3))) == [3, 4, 5, 7]
    # near copies without two that coincide
    assert flagged(star((3, 7, 2.0), (4, 7, 2.0))) == []


def test_near_copies_on_both_sides_of_the_limit_are_all_removed():
    attackers = [(client, 9, 0.45 * client) for client in range(1, 6)]
    assert flagged(star(*attackers)) == [1, 2, 3, 4, 5, 9]


def test_copies_near_the_server_are_none():
    distances = star((0, 10, 0.5), (1, 0, 0.3), (2, 10, 0.0), (3, 10, 0.0))
    assert flagged(distances) == []
    # a twentieth and a fifth of the largest distance, with a median that is small itself
    for share, expected in ((0.05, []), (0.2, [0, 1])):
        points = np.zeros((8, 8))
        points[:7] = math.sqrt(share) * np.eye(8)[:7]
        points[6] *= math.sqrt(1 / share)
        points[1] = points[0]
        distances = ((points[:, None] - points) ** 2).sum(axis=2)
        assert flagged(distances) == expected


def test_if_all_clients_coincide_none_is_a_copy():
    distances = np.array([[0.0, 0.0, 5.0], [0.0, 0.0, 5.0], [5.0, 5.0, 0.0]])
    assert flagged(distances) == []


@pytest.mark.parametrize("clients", [0, 1])
def test_a_client_alone_is_no_copy(clients):
    assert copies(np.ones((clients + 1, clients + 1))).tolist() == [False] * clients


def test_copies_of_a_mask_are_rejected():
    masks, updates = cloud(0, 21), normal(20, 50)
    honest = known(first(0))
    masks[3] = masks[11]
    expected = [client not in (3, 11) for client in range(20)]
    # copies in both masks and updates, or nearly
    updates[3] = updates[11] + 0.2 * updates[11].norm() * torch.eye(50, dtype=torch.double)[0]
    assert verdict(masks, honest, updates) == expected
    near = masks.clone()
    near[3, 0] = 1 - near[3, 0]
    assert verdict(near, honest, updates) == expected
    apart = masks.clone()
    apart[3, :60] = 1 - apart[3, :60]
    assert all(verdict(apart, honest, updates))


@pytest.mark.parametrize("factor", [-1.0, 0.7, 1.4])
def test_equal_masks_of_different_updates_are_no_copies(factor):
    masks, updates = cloud(0, 21), normal(20, 50)
    masks[3] = masks[11]
    updates[3] = factor * updates[11]
    assert all(verdict(masks, known(first(0)), updates))
    updates[3] = updates[11]
    assert not all(verdict(masks, known(first(0)), updates))


def test_the_longer_of_two_updates_limits_their_distance():
    masks, updates = cloud(0, 21), normal(20, 50)
    masks[3] = masks[11]
    for share, copied in ((0.74, False), (0.76, True)):
        updates[3] = share * updates[11]
        assert all(verdict(masks, known(first(0)), updates)) != copied
        updates[3], updates[11] = updates[11].clone(), updates[3].clone()
        assert all(verdict(masks, known(first(0)), updates)) != copied
        updates[11] = updates[3]


# --- separation of the evidence -----------------------------------------------------------------


def pooled(values, lower):
    """The separation of two groups by statistics of its own."""
    low, high = values[lower], values[~lower]
    variances = [(len(g) - 1) * g.var(ddof=1) if len(g) > 1 else 0.0 for g in (low, high)]
    return (high.mean() - low.mean()) / np.sqrt(sum(variances) / (len(values) - 2))


def test_separation_is_the_distance_of_the_means_in_pooled_deviations():
    source = np.random.default_rng(0)
    for clients in (3, 4, 9, 20):
        values = source.normal(size=clients)
        for lower in (first(1, clients), first(clients - 1, clients), first(2, clients)):
            expected = pooled(values, lower)
            assert separation(values, lower) == pytest.approx(expected)
            assert separation(1000 * values - 5, lower) == pytest.approx(expected)
    assert separation(known(first(6), 3.0)[:-1, 0], first(6)) == pytest.approx(3.0)


def test_groups_without_scatter_are_separated_and_equal_ones_are_not():
    assert separation(np.array([0.0, 0.0, 1.0, 1.0]), first(2, 4)) > 1e9
    assert separation(np.array([1.0, 1.0, 0.0, 0.0]), first(2, 4)) < -1e9
    assert separation(np.ones(4), first(2, 4)) == 0
    assert separation(np.arange(4.0), first(0, 4)) == separation(np.arange(4.0), first(4, 4)) == 0


@pytest.mark.parametrize("clients", [6, 10, 20, 100])
@pytest.mark.parametrize("needed", [2.5, 6.0])
def test_fewer_clients_need_a_larger_separation(clients, needed):
    least = needed + 100 / clients**2
    worse = first(2, clients)
    assert separated(known(worse, 1.001 * least), worse, needed)
    assert not separated(known(worse, 0.999 * least), worse, needed)
    assert not separated(known(worse, -1.1 * least), worse, needed)


@pytest.mark.parametrize("sign", [1, -1])
def test_groups_must_differ_by_a_share_of_what_the_server_achieves(sign):
    worse = first(6)
    for server, expected in ((9.9 / 0.3, True), (10.1 / 0.3, False)):
        assert separated(known(worse, 10.0, sign * server), worse, 6.0) == expected
        assert harmful(known(worse, 10.0, sign * server)).tolist() == list(worse & expected)


def harmful_by_all_cuts(values):
    """The flags of the worse group, and the runner-up's distance to the best cut."""
    order = np.argsort(values, kind="stable")
    none = np.zeros(len(values), bool)
    if len(values) < 5:
        return none, math.inf
    cuts = []
    for size in range(1, len(values)):
        if values[order[size - 1]] == values[order[size]]:
            continue
        lower = none.copy()
        lower[order[:size]] = True
        needed = decision.FEW_SEPARATION if size <= 2 else decision.HARM_SEPARATION
        with np.errstate(divide="ignore"):
            cuts.append((pooled(values, lower) - needed, size, lower))
    best = sorted(cuts, key=lambda cut: cut[:2])[::-1]
    if not best or best[0][0] < 100 / len(values) ** 2:
        return none, math.inf
    return best[0][2], best[0][0] - (best[1][0] if len(best) > 1 else 0.0)


@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=12),
    st.integers(0, 12),
    st.integers(0, 80),
    st.floats(0.1, 10),
)
@example([0, 1, 0, 1, 0, 1], 2, 30, 1.0)
@example([0, 0, 0, 0, 0, 0], 2, 30, 1.0)
def test_harm_is_by_the_best_of_all_cuts(noise, worse, gap, scale):
    values = scale * (np.array(noise, float) - gap * first(worse, len(noise)))
    expected, lead = harmful_by_all_cuts(values)
    assume(lead > 1e-6)
    evidence = np.stack([np.append(values, 0.0), np.ones(len(values) + 1)], axis=1)
    assert harmful(evidence).tolist() == expected.tolist()


@pytest.mark.parametrize("malicious", [2, 3, 6, 12, 16])
@pytest.mark.parametrize("clients", [20, 40])
def test_harmful_clients_are_rejected(malicious, clients):
    worse = first(malicious, clients)
    # one or two need a larger separation
    needed = decision.HARM_SEPARATION if malicious > 2 else decision.FEW_SEPARATION
    needed += 100 / clients**2
    evidence = known(worse, 1.001 * needed)
    assert harmful(evidence).tolist() == worse.tolist()
    assert verdict(cloud(0, clients + 1), evidence) == (~worse).tolist()
    assert not harmful(known(worse, 0.999 * needed)).any()


@pytest.mark.parametrize(("malicious", "possible"), [(2, False), (3, True), (8, True)])
@pytest.mark.parametrize("clients", [20, 40])
def test_clients_of_less_effect_are_rejected_if_they_achieve_less_for_their_length(
    malicious, possible, clients
):
    worse, margin = first(malicious, clients), 100 / clients**2
    effect, confirmed = decision.EFFECT_SEPARATION + margin, decision.EFFECT_CONFIRMED + margin
    for shares, expected in (
        ((1.001, 1.001), possible),
        ((0.999, 1.2), False),
        ((1.2, 0.999), False),
        ((1.2, -1.2), False),
        ((-1.2, 1.2), False),
    ):
        evidence = known(worse, shares[1] * confirmed, effect=shares[0] * effect)
        assert harmful(evidence).tolist() == list(worse & expected)
    # the groups help about equally for their lengths
    evidence = known(worse, 1.001 * confirmed, 50.0, effect=1.001 * effect)
    assert not harmful(evidence).any()
    # without root data there are no effects
    evidence = known(worse, 1.001 * confirmed, effect=1.001 * effect)
    assert not harmful(evidence[:, [0, 1]]).any()


@pytest.mark.parametrize("clients", [10, 20, 100])
def test_honest_evidence_is_one_group(clients):
    for seed in range(20):
        values = np.random.default_rng(seed).normal(0.2, 0.02, size=(clients + 1, 3))
        assert not harmful(values).any()


def test_equal_or_few_values_are_not_separated():
    assert not harmful(np.ones((9, 3))).any()
    assert harmful(np.zeros((1, 3))).shape == (0,)
    for clients, expected in ((4, 0), (5, 2)):
        values = np.where(first(2, clients + 1), -1.0, 1.0)
        assert harmful(np.stack([values] * 3, axis=1)).sum() == expected


# --- clusters of the masks ----------------------------------------------------------------------


def test_the_server_cluster_is_the_one_with_the_last_point():
    near = np.random.default_rng(0).normal(size=(9, 2))
    far = np.random.default_rng(1).normal(size=(4, 2)) + 100
    with_near, with_far = np.concatenate([far, near]), np.concatenate([near, far])
    assert (decision.two_clusters(with_near) > 0.5).tolist() == [False] * 4 + [True] * 8
    assert (decision.two_clusters(with_far) > 0.5).tolist() == [False] * 9 + [True] * 3
    worse = first(4, 12)
    assert (server_cluster(with_near, known(worse, 9.0)) > 0.5).tolist() == (~worse).tolist()
    worse = first(9, 12)
    evidence = known(first(8, 12), 9.0)
    evidence[8, 0] -= 9
    assert (server_cluster(with_far, evidence) > 0.5).tolist() == (~worse).tolist()


def test_always_two_splits_even_one_cloud():
    points = np.random.default_rng(0).normal(size=(31, 2))
    assert (server_cluster(points, known(first(0, 30))) == 1).all()
    assert (decision.two_clusters(points) < 0.5).any()
    masks = cloud(0, 31)
    assert all(verdict(masks, known(first(0, 30))))
    assert not all(verdict(masks, known(first(0, 30)), always_two=True))


@pytest.mark.parametrize("always_two", [True, False])
def test_clusters_do_not_depend_on_the_scale_of_the_coordinates(always_two):
    points = np.concatenate([np.random.default_rng(0).normal(size=(9, 2)), np.full((3, 2), 50.0)])
    points[-3:] += np.random.default_rng(1).normal(size=(3, 2))
    evidence = known(first(8, 11), 9.0)
    evidence[8, 0] -= 9
    for scale in (1e-6, 1.0, 1e6):
        scaled = scale * points
        shared = decision.two_clusters(scaled) if always_two else server_cluster(scaled, evidence)
        assert (shared > 0.5).tolist() == [False] * 9 + [True] * 2


@pytest.fixture
def gains(monkeypatch):
    """A function that sets the gain in BIC per row of two Gaussians."""
    return lambda gain: monkeypatch.setattr(decision, "bic_gain", lambda *_: gain)


def split_points(apart, seed=2):
    """Coordinates [n + 1, 2] of two groups 20 standard deviations apart, the server in the last."""
    points = np.random.default_rng(seed).normal(size=(len(apart) + 1, 2))
    points[:-1][apart, 0] += 20
    return points


@pytest.mark.parametrize(
    ("gain", "needed"), [(0.5, 3.5), (1.25, 2.25), (2.0, 1.0), (9.0, 1.0), (0.49, math.inf)]
)
@pytest.mark.parametrize("clients", [10, 20])
def test_clusters_need_a_gain_and_evidence_that_is_the_less_the_more_they_gain(
    gains, clients, gain, needed
):
    apart = first(4, clients)
    gains(gain)
    least = min(needed, 9.0) + 100 / clients**2
    for share, rejected in ((1.001, needed < 9), (0.999, False), (-2.0, False)):
        shared = server_cluster(split_points(apart), known(apart, share * least))
        assert (shared > 0.5).tolist() == list(~(apart & rejected))


def test_clusters_that_help_alike_are_one(gains):
    apart = first(6)
    gains(9.0)
    for server, rejected in ((0.0, True), (50.0, False)):
        shared = server_cluster(split_points(apart), known(apart, 9.0, server))
        assert (shared > 0.5).tolist() == list(~(apart & rejected))


@pytest.mark.parametrize(("few", "rejected"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_cluster_of_one_or_two_clients_is_not_rejected(gains, few, rejected):
    apart = first(few)
    gains(9.0)
    evidence = known(apart)
    evidence[:-1, 0] -= 30 * apart
    shared = server_cluster(split_points(apart), evidence)
    assert (shared > 0.5).tolist() == list(~(apart & rejected))


def test_four_clients_36_deviations_apart_are_rejected_if_the_evidence_agrees():
    points = np.random.default_rng(2).normal(size=(21, 2))
    apart = first(4)
    points[:4, 0] += 36
    assert (server_cluster(points, known(apart, 4.0)) > 0.5).tolist() == (~apart).tolist()
    assert (server_cluster(points, known(apart)) == 1).all()


def test_where_the_server_is_alone_clients_must_point_along_its_update(gains):
    points = np.random.default_rng(0).normal(size=(9, 2))
    points[-1] += 50
    evidence = known(first(0, 8), cosine=0.2)
    evidence[2:5, -1] = -0.2, 0.0, -1e-9
    gains(3.1)
    expected = [client not in (2, 3, 4) for client in range(8)]
    assert server_cluster(points, evidence).tolist() == expected
    gains(2.9)
    assert (server_cluster(points, evidence) == 1).all()


def test_where_masks_are_alike_clients_must_point_along_the_servers_update():
    evidence = known(first(0, 8), cosine=0.2)
    evidence[2:5, -1] = -0.2, 0.0, -1e-9
    expected = [client not in (2, 3, 4) for client in range(8)]
    assert decision.two_clusters(np.zeros((9, 2))) is None
    assert server_cluster(np.zeros((9, 2)), evidence).tolist() == expected
    assert verdict(torch.ones(9, 30), evidence) == expected
    assert verdict(torch.ones(9, 30), evidence, always_two=True) == expected


# --- the verdict --------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [0, 1, 2, 4, 5])
def test_fewer_than_five_clients_must_point_along_the_servers_update(clients):
    evidence = known(first(0, clients)) if clients > 2 else np.ones((clients + 1, 3))
    evidence[: clients // 2, -1] = -0.3
    accepted = verdict(cloud(0, clients + 1), evidence)
    half = [client >= clients // 2 for client in range(clients)]
    assert accepted == ([True] * 5 if clients == 5 else half)


def test_copies_do_not_count_among_the_five():
    masks, updates = cloud(0, 8), normal(7, 50)
    masks[:3], updates[:3] = masks[0].clone(), updates[0].clone()
    evidence = known(first(0, 7))
    evidence[5, -1] = -0.3
    assert verdict(masks, evidence, updates) == [False] * 3 + [True, True, False, True]
    # those rejected as copies stay so, though they point along the server's update
    masks[2], updates[2] = cloud(3, 1)[0], normal(50, seed=3)
    assert verdict(masks, evidence, updates) == [False] * 2 + [True] * 5


def test_one_client_alone_cannot_be_split_by_the_released_rule():
    for cosine, accepted in ((0.1, True), (-0.1, False)):
        evidence = np.array([[0.0, 0.0, cosine], [0.0, 0.0, 1.0]])
        assert verdict(cloud(0, 2), evidence, always_two=True) == [accepted]


def test_a_cluster_that_is_not_worse_by_the_evidence_is_not_rejected():
    apart = np.arange(20) >= 14
    masks = two_groups(apart)
    assert verdict(masks, known(apart, 3.0)) == (~apart).tolist()
    assert all(verdict(masks, known(apart)))
    assert all(verdict(masks, known(apart, -3.0)))
    assert verdict(masks, known(apart), always_two=True) == (~apart).tolist()


def test_shape_judges_the_clients_that_are_no_copies(monkeypatch):
    masks, updates, evidence, given = cloud(0, 21), normal(20, 50), known(first(0)), []
    masks[5], updates[5] = masks[6], updates[6]
    monkeypatch.setattr(
        decision, "server_cluster", lambda points, known: given.append(known) or np.ones(18)
    )
    verdict(masks, evidence, updates)
    assert np.array_equal(given[0], np.delete(evidence, [5, 6], axis=0))


def test_harm_judges_the_clients_in_the_servers_cluster(monkeypatch):
    apart, given = np.arange(20) >= 14, []
    evidence = known(apart, 3.0)
    monkeypatch.setattr(
        decision, "harmful", lambda known: given.append(known) or np.arange(14) == 2
    )
    accepted = verdict(two_groups(apart), evidence)
    assert np.array_equal(given[0], np.delete(evidence, np.flatnonzero(apart), axis=0))
    assert accepted == [client < 14 and client != 2 for client in range(20)]


@pytest.mark.parametrize(("better", "kept"), [(4, True), (2, False)])
def test_where_a_fifth_are_better_they_are_kept_and_where_fewer_the_direction_counts(better, kept):
    best = first(better)
    evidence = known(~best, 9.0)
    evidence[:6, -1] = -0.1
    assert harmful(evidence).tolist() == (~best).tolist()
    accepted = best if kept else ~first(6)
    assert verdict(cloud(0, 21), evidence) == accepted.tolist()


def test_verdicts_do_not_depend_on_the_order_of_the_clients():
    masks, updates, evidence = cloud(0, 21), normal(20, 50), known(first(4), 9.0)
    masks[15], updates[15] = masks[16], updates[16]
    accepted = np.array(verdict(masks, evidence, updates))
    assert accepted.sum() == 14
    order = np.random.default_rng(0).permutation(20)
    rows = np.append(order, 20)
    mixed = verdict(masks[torch.from_numpy(rows)], evidence[rows], updates[order])
    assert mixed == accepted[order].tolist()
