"""Tests of FLDetector against an implementation in numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import fldetector
from skymask.defenses.fldetector import hessian_product, last_of_lower_cluster
from tests.support.histories import PRESENT, history
from tests.support.updates import (
    normal,
    seeded,
)


def dense_hessian(moves, changes):
    """B by the recursion of BFGS, from σI; the compact form is the same matrix."""
    s, y = moves[-1], changes[-1]
    matrix = (s @ y) / (s @ s) * np.eye(len(s))
    for s, y in zip(moves, changes, strict=True):
        along = matrix @ s
        matrix = matrix - np.outer(along, along) / (s @ along) + np.outer(y, y) / (y @ s)
    return matrix


@given(pairs=st.integers(1, 5), d=st.integers(6, 12), seed=st.integers(0, 9999))
def test_the_hessian_product_is_that_of_the_bfgs_recursion(pairs, d, seed):
    source = np.random.default_rng(seed)
    root = source.normal(size=(d, d))
    hessian = root @ root.T + np.eye(d)
    moves = source.normal(size=(pairs, d)) * 10.0 ** source.integers(-4, 1, size=(pairs, 1))
    changes = -0.1 * moves @ hessian
    vector = source.normal(size=d)
    found = hessian_product(*(torch.from_numpy(x) for x in (moves, changes, vector)))
    expected = dense_hessian(moves, changes) @ vector
    assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-9)
    # the secant equation: the last move maps to the last change
    last = hessian_product(*(torch.from_numpy(x) for x in (moves, changes, moves[-1])))
    assert_close(last, torch.from_numpy(changes[-1]), rtol=1e-6, atol=1e-9)


def test_the_hessian_product_is_finite_where_the_matrix_cannot_be_inverted():
    moves = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    for changes in (moves, torch.zeros(3, 2), moves.flip(1)):
        assert hessian_product(moves, changes, torch.ones(2)).isfinite().all()
    assert hessian_product(moves, torch.zeros(3, 2), torch.ones(2)).eq(0).all()
    assert_close(hessian_product(moves, 3 * moves, torch.ones(2)), 3 * torch.ones(2).double())


def spread(values):
    return sum((x - np.mean(values)) ** 2 for x in values)


def best_split(values):
    """Every way to give the values to two clusters: the least sum of squares, and the lower."""
    best = (math.inf, None)
    for code in range(1, 2 ** (len(values) - 1)):
        flags = np.array([code >> i & 1 for i in range(len(values))], dtype=bool)
        groups = sorted((values[flags], values[~flags]), key=np.mean)
        best = min(best, (spread(groups[0]) + spread(groups[1]), max(groups[0])))
    return best


def plain_cut(scores, source):
    """The gap statistic by Tibshirani's recipe for k = 1 and 2."""
    values = (scores - scores.min()) / (scores.max() - scores.min())
    two, limit = best_split(values)
    references = torch.rand(20, len(scores), generator=source, dtype=torch.float64).numpy()
    logs = np.log([[spread(row), best_split(row)[0]] for row in references])
    gap = logs.mean(axis=0) - np.log([spread(values), two])
    if gap[0] >= gap[1] - logs[:, 1].std() * math.sqrt(1 + 1 / 20):
        return np.ones(len(scores), dtype=bool)
    return values <= limit


@pytest.mark.parametrize("seed", range(30))
def test_the_gap_statistic_is_that_of_tibshirani_by_brute_force(seed):
    source = np.random.default_rng(seed)
    scores = source.normal(size=7) + source.choice([0, 3, 10]) * (np.arange(7) < 3)
    one, other = seeded(seed), seeded(seed)
    found = last_of_lower_cluster(torch.from_numpy(scores), one)
    assert (scores <= found).tolist() == plain_cut(scores, other).tolist()
    assert one.get_state().equal(other.get_state())  # as many reference sets


