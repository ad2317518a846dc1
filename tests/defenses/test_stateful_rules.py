"""Rules that remember: histories of rounds, against byzfl and against plain numpy with dicts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from skymask.artifacts.tensors import read_state, write_state
from skymask.contracts import RequirementError
from skymask.data.datasets import vision  # noqa: F401 - declares what byzfl's torchvision lacks here
from skymask.defenses import centered_clipping, fldetector, foolsgold
from skymask.defenses.fldetector import hessian_product, last_of_lower_cluster

byzfl = pytest.importorskip("byzfl")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def assert_same_state(one, other):
    assert set(one) == set(other)
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert tensor.shape == other[name].shape
        assert tensor.numpy().tobytes() == other[name].numpy().tobytes(), name


# --- centred clipping


@pytest.mark.filterwarnings("ignore:divide by zero")  # byzfl, where an offset is zero
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3), (7, 5), (10, 40)])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("tau", [0.5, 2.0, 100.0])
def test_centred_clipping_is_that_of_byzfl_over_rounds(n, d, steps, tau):
    reference = byzfl.CenteredClipping(L=steps, tau=tau)
    state = {}
    for round_ in range(4):
        updates = 3 * normal(n, d, seed=round_)
        outcome = centered_clipping(updates, state, tau=tau, steps=steps)
        assert_close(outcome.update, torch.from_numpy(reference(updates.numpy())))
        assert outcome.accepted is None
        assert outcome.weights is None
        state = outcome.state


def test_centred_clipping_by_hand():
    # from 0: lengths 2 and 10 beside τ = 5, so (0, 2) and (3, 4) are averaged
    first = centered_clipping(torch.tensor([[0.0, 2.0], [6.0, 8.0]]), {}, tau=5.0)
    assert first.update.tolist() == [1.5, 3.0]
    # from (1.5, 3): offsets (0, 1) and (0, −20), the second cut to (0, −5)
    second = centered_clipping(torch.tensor([[1.5, 4.0], [1.5, -17.0]]), first.state, tau=5.0)
    assert second.update.tolist() == [1.5, 1.0]


def test_centred_clipping_limits_a_huge_update_and_keeps_its_center():
    updates = torch.zeros(4, 3)
    updates[1, 2] = 3e38
    state = {"centre": torch.tensor([1.0, 0.0, 0.0])}
    outcome = centered_clipping(updates, state, tau=1.0)
    assert_close(outcome.update, torch.tensor([0.25, 0.0, 0.25]))
    assert state["centre"].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("wrong", [{"tau": 0.0}, {"steps": 0}])
def test_centred_clipping_refuses_parameters_out_of_range(wrong):
    with pytest.raises(RequirementError, match=next(iter(wrong))):
        centered_clipping(torch.ones(2, 2), {}, **wrong)


# --- FoolsGold


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


def test_foolsgold_stands_sums_beyond_float32():
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


# --- FLDetector


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
def test_the_gap_statistic_is_tibshirani_s_by_brute_force(seed):
    source = np.random.default_rng(seed)
    scores = source.normal(size=7) + source.choice([0, 3, 10]) * (np.arange(7) < 3)
    one, other = seeded(seed), seeded(seed)
    found = last_of_lower_cluster(torch.from_numpy(scores), one)
    assert (scores <= found).tolist() == plain_cut(scores, other).tolist()
    assert one.get_state().equal(other.get_state())  # as many reference sets


@pytest.mark.parametrize("seed", range(3))
def test_the_gap_statistic_turns_where_the_recipe_does(seed):
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


# who is there in each round: client 2 misses two, client 8 comes late, 5 goes for good
PRESENT = [
    [0, 1, 2, 3, 4, 5, 6],
    [0, 1, 2, 3, 4, 5, 6],
    [0, 1, 2, 3, 4, 5, 6],
    [0, 1, 3, 4, 5, 6],
    [8, 6, 4, 3, 2, 1, 0, 5],
    [0, 1, 2, 3, 4, 6, 8],
    [0, 1, 3, 4, 6, 8],
    [1, 0, 2, 3, 4, 6, 8],
    [0, 1, 2, 3, 4, 6, 8],
]


def history(seed, d=10, dtype=torch.float64):
    """Updates of each round: gradients of a quadratic with noise; clients 1 and 4 are erratic."""
    root = normal(d, d, seed=seed)
    hessian = root @ root.T / d + torch.eye(d)

    def updates(round_, model, clients):
        noise = normal(9, d, seed=1000 * seed + round_)
        scale = torch.full((9,), 0.02)
        scale[[1, 4]] = 1.0
        rows = -0.2 * hessian @ model + scale[:, None] * noise
        return rows[clients].to(dtype)

    return normal(d, seed=seed + 7).to(dtype), updates


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


def test_fldetector_drops_erratic_clients_from_its_start_on_and_not_before():
    def updates(round_, model):
        rows = honest(round_, model, 12)
        rows[[3, 8, 9]] = 2 * normal(3, len(model), seed=500 + round_)
        return rows

    outcomes = run(24, updates, normal(30), start=20)
    expected = [client not in (3, 8, 9) for client in range(12)]
    for round_, outcome in enumerate(outcomes, start=1):
        assert outcome.accepted.tolist() == (expected if round_ >= 20 else [True] * 12)
        assert_close(outcome.scores.sum().item(), 1.0)


def test_fldetector_inverts_under_one_crafted_update_round_after_round():
    crafted = normal(30, seed=77)

    def updates(round_, model):
        rows = honest(round_, model, 12)
        rows[[3, 8, 9]] = crafted
        return rows

    last = run(12, updates, normal(30), start=8)[-1]
    assert last.accepted.tolist() == [client in (3, 8, 9) for client in range(12)]


def test_fldetector_drops_few_where_nobody_attacks():
    dropped = []
    for seed in range(6):

        def updates(round_, model, seed=seed):
            return honest(100 * seed + round_, model, 20)

        outcomes = run(12, updates, normal(40), seed=seed, start=8)
        dropped += [1 - outcome.accepted.double().mean().item() for outcome in outcomes[7:]]
    assert np.mean(dropped) < 0.1


def test_a_client_that_sits_out_every_other_round_does_not_get_away():
    present = [[c for c in range(10) if c != 4 or t % 2 == 0] for t in range(13)]
    model, state = normal(30), {}
    for round_, clients in enumerate(present):
        rows = honest(round_, model, 10)
        rows[4] = 2 * normal(30, seed=900 + round_)
        numbers = torch.tensor(clients)
        outcome = fldetector(rows[clients], model, numbers, seeded(round_), state, start=10)
        state, model = outcome.state, model + outcome.update
    assert outcome.accepted.tolist() == [client != 4 for client in range(10)]


def test_a_new_client_scores_as_the_others_do_on_average():
    model, state = normal(20), {}
    for round_ in range(6):
        clients = torch.arange(6 if round_ < 5 else 7)
        outcome = fldetector(honest(round_, model, len(clients)), model, clients, seeded(), state)
        state, model = outcome.state, model + outcome.update
    assert_close(outcome.scores[6].item(), 1 / 7)
    assert_close(outcome.scores[:6].mean().item(), 1 / 7)


@pytest.mark.parametrize("rule", ["fldetector", "foolsgold"])
def test_the_order_of_the_clients_does_not_matter_in_any_round(rule):
    model, updates = history(3)
    state, shuffled = {}, {}
    for round_, clients in enumerate(PRESENT):
        numbers = torch.tensor(clients)
        rows = updates(round_, model, clients)
        order = torch.randperm(len(clients), generator=seeded(round_))
        outcomes = []
        for memory, chosen in ((state, slice(None)), (shuffled, order)):
            sent = rows[chosen], numbers[chosen]
            if rule == "foolsgold":
                outcomes.append(foolsgold(*sent, memory))
            else:
                known = {"window": 3, "start": 5}
                outcomes.append(fldetector(sent[0], model, sent[1], seeded(), memory, **known))
        one, other = outcomes
        assert_close(other.update, one.update)
        assert_close(other.scores, one.scores[order])
        assert other.accepted.equal(one.accepted[order])
        state, shuffled = one.state, other.state
        model = model + one.update


@pytest.mark.parametrize("rule", ["fldetector", "foolsgold", "centered_clipping"])
def test_a_state_that_was_saved_gives_the_same_bits(rule, tmp_path):
    model, updates = history(2, dtype=torch.float32)
    model = model.float()
    state = {}
    for round_, clients in enumerate(PRESENT):
        rows, numbers = updates(round_, model.double(), clients), torch.tensor(clients)
        path = tmp_path / f"{round_}.parquet"
        write_state(path, "run", state)
        outcomes = []
        for memory in (state, read_state(path, "run")):
            before = {name: tensor.clone() for name, tensor in memory.items()}
            if rule == "centered_clipping":
                outcomes.append(centered_clipping(rows, memory, tau=0.5))
            elif rule == "foolsgold":
                outcomes.append(foolsgold(rows, numbers, memory))
            else:
                known = {"window": 3, "start": 5}
                outcomes.append(fldetector(rows, model, numbers, seeded(), memory, **known))
            assert_same_state(memory, before)
        one, other = outcomes
        assert one.update.dtype == torch.float32
        assert one.update.equal(other.update)
        assert_same_state(one.state, other.state)
        # nothing of the round is held on to: the server may change its model in place
        kept = {name: tensor.clone() for name, tensor in one.state.items()}
        state = kept
        model += one.update
        assert_same_state(one.state, kept)


def test_fldetector_stands_identical_and_huge_updates():
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


def test_what_an_absent_client_is_taken_to_have_sent_stays_finite():
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
