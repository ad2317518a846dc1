"""Rounds in memory on a tiny federation of digits: what is trained, sent and recorded."""

import math
from typing import get_args

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from skymask.attacks import ATTACKS
from skymask.defenses import DEFENSES, Aggregation
from skymask.federation import local_training
from skymask.federation.attack import attack
from skymask.federation.defend import server_update
from skymask.federation.train import train, training_data
from skymask.models.loss_names import LossName
from skymask.seeds import generator
from skymask.study.experiment import SERVER, Method
from tests.support.federations import carried, federation, same_bits

ATTACKED = {"attack": Method("fang_trim"), "malicious": 2, "assumed_malicious": 2}


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_run_in_pieces_is_the_run_in_one_go(defense):
    changes = {**ATTACKED, "defense": Method(defense)}
    whole, span = carried(federation(**changes), range(1, 6))
    clients, metrics, progress = [], [], None
    for part in (range(1, 2), range(2, 5), range(5, 6)):
        # a fresh federation each time, as in a fresh process
        progress, piece = carried(federation(**changes), part, progress)
        clients += piece.clients
        metrics += piece.metrics
    assert same_bits(progress.global_parameters, whole.global_parameters)
    assert (clients, metrics) == (span.clients, span.metrics)


@pytest.mark.parametrize("loss", get_args(LossName))
@pytest.mark.parametrize("training", ["looped", "stacked"])
def test_a_run_in_pieces_is_the_run_in_one_go_with_each_loss(training, loss, monkeypatch):
    monkeypatch.setattr(local_training, "SMALL", 0 if training == "looped" else math.inf)
    changes = {"attack": Method("label_flip"), "malicious": 2, "defense": Method("skymask")}
    changes |= {"loss": loss, "model": "mlp"}
    whole, span = carried(federation(**changes), range(1, 5))
    first, begun = carried(federation(**changes), range(1, 3))
    progress, ended = carried(federation(**changes), range(3, 5), first)
    assert same_bits(progress.global_parameters, whole.global_parameters)
    assert (begun.metrics + ended.metrics, begun.clients + ended.clients) == (
        span.metrics,
        span.clients,
    )
    one_measure = [row["accuracy"] == row["argmax_accuracy"] for row in span.metrics]
    assert one_measure == [loss != "batch_softmax"] * 2


@pytest.mark.parametrize("loss", get_args(LossName))
def test_the_server_trains_and_judges_by_the_loss_of_the_study(loss):
    parties = federation(loss=loss, samples_per_client=16, root_size=14)
    root, start = parties.root, parties.initial_parameters()
    weight, bias = start[:640].view(10, 64).clone(), start[640:].clone()
    outputs = root.features.flatten(1) @ weight.requires_grad_().T + bias.requires_grad_()
    frequent = functional.one_hot(root.labels, 10).sum(dim=0) + 1
    expected = {
        "cross_entropy": functional.cross_entropy(outputs, root.labels),
        "batch_softmax": functional.nll_loss(outputs.log_softmax(dim=0), root.labels),
        "logit_adjusted": functional.cross_entropy(outputs + (frequent / 24).log(), root.labels),
    }[loss]
    assert_close(parties.functional_model.loss_on(root)(start), expected)
    gradients = torch.autograd.grad(expected, [weight, bias])
    step = torch.cat([gradient.flatten() for gradient in gradients])
    assert_close(server_update(parties, start, 1), -0.2 * step, rtol=1e-4, atol=1e-6)


def test_poisoned_clients_are_adjusted_by_their_own_labels():
    parties = federation(
        attack=Method("label_flip"), malicious=2, loss="logit_adjusted", samples_per_client=16
    )
    start = parties.initial_parameters()
    updates = train(parties, training_data(parties), start, round_=1).updates
    for client, malicious in enumerate(parties.malicious.tolist()):
        own = parties.clients[client]
        labels = 9 - own.labels if malicious else own.labels
        frequent = functional.one_hot(labels, 10).sum(dim=0) + 1
        model = torch.nn.Linear(64, 10)
        torch.nn.utils.vector_to_parameters(start.clone(), model.parameters())
        # one batch, whose order does not matter
        logits = model(own.features.flatten(1)) + (frequent / 26).log()
        functional.cross_entropy(logits, labels).backward()
        step = torch.cat([model.weight.grad.flatten(), model.bias.grad])
        assert_close(updates[client], -0.2 * step, rtol=1e-4, atol=1e-6)


def test_one_client_without_an_attack_trains_by_plain_sgd():
    parties = federation(clients=1, samples_per_client=50)
    progress, _ = carried(parties, range(1, 4))
    model = torch.nn.Linear(64, 10)
    torch.nn.utils.vector_to_parameters(parties.initial_parameters(), model.parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2)
    own = parties.clients[0]
    for round_ in (1, 2, 3):
        order = torch.randperm(50, generator=generator(1, "batches", round_, 0))
        for batch in order.split(16):
            optimiser.zero_grad()
            logits = model(own.features[batch].flatten(1))
            functional.cross_entropy(logits, own.labels[batch]).backward()
            optimiser.step()
    expected = torch.nn.utils.parameters_to_vector(model.parameters())
    assert_close(progress.global_parameters, expected.detach(), rtol=1e-4, atol=1e-5)


