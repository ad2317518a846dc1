"""SkyMask with a verdict per layer, and with its masks as a filter."""

import pytest
import torch
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import skymask
from skymask.federation.federation import Checkpoint
from skymask.federation.rounds import run_span
from skymask.federation.train import train, training_data
from skymask.masks import evidence
from skymask.masks.parts import filtered_mean
from skymask.models.flat_parameters import Layout
from skymask.study.experiment import Method
from tests.support.federations import federation

# digits, a perceptron, four of twelve clients send the opposite of their update
SETTING = {
    "model": "mlp",
    "clients": 12,
    "malicious": 4,
    "assumed_malicious": 4,
    "samples_per_client": None,
    "loss": "batch_softmax",
    "local_lr": 0.5,
    "evaluate_every": 6,
}


def attacked(layers):
    parameters = {"coordinates": {"share": None, "pick": "random", "layers": list(layers)}}
    return Method("sign_flip", parameters)


def played(rounds=6, **changes):
    parties = federation(**{**SETTING, **changes})
    start = Checkpoint(parties.initial_parameters())
    checkpoint, span = run_span(parties, start, range(1, rounds + 1))
    return parties, checkpoint, span


def accepted(span, role):
    """Shares accepted in each layer, means over all rounds."""
    rows = [row for row in span.layers if row["role"] == role]
    return {
        layer: sum(r["accepted"] for r in rows if r["layer"] == layer) / 6
        for layer in dict.fromkeys(row["layer"] for row in rows)
    }


def test_attackers_are_rejected_in_the_layer_that_they_attack_and_kept_in_the_others():
    per_layer = Method("skymask", {"per": "layer"})
    _, _, span = played(attack=attacked(["3.weight"]), defense=per_layer)
    malicious, benign = accepted(span, "malicious"), accepted(span, "benign")
    assert malicious["3.weight"] <= 0.2
    assert min(malicious["1.weight"], malicious["1.bias"]) >= 0.8
    assert min(benign["1.weight"], benign["1.bias"], benign["3.weight"]) >= 0.9
    assert all(row["fnr"] < 1 for row in span.aggregates)


def test_without_an_attack_nearly_every_layer_of_every_client_is_accepted():
    per_layer = Method("skymask", {"per": "layer"})
    _, _, span = played(malicious=0, attack=Method("none"), defense=per_layer)
    benign = accepted(span, "benign")
    # the last bias moves all samples alike, which batch_softmax removes
    assert min(share for layer, share in benign.items() if layer != "3.bias") >= 0.9


def test_there_is_evidence_for_each_layer_in_the_state():
    parties, checkpoint, _ = played(
        rounds=2, attack=Method("sign_flip"), defense=Method("skymask", {"per": "layer"})
    )
    state, layers = checkpoint.defense_state, len(parties.model.layout.names)
    assert state["sums"].shape == (13, layers, 3)
    assert state["weights"].shape == (13, layers)


def one_round(**parameters):
    """Honest updates of a round, and SkyMask's outcome."""
    parties = federation(**{**SETTING, "malicious": 0}, attack=Method("none"))
    start = parties.initial_parameters()
    updates = train(parties, training_data(parties), start, 1).updates
    model = parties.functional_model
    outcome = skymask(
        updates,
        start,
        model.loss_on(parties.root),
        model=model,
        root=parties.root,
        layout=parties.model.layout,
        **parameters,
    )
    return parties, updates, start, outcome


def test_the_update_of_a_layer_is_the_mean_of_its_accepted_clients():
    parties, updates, _, outcome = one_round(per="layer", length_limit=None)
    layout = parties.model.layout
    assert outcome.accepted.shape == outcome.weights.shape == (12, 4)
    assert outcome.scores is None
    for layer, (name, part) in enumerate(layout.columns(updates).items()):
        chosen = outcome.accepted[:, layer]
        assert_close(layout.columns(outcome.update)[name], part[chosen].mean(dim=0))


def test_one_layer_of_all_coordinates_is_the_whole_model():
    parties, updates, start, whole = one_round()
    model = parties.functional_model
    single = Layout(("all",), ((updates.shape[1],),))
    outcome = skymask(
        updates,
        start,
        model.loss_on(parties.root),
        model=model,
        root=parties.root,
        layout=single,
        per="layer",
    )
    assert outcome.update.equal(whole.update)
    assert outcome.accepted[:, 0].equal(whole.accepted)


def test_layers_without_a_layout_are_refused():
    with pytest.raises(RequirementError, match="needs the layout"):
        skymask(torch.ones(3, 2), torch.zeros(2), lambda w: w.sum(), per="layer")


def test_the_evidence_on_a_layer_moves_only_that_layer():
    parties, updates, start, _ = one_round()
    model, root, first = parties.functional_model, parties.root, slice(0, 640)
    own = updates[0]
    alone = torch.zeros_like(updates)
    alone[:, first] = updates[:, first]
    expected = evidence.measure(alone, alone[0], start, model, root)
    measured = evidence.measure(updates[:, first], own[first], start, model, root, first)
    assert_close(measured, expected)


def test_masks_filter_the_accepted_updates():
    _, updates, _, outcome = one_round(mask_filter=True, length_limit=None)
    chosen, masks = outcome.accepted, outcome.masks[:-1]
    kept = masks[chosen].double()
    expected = (kept * updates[chosen]).sum(dim=0) / kept.sum(dim=0).clamp_min(1)
    assert_close(outcome.update, expected.float())
    assert outcome.weights is None
    assert not outcome.update.equal(one_round(length_limit=None)[3].update)


def test_the_filter_works_within_each_layer():
    parties, updates, _, outcome = one_round(mask_filter=True, per="layer", length_limit=None)
    layout, masks = parties.model.layout, outcome.masks[:-1]
    for layer, (name, part) in enumerate(layout.columns(updates).items()):
        chosen = outcome.accepted[:, layer]
        kept = layout.columns(masks)[name][chosen]
        expected = filtered_mean(part[chosen], kept)
        assert_close(layout.columns(outcome.update)[name], expected)


def test_a_filter_without_accepted_clients_is_zero():
    empty = torch.zeros(0, 3)
    assert filtered_mean(empty, empty.bool()).tolist() == [0.0, 0.0, 0.0]
