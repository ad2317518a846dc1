"""The attacks on updates against hand-computed cases and independent implementations."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from scipy.stats import kstest, norm
from torch.testing import assert_close

from skymask.attacks import (
    ATTACKS,
    fang_krum,
    fang_trim,
    fltrust_adaptive,
    gaussian,
    ipm,
    lie,
    mimic,
    min_max,
    min_sum,
    non_finite,
    sign_flip,
)
from skymask.contracts import RequirementError, call
from skymask.defenses import fltrust, krum

PERTURBATIONS = ["unit", "std", "sign"]
NEW = [
    "min_sum",
    "fang_krum",
    "lie",
    "ipm",
    "sign_flip",
    "gaussian",
    "mimic",
    "fltrust_adaptive",
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def updates_of(n, f, d, seed, spread=1.0):
    source = seeded(seed)
    mean = torch.randn(d, generator=source, dtype=torch.float64)
    updates = mean + spread * torch.randn(n, d, generator=source, dtype=torch.float64)
    malicious = torch.zeros(n, dtype=torch.bool)
    malicious[torch.randperm(n, generator=source)[:f]] = True
    return updates, malicious


def among(*values, attackers, dimension=1):
    """Benign rows of ``dimension`` equal ``values``, and the flagged rows between them."""
    rows = torch.tensor(values, dtype=torch.float64)[:, None].repeat(1, dimension)
    flags = torch.tensor([False] + [True] * attackers + [False] * (len(values) - 1))
    updates = torch.full((len(flags), dimension), 77.0, dtype=torch.float64)
    updates[~flags] = rows
    return updates, flags


def outcome(name, updates, malicious, seed=0, **parameters):
    offers = {
        "updates": lambda: updates,
        "malicious": lambda: malicious,
        "generator": lambda: seeded(seed),
        "state": dict,
    }
    result = call(ATTACKS[name], offers, parameters)
    return result[0] if isinstance(result, tuple) else result


# Min-Sum


def direction(rows, perturbation):
    mean = rows.mean(axis=0)
    if perturbation == "std":
        return -rows.std(axis=0, ddof=1)
    return -np.sign(mean) if perturbation == "sign" else -mean / np.linalg.norm(mean)


def row_sum(m, benign):
    return cdist(m[None], benign, "sqeuclidean").sum()


@pytest.mark.parametrize("bound", ["max", "min"])
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@given(
    size=st.sampled_from([(4, 1, 3), (10, 2, 50), (9, 4, 1), (3, 1, 200), (7, 3, 8)]),
    seed=st.integers(0, 999),
)
def test_min_sum_gamma_is_the_largest_that_keeps_the_bound(perturbation, bound, size, seed):
    n, f, d = size
    updates, malicious = updates_of(n, f, d, seed)
    benign = updates[~malicious].numpy()
    mean, p = benign.mean(axis=0), direction(benign, perturbation)
    rows = min_sum(updates, malicious, perturbation=perturbation, bound=bound)[malicious].numpy()
    gamma = (rows[0] - mean) @ p / (p @ p)
    assert_allclose(rows, np.tile(mean + gamma * p, (f, 1)), rtol=1e-9, atol=1e-12)

    sums = cdist(benign, benign, "sqeuclidean").sum(axis=1)
    limit = sums.max() if bound == "max" else sums.min()
    assert row_sum(rows[0], benign) <= limit * (1 + 1e-12)
    assert row_sum(mean + gamma * (1 + 2e-5) * p, benign) > limit * (1 - 1e-12)


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_min_sum_reaches_the_bound_within_its_tolerance(perturbation):
    updates, malicious = updates_of(12, 3, 80, seed=1)
    benign = updates[~malicious].numpy()
    limit = cdist(benign, benign, "sqeuclidean").sum(axis=1).max()
    for tolerance in (1e-5, 1e-2):
        rows = min_sum(updates, malicious, perturbation=perturbation, tolerance=tolerance)
        reached = row_sum(rows[malicious][0].numpy(), benign) / limit
        assert 1 - 2 * tolerance <= reached <= 1


def test_min_sum_by_hand():
    # μ = 2; the row sums are 26, 17 and 41, and m = 2 − γ has 14 + 3 γ²
    updates, malicious = among(0.0, 1.0, 5.0, attackers=2)
    for bound, expected in (("max", -1.0), ("min", 1.0)):
        rows = min_sum(updates, malicious, bound=bound, tolerance=1e-9)[malicious]
        assert_close(rows, torch.full((2, 1), expected, dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_min_sum_sends_the_mean_when_benign_updates_agree(perturbation, value):
    updates, malicious = torch.full((5, 4), value), torch.tensor([True, False, False, True, False])
    assert_close(min_sum(updates, malicious, perturbation=perturbation), updates)


# what the attackers know


@pytest.mark.parametrize(
    ("attack", "parameters"),
    [(min_max, {}), (min_sum, {}), (min_sum, {"bound": "min"}), (lie, {"z": 0.7}), (ipm, {})],
)
def test_partial_knowledge_is_full_knowledge_of_their_own_updates(attack, parameters):
    updates, malicious = updates_of(9, 4, 12, seed=3)
    partial = attack(updates, malicious, knowledge="partial", **parameters)[malicious]
    among_themselves = torch.cat([updates[malicious], updates[:1]])
    flags = torch.tensor([False] * 4 + [True])
    expected = attack(among_themselves, flags, knowledge="full", **parameters)[-1]
    assert_close(partial, expected.repeat(4, 1), rtol=1e-12, atol=1e-12)
    full = attack(updates, malicious, **parameters)[malicious]
    assert not torch.allclose(partial, full)


# Fang-Krum


def krum_pick(rows, neighbours):
    scores = []
    for i, row in enumerate(rows):
        squares = sorted(((row - other) ** 2).sum() for j, other in enumerate(rows) if j != i)
        scores.append(sum(squares[:neighbours]))
    return scores


def krum_lambda(benign, f, threshold):
    n, d = len(benign) + f, benign.shape[1]
    s = np.sign(benign.sum(axis=0))
    sums = []
    for i, row in enumerate(benign):
        lengths = sorted(np.linalg.norm(row - b) for j, b in enumerate(benign) if j != i)
        sums.append(sum(lengths[: n - f - 2]))
    step = min(sums) / ((n - 2 * f - 1) * d**0.5)
    step += max(np.linalg.norm(row) for row in benign) / d**0.5
    while step >= threshold:
        scores = krum_pick(np.concatenate([np.tile(-step * s, (f, 1)), benign]), n - f - 2)
        if min(scores[:f]) < min(scores[f:]):
            return step
        step /= 2
    return step


@pytest.mark.parametrize("size", [(4, 1, 3), (6, 2, 5), (7, 2, 40), (10, 4, 1), (13, 5, 9)])
@pytest.mark.parametrize("spread", [0.1, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_fang_krum_equals_an_implementation_with_loops(size, spread, seed):
    n, f, d = size
    updates, malicious = updates_of(n, f, d, seed, spread)
    benign = updates[~malicious].numpy()
    for threshold in (1e-5, 0.5):
        expected = -krum_lambda(benign, f, threshold) * np.sign(benign.sum(axis=0))
        rows = fang_krum(updates, malicious, threshold=threshold)[malicious].numpy()
        assert_allclose(rows, np.tile(expected, (f, 1)), rtol=1e-9)


@pytest.mark.parametrize("dimension", [1, 4])
def test_fang_krum_by_hand(dimension):
    # two neighbours each: the bound is (2 + 3) / 1 + 11 = 16, a crafted score (2 + λ)², and the
    # least benign score, of 4, is 2² + 3² = 13: 16, 8, 4 and 2 are too far out, 1 is not
    updates, malicious = among(2.0, 4.0, 7.0, 11.0, attackers=2, dimension=dimension)
    rows = fang_krum(updates, malicious)[malicious]
    assert_close(rows, torch.full((2, dimension), -1.0, dtype=torch.float64))
    assert_close(fang_krum(-updates, malicious)[malicious], -rows)


def test_fang_krum_ends_below_its_threshold_where_krum_never_picks_an_attacker():
    # one neighbour: a crafted score is (1 + λ)², never below the 1² of the first two; the bound is
    # 1 / 1 + 4 = 5
    updates, malicious = among(1.0, 2.0, 4.0, attackers=1)
    assert fang_krum(updates, malicious, threshold=0.7)[malicious].item() == -0.625
    assert fang_krum(updates, malicious, threshold=0.6)[malicious].item() == -0.3125
    sent = -fang_krum(updates, malicious)[malicious].item()
    assert 0.5e-5 <= sent < 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_krum_picks_an_attacker_of_fang_krum_and_none_twice_as_far(seed):
    updates, malicious = updates_of(12, 4, 30, seed, spread=2.0)
    attacked = fang_krum(updates, malicious)
    assert krum(attacked, 4).accepted[malicious].any()
    farther = torch.where(malicious[:, None], 2 * attacked, attacked)
    assert not krum(farther, 4).accepted[malicious].any()


# LIE


@pytest.mark.parametrize(
    ("n", "f", "share"),
    [(50, 24, 24 / 26), (50, 12, 24 / 38), (51, 12, 25 / 39), (10, 2, 4 / 8), (10, 5, 4 / 5)],
)
def test_lie_z_by_hand(n, f, share):
    updates, malicious = updates_of(n, f, 6, seed=n + f)
    benign = updates[~malicious]
    expected = benign.mean(dim=0) - norm.ppf(share) * benign.std(dim=0)
    assert_close(lie(updates, malicious)[malicious], expected.repeat(f, 1))


def test_lie_z_of_the_paper_is_1_43():
    # μ = 0 and σ = √(26/25)
    updates, malicious = among(*[1.0, -1.0] * 13, attackers=24)
    z = -lie(updates, malicious)[malicious][0].item() / math.sqrt(26 / 25)
    assert round(z, 2) == 1.43


def test_lie_with_a_given_z_by_hand():
    # μ = 3 and σ² = 7
    updates, malicious = among(1.0, 2.0, 6.0, attackers=4)
    assert_close(
        lie(updates, malicious, z=2.0)[malicious], torch.full((4, 1), 3 - 2 * 7**0.5).double()
    )


# IPM, sign flipping, noise


def test_ipm_by_hand():
    updates, malicious = among(1.0, 2.0, 6.0, attackers=2)
    assert ipm(updates, malicious)[malicious].tolist() == [[-1.5], [-1.5]]
    assert ipm(updates, malicious, epsilon=4.0)[malicious].tolist() == [[-12.0], [-12.0]]


def test_sign_flip_turns_each_update_round():
    updates, malicious = torch.arange(8.0).view(4, 2), torch.tensor([True, False, False, True])
    assert sign_flip(updates, malicious)[malicious].tolist() == [[0.0, -1.0], [-6.0, -7.0]]
    stronger = sign_flip(updates, malicious, factor=2.5)
    assert stronger[malicious].tolist() == [[0.0, -2.5], [-15.0, -17.5]]


@pytest.mark.parametrize("sigma", [0.1, 3.0])
def test_gaussian_draws_are_normal_with_the_given_deviation(sigma):
    updates, malicious = updates_of(6, 3, 4000, seed=0)
    rows = gaussian(updates, malicious, generator=seeded(), sigma=sigma)[malicious]
    assert kstest(rows.flatten().numpy() / sigma, "norm").pvalue > 0.01
    assert len(rows.unique()) == rows.numel()
    elsewhere = gaussian(updates + 5, malicious, generator=seeded(), sigma=sigma)[malicious]
    assert elsewhere.equal(rows)
    assert not gaussian(updates, malicious, generator=seeded(1), sigma=sigma)[malicious].equal(rows)


def test_gaussian_deviates_by_a_tenth_unless_told():
    updates, malicious = updates_of(6, 3, 4000, seed=0)
    rows = gaussian(updates, malicious, generator=seeded())[malicious]
    assert_allclose(rows.std().item(), 0.1, rtol=0.05)


def test_non_finite_has_one_of_each_kind_and_is_honest_elsewhere():
    updates, malicious = updates_of(8, 5, 60, seed=0)
    rows = non_finite(updates, malicious, generator=seeded())[malicious]
    assert (rows.isnan().sum(dim=1) == 1).all()
    assert ((rows == math.inf).sum(dim=1) == 1).all()
    assert ((rows == -math.inf).sum(dim=1) == 1).all()
    finite = rows.isfinite()
    assert rows[finite].equal(updates[malicious][finite])
    assert len(rows.isnan().int().argmax(dim=1).unique()) > 1


@pytest.mark.parametrize(("d", "kinds"), [(1, ["nan"]), (2, ["inf", "nan"])])
def test_non_finite_sends_what_fits(d, kinds):
    updates, malicious = updates_of(4, 2, d, seed=0)
    for row in non_finite(updates, malicious, generator=seeded())[malicious]:
        assert sorted(map(str, row.tolist())) == kinds


# mimic


def copied(updates, malicious, state, **parameters):
    """The client that mimic copies, and its state."""
    result, state = mimic(updates, malicious, state, **parameters)
    rows = result[malicious]
    assert (rows == rows[0]).all()
    same = torch.nonzero((updates == rows[0]).all(dim=1) & ~malicious).flatten()
    assert len(same) == 1
    return int(same), state


def test_mimic_copies_the_client_farthest_out_along_the_principal_direction():
    # the spread is along the second coordinate; the first is what all have in common
    benign = [[90.0, 1.0], [99.0, 2.0], [95.0, -60.0], [93.0, 30.0]]
    updates = torch.tensor([[0.0, 500.0], *benign])
    malicious = torch.tensor([True, False, False, False, False])
    result, _ = mimic(updates, malicious, {})
    assert result[0].tolist() == [95.0, -60.0]
    updates[3] *= -1
    assert mimic(updates, malicious, {})[0][0].tolist() == [-95.0, 60.0]


@pytest.mark.parametrize("size", [(9, 2, 30), (10, 4, 3), (6, 3, 200)])
@pytest.mark.parametrize("seed", range(4))
def test_mimic_learns_as_an_implementation_with_loops(size, seed):
    n, f, d = size
    rounds = [updates_of(n, f, d, 100 * seed + t)[0] for t in range(6)]
    malicious = updates_of(n, f, d, seed)[1]
    state, z, mu, found, expected = {}, None, None, [], []
    for t, updates in enumerate(rounds):
        target, state = copied(updates, malicious, state, warm_up=6)
        found.append(target)
        honest = {i: updates[i].numpy() for i in range(n) if not malicious[i]}
        mean = sum(honest.values()) / len(honest)
        mu = mean if mu is None else (t * mu + mean) / (t + 1)
        if z is None:
            z = np.linalg.svd(np.stack([row - mean for row in honest.values()]))[2][0]
            farthest = max(honest, key=lambda i: abs((honest[i] - mean) @ z))
            z = z * np.sign((honest[farthest] - mean) @ z)
        else:
            u = sum(((row - mu) @ z) * (row - mu) for row in honest.values())
            z = t * z + u / np.linalg.norm(u)
            z /= np.linalg.norm(z)
        expected.append(max(honest, key=lambda i: honest[i] @ z))
        if t < 5:
            assert_allclose(state["direction"].numpy(), z, atol=1e-9)
            assert_allclose(state["mean"].numpy(), mu, atol=1e-12)
            assert state["rounds"].tolist() == [t + 1]
    assert found == expected
    assert len(set(found)) > 1
    assert set(state) == {"target"}


def test_mimic_stays_with_its_target_after_the_warm_up():
    updates, malicious = updates_of(8, 3, 10, seed=0)
    first, state = copied(updates, malicious, {}, warm_up=1)
    assert state["target"].tolist() == [first]
    others = set()
    for seed in range(1, 8):
        updates = updates_of(8, 3, 10, seed)[0]
        target, state = copied(updates, malicious, state, warm_up=1)
        assert target == first
        others.add(copied(updates, malicious, {}, warm_up=1)[0])
    assert len(others) > 1


def test_mimic_overlooks_updates_that_are_not_finite():
    updates, malicious = updates_of(7, 2, 10, seed=0)
    target, _ = copied(updates, malicious, {})
    updates[target, 3] = math.nan
    second, state = copied(updates, malicious, {})
    assert second != target
    broken = torch.full_like(updates, math.nan)
    result, after = mimic(broken, malicious, state)
    assert result.isnan().all()
    assert after is state
    assert mimic(broken, malicious, {})[1] == {}


def test_mimic_learns_for_ten_rounds_unless_told_and_nothing_from_equal_updates():
    updates, malicious = torch.ones(6, 4), torch.arange(6) < 2
    state = {}
    for rounds in range(1, 10):
        result, state = mimic(updates, malicious, state)
        assert result.equal(updates)
        assert state["rounds"].tolist() == [rounds]
        assert state["direction"].tolist() == [0.0] * 4
    assert mimic(updates, malicious, state)[1]["target"].tolist() == [2]


# the adaptive attack on FLTrust


def unit(row):
    return row / np.linalg.norm(row)


def gain(attacked, updates, malicious):
    """s·(clean − attacked) by the defense itself, with μ for Δ_0 and over ‖Δ_0‖."""
    mean = updates[~malicious].mean(dim=0)
    moved = fltrust(updates, mean).update - fltrust(attacked, mean).update
    return (mean.sign() @ moved / mean.norm()).item()


@pytest.mark.parametrize("size", [(6, 1, 4), (7, 3, 6), (10, 4, 12)])
@pytest.mark.parametrize("spread", [0.3, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_fltrust_adaptive_equals_an_implementation_with_loops(size, spread, seed):
    n, f, d = size
    gamma, eta, steps, passes = 0.2, 0.15, 3, 4
    updates, malicious = updates_of(n, f, d, seed, spread)
    start = fang_trim(updates, malicious, generator=seeded(seed))[malicious].numpy()
    benign = updates[~malicious].numpy()
    mean = benign.mean(axis=0)
    s, e = np.sign(mean), unit(mean)

    def aggregate(rows):
        trust = [max(row @ e, 0) for row in rows]
        return sum(c * row for c, row in zip(trust, rows, strict=True)) / sum(trust)

    honest = [unit(row) for row in benign]
    clean = aggregate([unit(row) for row in updates.numpy()])
    vectors = [unit(row) for row in start]

    def h(j, vector):
        crafted = [vector if k == j else other for k, other in enumerate(vectors)]
        return s @ (clean - aggregate(honest + crafted))

    source = seeded(seed)
    torch.rand(f, d, generator=source, dtype=torch.float64)  # Fang-Trim's
    for _ in range(passes):
        for j in range(f):
            met = [vectors[j]]
            for _ in range(steps):
                u = torch.randn(d, generator=source, dtype=torch.float64).numpy() / 2**0.5
                vector = met[-1]
                slope = (h(j, vector + gamma * u) - h(j, vector)) / gamma
                met.append(unit(vector + eta * slope * u))
            vectors[j] = max(met, key=lambda vector: h(j, vector))
    expected = np.stack(vectors) * np.linalg.norm(mean)
    settings = {"gamma": gamma, "eta": eta, "steps": steps, "passes": passes}
    attacked = fltrust_adaptive(updates, malicious, generator=seeded(seed), **settings)
    assert_allclose(attacked[malicious].numpy(), expected, rtol=1e-7, atol=1e-9)
    whole = s @ (clean - aggregate(honest + vectors))
    assert_allclose(gain(attacked, updates, malicious), whole, rtol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_fltrust_adaptive_moves_fltrust_farther_against_s_than_its_start(seed):
    updates, malicious = updates_of(10, 3, 40, seed, spread=0.3)
    start = fang_trim(updates, malicious, generator=seeded(seed))
    gains = [gain(start, updates, malicious)]
    for passes in (1, 3, 10):
        attacked = fltrust_adaptive(updates, malicious, generator=seeded(seed), passes=passes)
        gains.append(gain(attacked, updates, malicious))
    assert gains == sorted(gains)
    assert gains[-1] > 1.1 * gains[0] > 0


@pytest.mark.parametrize(("spread", "d"), [(0.3, 5000), (2.0, 5000), (2.0, 20)])
def test_fltrust_adaptive_never_falls_behind_its_start(spread, d):
    updates, malicious = updates_of(10, 3, d, 1, spread)
    start = gain(fang_trim(updates, malicious, generator=seeded()), updates, malicious)
    attacked = fltrust_adaptive(updates, malicious, generator=seeded())
    assert gain(attacked, updates, malicious) >= start - 1e-9


def test_fltrust_adaptive_takes_ten_steps_of_a_tenth_in_ten_passes_unless_told():
    updates, malicious = updates_of(8, 3, 20, seed=0, spread=0.3)
    settings = {"gamma": 0.1, "eta": 0.1, "steps": 10, "passes": 10}
    told = fltrust_adaptive(updates, malicious, generator=seeded(), **settings)
    assert fltrust_adaptive(updates, malicious, generator=seeded()).equal(told)
    for name, value in settings.items():
        other = {**settings, name: value + 1}
        assert not fltrust_adaptive(updates, malicious, generator=seeded(), **other).equal(told)


def test_fltrust_adaptive_sends_updates_as_long_as_the_benign_mean():
    updates, malicious = updates_of(8, 3, 20, seed=0, spread=0.3)
    rows = fltrust_adaptive(updates, malicious, generator=seeded())[malicious]
    assert_close(rows.norm(dim=1), updates[~malicious].mean(dim=0).norm().repeat(3))


# all


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("value", [0.0, 1e-30, -2.0])
@pytest.mark.parametrize("d", [1, 5])
def test_equal_updates_are_no_trouble(name, value, d):
    updates = torch.full((8, d), value, dtype=torch.float64)
    malicious = torch.arange(8) < 3
    assert outcome(name, updates, malicious).isfinite().all()


@pytest.mark.parametrize("name", ["min_max", *NEW])
def test_a_diverged_benign_client_is_no_trouble(name):
    updates, malicious = updates_of(8, 3, 6, seed=0)
    updates[torch.nonzero(~malicious)[0], 2] = math.nan
    assert outcome(name, updates, malicious).shape == updates.shape
    updates[~malicious] = math.inf
    assert outcome(name, updates, malicious).shape == updates.shape


@pytest.mark.parametrize("name", ["min_max", *NEW])
def test_a_benign_update_whose_square_overflows_is_no_trouble(name):
    updates, malicious = updates_of(8, 3, 6, seed=0)
    updates[torch.nonzero(~malicious)[0]] = 1e160
    assert outcome(name, updates, malicious).shape == updates.shape


@pytest.mark.parametrize("name", ["min_max", "fang_trim", *NEW, "non_finite"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_without_attackers_every_number_of_clients_will_do(name, n):
    updates, malicious = updates_of(n, 0, 3, seed=0)
    assert outcome(name, updates, malicious).equal(updates)


@pytest.mark.parametrize(
    ("name", "n", "f", "parameters", "sentence"),
    [
        ("min_sum", 4, 3, {}, "min_sum needs two benign clients (n = 4, f = 3)"),
        (
            "min_sum",
            4,
            1,
            {"knowledge": "partial"},
            "two malicious clients under partial knowledge",
        ),
        ("min_sum", 4, 1, {"tolerance": 0.0}, "tolerance must be positive"),
        (
            "min_max",
            4,
            1,
            {"knowledge": "partial"},
            "two malicious clients under partial knowledge",
        ),
        ("fang_krum", 7, 3, {}, "fang_krum needs n ≥ 2 f + 2 clients (n = 7, f = 3)"),
        ("fang_krum", 8, 3, {"threshold": 0.0}, "threshold must be positive"),
        ("lie", 4, 3, {"z": 1.0}, "lie needs two benign clients"),
        ("lie", 4, 1, {"knowledge": "partial"}, "or two malicious ones under partial knowledge"),
        ("lie", 6, 4, {}, "lie has no finite z unless n ≥ 3 and f ≤ n/2: give z (n = 6, f = 4"),
        ("ipm", 3, 3, {}, "ipm needs a benign client"),
        ("ipm", 3, 1, {"epsilon": 0.0}, "epsilon must be positive"),
        ("sign_flip", 3, 1, {"factor": 0.0}, "factor must be positive"),
        ("gaussian", 3, 1, {"sigma": 0.0}, "sigma must be positive"),
        ("mimic", 3, 3, {}, "mimic needs a benign client"),
        ("mimic", 3, 1, {"warm_up": 0}, "warm_up must be at least 1"),
        ("fltrust_adaptive", 3, 3, {}, "fltrust_adaptive needs a benign client"),
        ("fltrust_adaptive", 3, 1, {"gamma": 0.0}, "gamma must be positive"),
        ("fltrust_adaptive", 3, 1, {"eta": 0.0}, "eta must be positive"),
        ("fltrust_adaptive", 3, 1, {"steps": 0}, "steps must be at least 1"),
        ("fltrust_adaptive", 3, 1, {"passes": 0}, "passes must be at least 1"),
    ],
)
def test_an_attack_says_where_it_is_not_defined(name, n, f, parameters, sentence):
    updates, malicious = updates_of(n, f, 3, seed=0)
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        outcome(name, updates, malicious, **parameters)


@pytest.mark.parametrize(
    ("name", "n", "f", "parameters"),
    [
        ("min_sum", 4, 2, {"knowledge": "partial"}),
        ("min_max", 4, 2, {"knowledge": "partial"}),
        ("fang_krum", 8, 3, {}),
        ("fang_krum", 4, 1, {}),
        ("lie", 4, 2, {}),
        ("lie", 6, 4, {"z": 0.3}),
        ("lie", 3, 3, {"z": 0.3, "knowledge": "partial"}),
        ("ipm", 3, 3, {"knowledge": "partial"}),
        ("mimic", 3, 2, {}),
        ("fltrust_adaptive", 3, 2, {}),
    ],
)
def test_an_attack_is_defined_up_to_its_limits(name, n, f, parameters):
    updates, malicious = updates_of(n, f, 3, seed=0)
    assert outcome(name, updates, malicious, **parameters).isfinite().all()
