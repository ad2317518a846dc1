"""The simple defenses against hand-computed cases, brute force and the released code's arrays."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import fedavg, fltrust, krum, oracle, trimmed_mean

DATA = Path(__file__).parents[1] / "reference"


@pytest.fixture(params=["lr_12_clients", "lr_20_clients_40pct"])
def released(request):
    with np.load(DATA / f"{request.param}.npz") as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def matrices(rows, whole_numbers):
    """Random float64 matrices; whole numbers are full of ties."""
    shape = st.tuples(rows, st.integers(1, 5))
    if whole_numbers:
        elements = st.integers(-3, 3).map(float)
    else:
        elements = st.floats(-100, 100, allow_subnormal=False)
    return shape.flatmap(lambda s: hnp.arrays(np.float64, s, elements=elements))


either = st.booleans().flatmap(lambda whole: matrices(st.integers(1, 11), whole))


def test_aggregates_are_those_of_the_released_code(released):
    updates, server = released["updates"][:-1], released["updates"][-1]
    results = {
        "agg_fedavg": fedavg(updates),
        "agg_trimmed_mean": trimmed_mean(updates, int(released["num_malicious"])),
        "agg_fltrust": fltrust(updates, server),
    }
    for key, outcome in results.items():
        error = (outcome.update - released[key]).norm() / released[key].norm()
        assert error <= 1e-5, key


@given(updates=either)
def test_fedavg_is_the_mean_and_accepts_everybody(updates):
    outcome = fedavg(torch.from_numpy(updates))
    assert_close(outcome.update, torch.from_numpy(updates.mean(axis=0)))
    assert outcome.accepted.all()
    assert_close(outcome.weights.sum().item(), 1.0)


def test_fedavg_by_samples_weighs_by_sample_counts():
    updates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    outcome = fedavg(updates, torch.tensor([3, 1, 0]), weighting="samples")
    assert outcome.update.tolist() == [0.75, 0.25]
    assert outcome.weights.tolist() == [0.75, 0.25, 0.0]


@pytest.mark.parametrize("counts", [None, torch.tensor([0, 0])])
def test_fedavg_by_samples_needs_samples(counts):
    with pytest.raises(ValueError, match="needs the clients' sample counts"):
        fedavg(torch.ones(2, 3), counts, weighting="samples")


def test_oracle_is_the_mean_of_the_benign_clients():
    updates = torch.tensor([[1.0], [100.0], [3.0]])
    outcome = oracle(updates, torch.tensor([False, True, False]))
    assert outcome.update.tolist() == [2.0]
    assert outcome.accepted.tolist() == [True, False, True]
    assert oracle(updates, torch.ones(3, dtype=torch.bool)).update.tolist() == [0.0]


@given(updates=either, data=st.data())
def test_trimmed_mean_is_that_of_sorted_columns(updates, data):
    n = len(updates)
    f = data.draw(st.integers(0, (n - 1) // 2))
    expected = [np.mean(sorted(column)[f : n - f]) for column in updates.T.tolist()]
    outcome = trimmed_mean(torch.from_numpy(updates), f)
    assert_close(outcome.update, torch.tensor(expected, dtype=torch.float64))
    assert outcome.accepted is None
    assert outcome.weights is None


@pytest.mark.parametrize(
    ("column", "f", "expected"),
    [
        ([5.0, 1.0, 9.0, 2.0, 4.0], 0, 4.2),
        ([5.0, 1.0, 9.0, 2.0, 4.0], 1, 11 / 3),
        ([5.0, 1.0, 9.0, 2.0, 4.0], 2, 4.0),
        ([5.0, 1.0, 9.0, 2.0], 1, 3.5),
        ([2.0, 2.0, 2.0, 7.0, 7.0, 7.0], 2, 4.5),
        ([3.0], 0, 3.0),
    ],
)
def test_trimmed_mean_by_hand(column, f, expected):
    assert_close(trimmed_mean(torch.tensor(column)[:, None], f).update.item(), expected)


def brute_force_krum(updates, f):
    scores = []
    for i, row in enumerate(updates):
        others = [np.sum((row - other) ** 2) for j, other in enumerate(updates) if j != i]
        scores.append(sum(sorted(others)[: len(updates) - f - 2]))
    return np.array(scores)


@given(
    updates=st.booleans().flatmap(lambda whole: matrices(st.integers(3, 11), whole)),
    data=st.data(),
)
def test_krum_scores_and_choice_are_those_of_brute_force(updates, data):
    f = data.draw(st.integers(0, len(updates) - 3))
    outcome = krum(torch.from_numpy(updates), f)
    expected = brute_force_krum(updates, f)
    slack = 1e-9 * (1 + np.abs(updates).max() ** 2)
    assert_close(outcome.scores, torch.from_numpy(expected), rtol=1e-9, atol=slack)
    assert outcome.accepted.sum() == 1
    chosen = int(outcome.accepted.nonzero())
    assert expected[chosen] <= expected.min() + slack
    assert_close(outcome.update, torch.from_numpy(updates[chosen]))


def test_krum_by_hand():
    # n − f − 2 = 2 nearest: 2 scores 1 + 4, 3 scores 1 + 1, 4 scores 1 + 4, the others more
    updates = torch.tensor([[4.0], [100.0], [2.0], [3.0], [-50.0]])
    outcome = krum(updates, 1)
    assert_close(outcome.scores[[0, 2, 3]], torch.tensor([5.0, 5.0, 2.0], dtype=torch.float64))
    assert outcome.accepted.tolist() == [False, False, False, True, False]
    assert outcome.update.tolist() == [3.0]


def test_fltrust_by_hand():
    server = torch.tensor([2.0, 0.0])
    updates = torch.tensor([[1.0, 0.0], [3.0, 4.0], [-1.0, 0.0], [0.0, 5.0]])
    outcome = fltrust(updates, server)
    # trust 1, 0.6, 0, 0; each row scaled to length 2
    expected = (1.0 * torch.tensor([2.0, 0.0]) + 0.6 * torch.tensor([1.2, 1.6])) / 1.6
    assert_close(outcome.update, expected)
    assert_close(outcome.scores, torch.tensor([1, 0.6, 0, 0], dtype=torch.float64))
    assert outcome.accepted.tolist() == [True, True, False, False]


def test_fltrust_does_not_care_for_the_length_of_an_update():
    source = torch.Generator().manual_seed(0)
    updates, server = torch.randn(6, 9, generator=source), torch.randn(9, generator=source)
    stretched = updates * torch.tensor([1e-3, 1.0, 10.0, 1e4, 0.5, 2.0])[:, None]
    assert_close(fltrust(stretched, server).update, fltrust(updates, server).update)


def test_fltrust_gives_a_zero_update_no_trust():
    server = torch.tensor([1.0, 1.0])
    outcome = fltrust(torch.tensor([[0.0, 0.0], [3.0, 3.0]]), server)
    assert outcome.accepted.tolist() == [False, True]
    assert_close(outcome.update, server)


@pytest.mark.parametrize("server", [[1.0, 1.0], [0.0, 0.0]])
def test_fltrust_accepts_nobody_when_all_are_opposed_or_the_server_is_silent(server):
    outcome = fltrust(torch.tensor([[-1.0, -1.0], [-2.0, 0.0]]), torch.tensor(server))
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()
    assert outcome.weights.eq(0).all()


@pytest.mark.parametrize(
    ("rule", "n", "f", "sentence"),
    [
        (krum, 3, 1, "krum: krum needs n ≥ f + 3 clients (n = 3, f = 1)"),
        (krum, 2, 0, "krum: krum needs n ≥ f + 3 clients (n = 2, f = 0)"),
        (trimmed_mean, 4, 2, "trimmed_mean: trimmed_mean needs n > 2 f clients (n = 4, f = 2)"),
        (trimmed_mean, 2, 1, "trimmed_mean: trimmed_mean needs n > 2 f clients (n = 2, f = 1)"),
    ],
)
def test_undefined_n_and_f_are_refused_with_a_sentence(rule, n, f, sentence):
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        rule(torch.ones(n, 2), f)
    assert rule(torch.ones(n + 1, 2), f).update.tolist() == [1.0, 1.0]


def test_krum_with_one_neighbour_does_not_depend_on_the_order():
    # 1 and 1.5 are each other's nearest; the next neighbour of 1 is nearer
    updates = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
    for order in itertools.permutations(range(4)):
        assert krum(updates[list(order)], 1).update.tolist() == [1.0]
