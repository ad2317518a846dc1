"""Tests of SkyMask against hostile and unusual clients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from skymask.defenses import skymask
from skymask.federation.defend import server_update
from skymask.federation.evaluate import evaluate
from skymask.federation.local_training import train_client
from skymask.federation.train import train, training_data
from skymask.masks.evidence import usual_length
from skymask.models.samples import Samples
from skymask.seeds import generator
from skymask.study.experiment import Method
from tests.contract.harness import SHAPE, Problem
from tests.support.federations import federation

CLIENTS = 20
# parameters of the output layer of the multilayer perceptron
OUTPUT = 64 * 10 + 10
BIASED, IID = Method("label_bias", {"bias": 0.5}), Method("iid")


def parties_of(malicious, partition=BIASED, **changes):
    """Digits for twenty clients, all of which train with all of their samples."""
    usual = {"model": "mlp", "clients": CLIENTS, "root_size": 100, "local_lr": 0.5}
    return federation(
        **{**usual, "samples_per_client": None, "batch_size": 32, **changes},
        partition=partition,
        malicious=malicious,
    )


def play(parties, craft, count, **options):
    """Play rounds whose outcomes move the model.

    ``craft(updates, malicious, w, round)`` returns the updates [f, d] of the malicious clients.
    Returns per round the outcome, the updates and the server's update, and the final accuracy.
    """
    own, model, state, played = training_data(parties), parties.initial_parameters(), {}, []
    for round_ in range(1, count + 1):
        sent = train(parties, own, model, round_).updates.clone()
        sent[parties.malicious] = craft(sent, parties.malicious, model, round_)
        server = server_update(parties, model, round_)
        outcome = judged(parties, sent, model, server, state=state, **options)
        played.append((outcome, sent, server))
        model, state = model + outcome.update, outcome.state
        assert model.isfinite().all()
    return played, evaluate(parties, model).accuracy


def judged(parties, sent, model, server, **options):
    loss = parties.functional_model.loss_on(parties.root)
    offers = {"model": parties.functional_model, "root": parties.root, **options}
    return skymask(sent, model, loss, server, **offers)


def oracle(parties, count):
    """The accuracy after rounds with the mean of the benign updates."""
    own, model = training_data(parties), parties.initial_parameters()
    for round_ in range(1, count + 1):
        model = model + train(parties, own, model, round_).updates[~parties.malicious].mean(dim=0)
    return evaluate(parties, model).accuracy


def bound(sent, server, limit=2.0):
    """The longest that an update may be."""
    return limit * usual_length(sent.double().norm(dim=1), server.double().norm()).item()


# --- crafted updates ----------------------------------------------------------------------------


def noise(updates, malicious, _, round_):
    source = torch.Generator().manual_seed(round_)
    return 200 * torch.randn(updates[malicious].shape, generator=source)


def flipped(updates, malicious, *_):
    return -1000 * updates[malicious]


def boosted(updates, malicious, w, _):
    model = torch.zeros_like(w)
    model[-OUTPUT:] = 100 * w[-OUTPUT:]
    return (model - w).expand_as(updates[malicious])


def colluding(updates, malicious, w, _):
    """Each model has a finite loss; their mixture has not."""
    models = torch.zeros_like(updates[malicious])
    models[::2, :-OUTPUT] = 1e20
    models[1::2, -OUTPUT:] = 1e20
    return models - w


def near_copies(updates, malicious, _, round_):
    source = torch.Generator().manual_seed(round_)
    benign = updates[~malicious]
    scatter = 0.02 * torch.randn(updates[malicious].shape, generator=source)
    return -benign.mean(dim=0) + benign.std(dim=0) * scatter


# --- attacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length_limit", [2.0, None])
@pytest.mark.parametrize("malicious", [4, 8])
@pytest.mark.parametrize("craft", [noise, flipped])
def test_huge_updates_are_rejected_and_honest_clients_are_no_copies(craft, malicious, length_limit):
    parties = parties_of(malicious)
    played, _ = play(parties, craft, 3, length_limit=length_limit)
    for outcome, _, _ in played:
        assert outcome.accepted.equal(~parties.malicious)


@pytest.mark.parametrize("malicious", [4, 8])
def test_more_clients_whose_mixture_has_an_infinite_loss_are_rejected(malicious):
    parties = parties_of(malicious)
    for outcome, _, _ in play(parties, colluding, 3)[0]:
        assert outcome.accepted.equal(~parties.malicious)


@pytest.mark.parametrize("malicious", [4, 8, 12])
def test_near_copies_are_all_rejected(malicious):
    parties = parties_of(malicious)
    for outcome, _, _ in play(parties, near_copies, 3)[0]:
        assert outcome.accepted.equal(~parties.malicious)


@pytest.mark.parametrize("clusters", ["auto", 2])
@pytest.mark.parametrize("partition", [BIASED, IID])
def test_the_model_survives_two_clients_whose_models_only_mix_to_an_infinite_loss(
    partition, clusters
):
    parties = parties_of(2, partition)
    played, accuracy = play(parties, colluding, 11, clusters=clusters)
    for outcome, sent, server in played:
        pull = outcome.weights[parties.malicious].double() @ sent[parties.malicious].double()
        assert pull.norm() <= 1.001 * 2 * bound(sent, server) / outcome.accepted.sum()
        assert outcome.accepted[~parties.malicious].any()
    assert accuracy > oracle(parties, 11) - 0.03


@pytest.mark.parametrize("clusters", ["auto", 2])
def test_without_a_limit_an_infinite_loss_of_the_mixture_rejects_all_clients(clusters):
    parties = parties_of(2)
    played, _ = play(parties, colluding, 2, clusters=clusters, length_limit=None)
    for outcome, _, _ in played:
        # those left out have a loss of their own that is not finite: no client has
        assert not outcome.accepted.any()
        assert outcome.update.eq(0).all()
        assert outcome.weights.eq(0).all()


@pytest.mark.parametrize("partition", [BIASED, IID])
def test_one_client_that_boosts_its_output_layer_moves_the_model_little(partition):
    parties = parties_of(1, partition)
    played, accuracy = play(parties, boosted, 11)
    for outcome, sent, server in played:
        assert outcome.accepted[~parties.malicious].all()
        pull = outcome.weights[parties.malicious].double() @ sent[parties.malicious].double()
        assert pull.norm() <= 1.001 * bound(sent, server) / outcome.accepted.sum()
    assert accuracy > oracle(parties, 11) - 0.03


# --- honest clients -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("two_steps", [4, 15])
def test_clients_with_one_local_step_next_to_two_are_not_rejected(two_steps, seed):
    changes = {"model": "logistic_regression", "clients": 30}
    parties = parties_of(0, IID, **changes, data_seed=seed, training_seed=seed)
    start, state = parties.initial_parameters(), {}
    for round_ in range(1, 4):
        rows = []
        for client, own in enumerate(training_data(parties)):
            some = own.select(torch.arange(40 if client < two_steps else 32))
            draws = generator(round_, "steps", client)
            settings = parties.local_training
            rows.append(train_client(parties.model, start, some, settings, draws))
        updates = torch.stack(rows)
        server = server_update(parties, start, round_)
        outcome = judged(parties, updates, start, server, state=state)
        assert outcome.accepted.all()
        start, state = start + outcome.update, outcome.state


@pytest.mark.parametrize("attacked", [False, True])
@pytest.mark.parametrize("clusters", ["auto", 2])
def test_clients_without_samples_are_accepted_without_weight_and_change_no_verdict(
    clusters, attacked
):
    parties = parties_of(4)
    model = parties.initial_parameters()
    sent = train(parties, training_data(parties), model, 1).updates.clone()
    if attacked:
        sent[parties.malicious] = near_copies(sent, parties.malicious, model, 1)
    empty = torch.nonzero(~parties.malicious).flatten()[:3]
    sent[empty] = 0
    server = server_update(parties, model, 1)
    outcome = judged(parties, sent, model, server, clusters=clusters)
    assert outcome.accepted[empty].all()
    assert outcome.weights[empty].eq(0).all()
    others = torch.ones(CLIENTS, dtype=torch.bool)
    others[empty] = False
    alone = judged(parties, sent[others], model, server, clusters=clusters)
    if clusters == "auto":
        assert alone.accepted.equal(~parties.malicious[others] if attacked else others[others])
    assert outcome.accepted[others].equal(alone.accepted)
    assert_close(outcome.update, alone.update)
    assert_close(outcome.weights[others], alone.weights)


def test_if_no_client_has_samples_the_model_stays():
    parties = parties_of(0)
    model = parties.initial_parameters()
    none = torch.zeros(CLIENTS, len(model))
    outcome = judged(parties, none, model, server_update(parties, model, 1))
    assert outcome.accepted.all()
    assert outcome.update.eq(0).all()
    assert outcome.weights.eq(0).all()


# --- any updates --------------------------------------------------------------------------------

KINDS = ("honest", "huge", "tiny", "zero", "copy", "opposed", "far")


def sent_of(problem, kinds, seed):
    """Updates of the given kinds."""
    honest = problem.updates
    source = torch.Generator().manual_seed(seed)
    of_kind = {
        "honest": lambda row: row,
        "huge": lambda row: 1e30 * row,
        "tiny": lambda row: 1e-30 * row,
        "zero": lambda row: 0 * row,
        "copy": lambda _: honest[0],
        "opposed": lambda row: -3 * row,
        "far": lambda row: 50 * torch.randn(row.shape, generator=source),
    }
    return torch.stack([of_kind[kind](row) for kind, row in zip(kinds, honest, strict=True)])


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=9),
    seed=st.integers(0, 99),
    clusters=st.sampled_from(["auto", 2]),
    limit=st.sampled_from([0.5, 2.0, None]),
    at_rest=st.booleans(),
)
def test_any_updates_give_a_bounded_mean_of_the_accepted_clients(
    kinds, seed, clusters, limit, at_rest
):
    problem = Problem.draw(len(kinds), 0, 30, seed)
    updates = sent_of(problem, kinds, seed)
    server = 0 * problem.server_update if at_rest else problem.server_update
    options = {"clusters": clusters, "length_limit": limit, "model": problem.model}
    options["root"] = root_of(problem)
    outcome = skymask(updates, problem.global_parameters, problem.loss, server, **options)
    assert outcome.update.isfinite().all()
    assert (outcome.weights >= 0).all()
    assert outcome.weights.sum() <= 1 + 1e-6
    assert (outcome.weights[~outcome.accepted] == 0).all()
    lengths = updates.double().norm(dim=1)
    if limit is not None:
        assert outcome.update.double().norm() <= (1 + 1e-5) * bound(updates, server, limit)
        expected = outcome.weights.double() @ updates.double()
        assert_close(outcome.update.double(), expected, rtol=1e-4, atol=1e-6)
    # an update of length zero is never rejected for what it is
    if outcome.coordinates is not None:
        judged_rows = outcome.coordinates[:-1, 0].isfinite()
        assert outcome.accepted[judged_rows & (lengths == 0)].all()


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=9),
    seed=st.integers(0, 99),
    limit=st.sampled_from([0.5, 2.0, None]),
)
def test_reordering_any_updates_reorders_the_verdicts(kinds, seed, limit):
    # in float32 the order of a sum decides some coordinates of a mask
    problem = Problem.draw(len(kinds), 0, 30, seed, dtype=torch.float64)
    updates = sent_of(problem, kinds, seed)
    order = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(seed))
    given_ = problem.global_parameters, problem.loss, problem.server_update
    outcome = skymask(updates, *given_, length_limit=limit)
    other = skymask(updates[order], *given_, length_limit=limit)
    assert other.accepted.equal(outcome.accepted[order])
    assert_close(other.weights, outcome.weights[order], rtol=1e-4, atol=1e-6)


def root_of(problem):
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % problem.model.module.classes
    return Samples(torch.rand(40, *SHAPE, generator=source), labels)
