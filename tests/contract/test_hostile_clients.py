"""Hostile updates: each defense gives a verdict or a sentence, and the model stays finite."""

import re
import signal

import pytest
import torch

from skymask.attacks import ATTACKS
from skymask.contracts import RequirementError, call
from skymask.defenses import DEFENSES, PRE_AGGREGATORS
from skymask.models.samples import Samples
from skymask.study.experiment import Method
from tests.support.federations import carried, federation

from .harness import Problem, bits, cases

LARGEST = torch.finfo(torch.float32).max


def _signs(like):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(1)).sign()


SENDS = {
    "1e38": lambda own: torch.full_like(own, 1e38),
    "-1e38": lambda own: torch.full_like(own, -1e38),
    "largest": lambda own: torch.full_like(own, LARGEST),
    "1e38 of both signs": lambda own: 1e38 * _signs(own),
    "squares overflow": lambda own: 1e20 * own,
    "denormals": lambda own: torch.full_like(own, 1e-42),
    "zeros": torch.zeros_like,
    "copies": lambda own: own[:1].expand_as(own),
    "one of each": lambda own: torch.stack(
        [[1e38, 0.0, 1e-42, -LARGEST][i % 4] + 0 * row for i, row in enumerate(own)]
    ),
}
"""What hostile clients send in the place of their own updates [m, d], all finite."""

NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}

COMPOSITIONS = [("nnm", "krum"), ("bucketing", "median"), ("norm_clip", "fedavg")]


@pytest.fixture(autouse=True)
def watchdog():
    """A test that hangs fails; nothing here takes seconds."""

    def bark(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


every_defense = pytest.mark.parametrize(("name", "parameters"), cases(DEFENSES))
every_rule = pytest.mark.parametrize("name", [*DEFENSES, *PRE_AGGREGATORS])


def rule(name):
    return (DEFENSES | PRE_AGGREGATORS)[name]


@every_defense
@pytest.mark.parametrize("kind", SENDS)
@pytest.mark.parametrize("who", ["the first", "the last", "f", "most", "all"])
def test_a_rule_accepts_all_finite_updates(name, parameters, kind, who):
    n, f = 12, 2
    problem = Problem.draw(n, f, 30)
    drawn = problem.malicious.nonzero().flatten().tolist()
    chosen = {"the first": [0], "the last": [n - 1], "f": drawn, "most": range(7), "all": range(n)}
    rows = list(chosen[who])
    updates = problem.updates.clone()
    updates[rows] = SENDS[kind](updates[rows])
    sent = problem.sending(updates)
    before = bits(sent.updates)
    outcome = sent.aggregate(name, parameters)
    assert bits(sent.updates) == before
    assert outcome.update.shape == (30,)
    assert not outcome.update.isnan().all()
    assert outcome.accepted is None or outcome.accepted.shape[0] == n
    assert outcome.weights is None or outcome.weights.isfinite().all()
    # what a rule remembers must not spoil the rounds to come
    assert all(value.isfinite().all() for value in outcome.state.values())
    if who in ("the first", "the last") and name != "fedavg":
        assert outcome.update.isfinite().all()


@every_rule
@pytest.mark.parametrize("kind", NOT_FINITE)
def test_a_rule_names_the_rows_that_are_not_finite(name, kind):
    problem = Problem.draw(12, 2, 30)
    updates = problem.updates.clone()
    updates[[3, 7], [0, 29]] = NOT_FINITE[kind]
    sentence = rf"^{name}: the updates of rows \[3, 7\] are not finite: reject these clients first$"
    with pytest.raises(RequirementError, match=sentence):
        call(rule(name), problem.sending(updates).offers(), {})


WRONG_SHAPES = {
    "a vector": (lambda u: u[0], r"not \[30\]"),
    "no clients": (lambda u: u[:0], r"not \[0, 30\]"),
    "no coordinates": (lambda u: u[:, :0], r"not \[12, 0\]"),
    "a cube": (lambda u: u[None], r"not \[1, 12, 30\]"),
    "a scalar": (lambda u: u[0, 0], r"not \[\]"),
    "a list": (lambda u: u.tolist(), "not list"),
    "integers": (lambda u: u.long(), r"floating numbers, not torch\.int64"),
}


@every_rule
@pytest.mark.parametrize("kind", WRONG_SHAPES)
def test_a_wrong_shape_is_refused_with_a_sentence(name, kind):
    make, sentence = WRONG_SHAPES[kind]
    problem = Problem.draw(12, 2, 30)
    offers = {**problem.offers(), "updates": lambda: make(problem.updates)}
    with pytest.raises(RequirementError) as caught:
        call(rule(name), offers, {})
    # a rule may be undefined for so few rows, and says that first
    message = str(caught.value)
    assert re.search(rf"^{name}: updates must be .*{sentence}$", message) or "(n = " in message


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("fltrust", "server_update"),
        ("skymask", "global_parameters"),
        ("oracle", "malicious"),
        ("foolsgold", "clients"),
    ],
)
def test_an_argument_that_does_not_fit_the_updates_is_named(name, argument):
    problem = Problem.draw(12, 2, 30)
    whole = problem.offers()[argument]()
    offers = {**problem.offers(), argument: lambda: torch.cat([whole, whole])}
    length = len(whole)
    sentence = rf"^{name}: {argument} must be a tensor \[{length}\] .* not \[{2 * length}\]$"
    with pytest.raises(RequirementError, match=sentence):
        call(DEFENSES[name], offers, {})