@pytest.mark.parametrize("seed", range(3))
def test_the_gap_statistic_splits_at_the_same_distance_as_brute_force(seed):
    base = np.random.default_rng(seed).normal(size=7)

    def scores(shift):
        return base + shift * (np.arange(7) < 3)

    low, high = 0.0, 20.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        limit = last_of_lower_cluster(torch.from_numpy(scores(middle)), seeded(seed))
        low, high = (middle, high) if limit == math.inf else (low, middle)
    assert plain_cut(scores(low), seeded(seed)).all()
    assert not plain_cut(scores(high), seeded(seed)).all()


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.11, 0.12, 0.9, 0.1, 0.13], 0.13),
        ([0.1, 0.1, 0.1, 0.3, 0.3], 0.1),
        ([0.3, 0.1, 0.1], 0.1),
        ([0.2, 0.2, 0.2, 0.2], math.inf),
        ([0.0, 0.0, 0.0], math.inf),
        ([0.2, 0.2 + 1e-13, 0.2], math.inf),
        ([0.1, 0.9], math.inf),
        ([0.5], math.inf),
        ([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], math.inf),
    ],
)
def test_the_lower_cluster_by_hand(scores, expected):
    found = last_of_lower_cluster(torch.tensor(scores, dtype=torch.float64), seeded())
    assert found == expected


def test_of_equally_good_cuts_the_one_that_drops_fewer_is_taken():
    scores = torch.tensor([2.0] * 5 + [1.0] + [0.0] * 5, dtype=torch.float64)
    assert last_of_lower_cluster(scores, seeded()) == 1.0


class PlainDetector:
    """The rule once more, in numpy: dicts by client number, the Hessian as a matrix."""

    def __init__(self, window, start):
        self.window, self.start, self.round = window, start, 0
        self.models, self.aggregates, self.last = [], [], {}
        self.pairs, self.history = [], []

    def judge(self, updates, model, clients, source):
        self.round += 1
        expected = dict(self.last)
        if self.pairs:
            moves, changes = zip(*self.pairs[-self.window :], strict=True)
            matrix = dense_hessian(np.array(moves), np.array(changes))
            step = matrix @ (model - self.models[-1])
            expected = {client: update + step for client, update in self.last.items()}
            lengths = {
                client: np.linalg.norm(expected[client] - update)
                for client, update in zip(clients, updates, strict=True)
                if client in expected
            }
            mean = np.mean(list(lengths.values()))
            self.history.append({client: length / mean for client, length in lengths.items()})
        scores = []
        for client in clients:
            seen = [row[client] for row in self.history[-self.window :] if client in row]
            scores.append((np.mean(seen) if seen else 1.0) / len(clients))
        scores = np.array(scores)
        accepted = np.ones(len(clients), dtype=bool)
        if self.round >= self.start and np.ptp(scores) > 1e-9:
            accepted = plain_cut(scores, source)
        aggregate = updates[accepted].mean(axis=0)
        if self.models and (model != self.models[-1]).any():
            self.pairs.append((model - self.models[-1], aggregate - self.aggregates[-1]))
        self.models.append(model)
        self.aggregates.append(aggregate)
        self.last = {**expected, **dict(zip(clients, updates, strict=True))}
        return scores, accepted, aggregate


