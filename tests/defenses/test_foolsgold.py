"""Tests of FoolsGold against an implementation with loops."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import foolsgold
from tests.support.updates import (
    normal,
)


def plain_foolsgold(history, confidence):
    """The rule with loops and a dict of sums; ``history`` is a list of {client: update}."""
    sums = {}
    for row in history:
        for client, update in row.items():
            sums[client] = sums.get(client, 0) + update
    clients = list(history[-1])
    n = len(clients)
    cosines = np.zeros((n, n))
    for i, one in enumerate(clients):
        for j, other in enumerate(clients):
            if i != j:
                a, b = sums[one], sums[other]
                cosines[i, j] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    alike = [max([cosines[i, j] for j in range(n) if j != i] + [0]) for i in range(n)]
    alpha = np.zeros(n)
    for i in range(n):
        worst = 0.0
        for j in range(n):
            if i != j:
                factor = alike[i] / alike[j] if alike[j] > alike[i] else 1
                worst = max(worst, cosines[i, j] * factor)
        alpha[i] = min(max(1 - worst, 0), 1)
    alpha /= alpha.max()
    with np.errstate(divide="ignore"):
        alpha = np.clip(confidence * (np.log(alpha / (1 - alpha)) + 0.5), 0, 1)
    return alpha, sum(a * history[-1][c] for a, c in zip(alpha, clients, strict=True)) / alpha.sum()


@pytest.mark.parametrize("confidence", [1.0, 0.4])
@pytest.mark.parametrize("seed", range(8))
def test_foolsgold_is_the_rule_with_loops_over_rounds_with_absent_clients(seed, confidence):
    numbers = [[4, 0, 7, 2, 9], [0, 2, 7, 9], [9, 7, 1, 2, 0, 4], [1, 7], [3, 4, 9]]
    centre = normal(6, seed=seed)
    history, state = [], {}
    for round_, clients in enumerate(numbers):
        updates = 0.7 * centre + normal(len(clients), 6, seed=10 * seed + round_)
        history.append(dict(zip(clients, updates.numpy(), strict=True)))
        outcome = foolsgold(updates, torch.tensor(clients), state, confidence=confidence)
        alpha, update = plain_foolsgold(history, confidence)
        assert_close(outcome.scores, torch.from_numpy(alpha), rtol=1e-8, atol=1e-9)
        assert_close(outcome.update, torch.from_numpy(update), rtol=1e-7, atol=1e-9)
        assert_close(outcome.weights @ updates, outcome.update)
        assert outcome.accepted.tolist() == (alpha > 0).tolist()
        state = outcome.state
    assert state["clients"].tolist() == [0, 1, 2, 3, 4, 7, 9]


def test_foolsgold_by_hand_over_three_rounds():
    clients = torch.tensor([0, 1, 2, 3])
    state = {}
    # 0 and 1 are never alike in a round, but their sums are after the second
    rounds = [
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], [1, 1, 1, 1]),
        ([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], [0, 0, 1, 1]),
        # h_3 becomes (0, 0, 2, √12), half alike to h_2; α = 0, 0, ½, ½ are rescaled to 0, 0, 1, 1
        ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 2, 3**0.5 * 2 - 2]], [0, 0, 1, 1]),
    ]
    for rows, alpha in rounds:
        updates = torch.tensor(rows, dtype=torch.float64)
        outcome = foolsgold(updates, clients, state)
        assert_close(outcome.scores, torch.tensor(alpha, dtype=torch.float64))
        expected = (torch.tensor(alpha, dtype=torch.float64) @ updates) / sum(alpha)
        assert_close(outcome.update, expected)
        state = outcome.state
    assert_close(state["sums"][3], torch.tensor([0, 0, 2, 12**0.5], dtype=torch.float64))
    assert_close(state["sums"][0], torch.tensor([2, 2, 0, 0], dtype=torch.float64))


def test_foolsgold_between_no_and_full_weight_by_hand():
    # cosines 0.6 between 0 and 1, 0 with 2: α = 0.4, 0.4, 1, and ln(0.4/0.6) + 0.5 = 0.0945
    updates = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]).double()
    outcome = foolsgold(updates, torch.arange(3), {})
    small = math.log(2 / 3) + 0.5
    assert_close(outcome.scores.tolist(), [small, small, 1.0], rtol=1e-6, atol=0)
    # and κ = 0.5 leaves half of that, and still the whole of what is infinite
    outcome = foolsgold(updates, torch.arange(3), {}, confidence=0.5)
    assert_close(outcome.scores.tolist(), [small / 2, small / 2, 1.0], rtol=1e-6, atol=0)


def test_foolsgold_pardons_by_hand():
    # v = 0.3, 0.6, 0.6; client 0 is alike to 1 by 0.3, pardoned to 0.3 · 0.3 / 0.6, so α_0 = 0.85
    cosines = torch.tensor([[1.0, 0.3, 0.0], [0.3, 1.0, 0.6], [0.0, 0.6, 1.0]]).double()
    outcome = foolsgold(torch.linalg.cholesky(cosines), torch.arange(3), {})
    ratio = 0.4 / 0.85
    small = math.log(ratio / (1 - ratio)) + 0.5
    assert_close(outcome.scores.tolist(), [1.0, small, small], rtol=1e-6, atol=0)


def test_foolsgold_gives_copies_no_weight_and_a_lone_client_all():
    updates = normal(7, 50)
    updates[2] = updates[5] = updates[0]
    outcome = foolsgold(updates, torch.arange(7), {})
    assert outcome.accepted.tolist() == [False, True, False, True, True, False, True]
    alone = foolsgold(updates[:1], torch.tensor([3]), {})
    assert_close(alone.update, updates[0])
    same = foolsgold(updates[:1].repeat(5, 1), torch.arange(5), {})
    assert not same.accepted.any()
    assert same.update.eq(0).all()


def test_foolsgold_handles_sums_beyond_float32():
    updates = normal(5, 20).float()
    updates[1] = 3e38
    state = {}
    for _ in range(3):
        outcome = foolsgold(updates, torch.arange(5), state)
        state = outcome.state
    assert state["sums"].isfinite().all()
    assert outcome.scores.isfinite().all()


def test_foolsgold_refuses_a_confidence_out_of_range():
    with pytest.raises(RequirementError, match="confidence"):
        foolsgold(torch.ones(2, 2), torch.arange(2), {}, confidence=0.0)