# --- through the stages of three rounds -----------------------------------------------------------

SMALL = {"clients": 8, "samples_per_client": 20, "root_size": 20, "malicious": 2}


@pytest.fixture
def hostile(monkeypatch):
    """Enter an attack that sends a kind of updates in the first two rounds, then its own."""

    def enter(kind):
        def send(updates, malicious, state):
            count = state.get("count", torch.zeros(1))
            if count < 2:
                updates[malicious] = {**SENDS, **_FILLS}[kind](updates[malicious])
            return updates, {"count": count + 1}

        monkeypatch.setitem(ATTACKS, "send", send)
        return Method("send")

    return enter


_FILLS = {
    name: (lambda own, value=value: torch.full_like(own, value))
    for name, value in NOT_FINITE.items()
}


@pytest.mark.parametrize("kind", [*SENDS, *_FILLS])
@pytest.mark.parametrize("name", [*DEFENSES, *COMPOSITIONS], ids=str)
@pytest.mark.parametrize("count", [2, 7])
def test_the_global_model_stays_finite(hostile, kind, name, count):
    *before, last = (name,) if isinstance(name, str) else name
    defense = Method(last, pre_aggregators=tuple(map(Method, before)))
    changes = {**SMALL, "malicious": count, "attack": hostile(kind), "defense": defense}
    parties = federation(**changes, assumed_malicious=1)
    progress, span = carried(parties, range(1, 4))
    assert progress.global_parameters.isfinite().all()
    # NaN stands where a client has nothing yet
    assert not any(value.isinf().any() for value in progress.defense_state.values())
    assert [row["round"] for row in span.aggregates] == [1, 2, 3]
    for row in span.aggregates:
        assert row["model_updated"] or row["note"]
    for row in span.metrics:
        assert 0 <= row["accuracy"] <= 1


ROOTS = {
    "one sample": lambda root: root.select(torch.tensor([0])),
    "one class": lambda root: root.select((root.labels == root.labels[0]).nonzero().flatten()),
    "a class missing": lambda root: root.select((root.labels != 3).nonzero().flatten()),
    "wrong labels": lambda root: Samples(root.features, (root.labels + 1) % 10),
    "all labels the same": lambda root: Samples(root.features, torch.zeros_like(root.labels)),
}


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("kind", ROOTS)
def test_poor_root_data_give_finite_numbers(hostile, name, kind):
    parties = federation(**SMALL, attack=hostile("1e38"), defense=Method(name), assumed_malicious=2)
    parties.__dict__["root"] = ROOTS[kind](parties.root)
    progress, span = carried(parties, range(1, 4))
    assert progress.global_parameters.isfinite().all()
    assert len(span.aggregates) == 3
    for row in span.clients:
        score = row.get("score")
        assert score is None or score == score


def test_a_step_that_overflows_is_not_taken():
    parties = federation(**SMALL | {"malicious": 0}, global_lr=1e41)
    progress, span = carried(parties, range(1, 3))
    assert progress.global_parameters.equal(parties.initial_parameters())
    assert [row["note"] for row in span.aggregates] == ["the next global model was not finite"] * 2
    assert not any(row["model_updated"] for row in span.aggregates)