@pytest.mark.parametrize("window", [2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_fldetector_is_the_rule_in_numpy_over_rounds_with_absent_clients(seed, window):
    model, updates = history(seed)
    plain, state, verdicts = PlainDetector(window, start=6), {}, []
    for round_, clients in enumerate(PRESENT):
        rows = updates(round_, model, clients)
        outcome = fldetector(
            rows, model, torch.tensor(clients), seeded(round_), state, window=window, start=6
        )
        scores, accepted, aggregate = plain.judge(
            rows.numpy(), model.numpy(), clients, seeded(round_)
        )
        assert_close(outcome.scores, torch.from_numpy(scores), rtol=1e-6, atol=1e-9)
        assert outcome.accepted.tolist() == accepted.tolist()
        assert_close(outcome.update, torch.from_numpy(aggregate))
        state = outcome.state
        verdicts.append(accepted.all())
        # one round in which the model does not move
        if round_ != 4:
            model = model + 0.7 * outcome.update
    assert all(verdicts[:5])
    assert not all(verdicts[5:])
    assert len(state["distances"]) <= window
    assert len(state["moves"]) == len(state["changes"]) <= window
    assert state["clients"].tolist() == [0, 1, 2, 3, 4, 5, 6, 8]


def run(rounds, updates, model, seed=0, **parameters):
    """Outcomes of ``rounds`` rounds in which the model takes every aggregate."""
    state, outcomes = {}, []
    for round_ in range(rounds):
        rows = updates(round_, model)
        source = seeded(1000 * seed + round_)
        outcome = fldetector(rows, model, torch.arange(len(rows)), source, state, **parameters)
        outcomes.append(outcome)
        state, model = outcome.state, model + outcome.update
    return outcomes


def honest(round_, model, n, noise=0.05):
    return -0.1 * model + noise * normal(n, len(model), seed=round_)


def test_fldetector_drops_erratic_clients_only_from_its_start_on():
    def updates(round_, model):
        rows = honest(round_, model, 12)
        rows[[3, 8, 9]] = 2 * normal(3, len(model), seed=500 + round_)
        return rows

    outcomes = run(24, updates, normal(30), start=20)
    expected = [client not in (3, 8, 9) for client in range(12)]
    for round_, outcome in enumerate(outcomes, start=1):
        assert outcome.accepted.tolist() == (expected if round_ >= 20 else [True] * 12)
        assert_close(outcome.scores.sum().item(), 1.0)


def test_fldetector_inverts_under_one_update_sent_in_every_round():
    crafted = normal(30, seed=77)

    def updates(round_, model):
        rows = honest(round_, model, 12)
        rows[[3, 8, 9]] = crafted
        return rows

    last = run(12, updates, normal(30), start=8)[-1]
    assert last.accepted.tolist() == [client in (3, 8, 9) for client in range(12)]


def test_fldetector_drops_few_clients_without_an_attack():
    dropped = []
    for seed in range(6):

        def updates(round_, model, seed=seed):
            return honest(100 * seed + round_, model, 20)

        outcomes = run(12, updates, normal(40), seed=seed, start=8)
        dropped += [1 - outcome.accepted.double().mean().item() for outcome in outcomes[7:]]
    assert np.mean(dropped) < 0.1


def test_a_client_that_misses_every_other_round_is_still_dropped():
    present = [[c for c in range(10) if c != 4 or t % 2 == 0] for t in range(13)]
    model, state = normal(30), {}
    for round_, clients in enumerate(present):
        rows = honest(round_, model, 10)
        rows[4] = 2 * normal(30, seed=900 + round_)
        numbers = torch.tensor(clients)
        outcome = fldetector(rows[clients], model, numbers, seeded(round_), state, start=10)
        state, model = outcome.state, model + outcome.update
    assert outcome.accepted.tolist() == [client != 4 for client in range(10)]


def test_a_new_client_gets_the_average_score():
    model, state = normal(20), {}
    for round_ in range(6):
        clients = torch.arange(6 if round_ < 5 else 7)
        outcome = fldetector(honest(round_, model, len(clients)), model, clients, seeded(), state)
        state, model = outcome.state, model + outcome.update
    assert_close(outcome.scores[6].item(), 1 / 7)
    assert_close(outcome.scores[:6].mean().item(), 1 / 7)


def test_fldetector_handles_identical_and_huge_updates():
    model, state = torch.zeros(8), {}
    for round_, value in enumerate([1.0, 1.0, 1.0, 3e38, 1.0, 0.0, 0.0, -3e38, 1.0]):
        rows = torch.full((5, 8), value)
        outcome = fldetector(rows, model, torch.arange(5), seeded(), state, start=2)
        state = outcome.state
        assert outcome.scores.isfinite().all()
        assert_close(outcome.scores, torch.full((5,), 0.2).double())
        assert outcome.accepted.all()
        if outcome.update.isfinite().all() and round_ != 4:
            model = model + outcome.update.clamp(-1, 1)


def test_the_expected_update_of_an_absent_client_is_finite():
    # B is the identity, so client 1 is expected at 3e38 + 3e38, beyond float32
    axis, model = torch.tensor([[1.0, 0.0]]), torch.tensor([3e38, 0.0])
    state = {
        "rounds": torch.tensor(2),
        "parameters": torch.zeros(2),
        "aggregate": torch.zeros(2),
        "moves": axis,
        "changes": axis,
        "clients": torch.arange(2),
        "last": model.repeat(2, 1),
        "distances": torch.ones(1, 2, dtype=torch.float64),
    }
    outcome = fldetector(torch.ones(1, 2), model, torch.tensor([0]), seeded(), state)
    assert outcome.state["last"].tolist() == [[1.0, 1.0], [torch.finfo(torch.float32).max, 0.0]]


@pytest.mark.parametrize("wrong", [{"window": 0}, {"start": 0}])
def test_fldetector_refuses_parameters_out_of_range(wrong):
    with pytest.raises(RequirementError, match=next(iter(wrong))):
        fldetector(torch.ones(2, 2), torch.ones(2), torch.arange(2), seeded(), {}, **wrong)