def test_the_global_learning_rate_scales_the_step():
    start = federation().initial_parameters()
    whole, _ = carried(federation(), range(1, 2))
    half, _ = carried(federation(global_lr=0.5), range(1, 2))
    expected = (whole.global_parameters - start) / 2
    assert_close(half.global_parameters - start, expected, rtol=1e-3, atol=1e-6)


def test_training_improves_the_model_and_is_recorded():
    _, span = carried(federation(), range(1, 11))
    assert [row["round"] for row in span.metrics] == [2, 4, 6, 8, 10]
    assert span.metrics[-1]["accuracy"] > max(0.6, span.metrics[0]["accuracy"])
    assert span.metrics[-1]["loss"] < span.metrics[0]["loss"]
    stages = [row["stage"] for row in span.timings if row["round"] == 2]
    assert stages == ["train", "attack", "aggregate", "evaluate"]


def test_without_an_attack_no_client_is_malicious_and_updates_are_the_honest_ones():
    parties = federation()
    assert not parties.malicious.any()
    start = parties.initial_parameters()
    _, span = carried(parties, range(1, 2), keep_updates=frozenset({1}))
    assert same_bits(span.updates[1], train(parties, training_data(parties), start, 1).updates)
    assert all(row["malicious"] is False for row in span.clients)
    assert all(row["fnr"] is None for row in span.aggregates)


def test_malicious_clients_train_on_poisoned_data_and_the_others_on_their_own():
    parties = federation(attack=Method("label_flip"), malicious=2)
    for own, used, flag in zip(
        parties.clients, training_data(parties), parties.malicious, strict=True
    ):
        assert used.features.equal(own.features)
        assert used.labels.equal(9 - own.labels if flag else own.labels)


def test_honest_rows_reach_the_server_untouched_whatever_the_attack_returns(monkeypatch):
    monkeypatch.setitem(ATTACKS, "rogue", lambda updates, malicious: updates.zero_() + 7)
    parties = federation(attack=Method("rogue"), malicious=2)
    updates, flags = torch.randn(6, 5), parties.malicious
    kept = updates.clone()
    sent, _ = attack(parties, updates, torch.zeros(5), {}, 1)
    assert same_bits(updates, kept)
    assert same_bits(sent[~flags], kept[~flags])
    assert sent[flags].eq(7).all()


def test_an_attack_that_changes_the_number_of_clients_is_refused(monkeypatch):
    monkeypatch.setitem(ATTACKS, "rogue", lambda updates, malicious: updates[:1])
    parties = federation(attack=Method("rogue"), malicious=2)
    with pytest.raises(ValueError, match=r"rogue returned updates of shape \(1, 5\), not \(6, 5\)"):
        attack(parties, torch.zeros(6, 5), torch.zeros(5), {}, 1)


@pytest.fixture
def counting(monkeypatch):
    """Enter an attack and a defense that count the rounds they have seen; list their counts."""
    seen = {"attack": [], "defense": []}

    def counted(party, state):
        seen[party].append(int(state.get("rounds", 0)))
        return {"rounds": torch.tensor(seen[party][-1] + 1)}

    def counting_attack(updates, malicious, state):
        return updates, counted("attack", state)

    def counting_defense(updates, state):
        return Aggregation(updates.mean(dim=0), state=counted("defense", state))

    monkeypatch.setitem(ATTACKS, "counting", counting_attack)
    monkeypatch.setitem(DEFENSES, "counting", counting_defense)
    return seen


def test_attackers_and_server_get_back_their_state(counting):
    changes = {"attack": Method("counting"), "malicious": 2, "defense": Method("counting")}
    progress, _ = carried(federation(**changes), range(1, 4))
    assert counting == {"attack": [0, 1, 2], "defense": [0, 1, 2]}
    progress, _ = carried(federation(**changes), range(4, 5), progress)
    assert counting == {"attack": [0, 1, 2, 3], "defense": [0, 1, 2, 3]}
    assert progress.attack_state == progress.defense_state == {"rounds": 4}


def test_server_coordinates_are_a_row_of_their_own():
    parties = federation(**ATTACKED, defense=Method("skymask"))
    _, span = carried(parties, range(1, 2))
    server = [row for row in span.clients if row["client"] == SERVER]
    assert len(server) == 1
    assert len(span.clients) == 7
    assert all(math.isfinite(row[key]) for row in span.clients for key in ("mask_1", "mask_2"))


def test_verdicts_are_summarised_for_each_round():
    parties = federation(**ATTACKED, defense=Method("oracle"))
    _, span = carried(parties, range(1, 3))
    assert [(row["fpr"], row["fnr"]) for row in span.aggregates] == [(0.0, 0.0)] * 2
    parties = federation(**ATTACKED, defense=Method("trimmed_mean"))
    _, span = carried(parties, range(1, 3))
    assert [(row["fpr"], row["fnr"]) for row in span.aggregates] == [(None, None)] * 2
