"""The attack that knows SkyMask: what it sends, when it gives up, and what it remembers."""

import numpy as np
import pytest
import torch
from torch import nn

from skymask.attacks import skymask_adaptive
from skymask.contracts import RequirementError
from skymask.masks import decision
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples

CLASSES, PIXELS = 3, 4
MODEL = FunctionalModel(nn.Linear(PIXELS, CLASSES), (PIXELS,))
FLAGS = torch.tensor([True, False, False, True, False, False, False, True, False, False])


def drawn(seed=0):
    """Ten clients' updates, the global model, and the attackers' samples, all in float64."""
    source = torch.Generator().manual_seed(seed)
    features = torch.randn(60, PIXELS, generator=source, dtype=torch.float64)
    labels = (features @ torch.randn(PIXELS, CLASSES, generator=source).double()).argmax(dim=1)
    samples, start = Samples(features, labels), torch.zeros(MODEL.layout.dimension).double()
    parameters = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(MODEL.loss_on(samples)(parameters), parameters)
    noise = torch.randn(10, len(start), generator=source, dtype=torch.float64)
    return -gradient + 0.1 * gradient.norm() * noise, start, samples


def attacked(updates, start, samples, state=None, **parameters):
    generator = torch.Generator().manual_seed(7)
    return skymask_adaptive(
        updates, FLAGS, start, MODEL, samples, generator, state or {}, **parameters
    )


def accepting(monkeypatch, rule):
    """Let the rule that is rehearsed accept everybody if ``rule`` of the round's number says so."""
    asked = []

    def verdict(binary, evidence, *, always_two=False):
        asked.append((evidence, always_two))
        return np.full(len(binary) - 1, float(rule(len(asked))))

    monkeypatch.setattr(decision, "verdict", verdict)
    return asked


def test_the_crafted_updates_are_harmful_and_accepted_by_the_simulated_rule():
    updates, start, samples = drawn()
    sent, _ = attacked(updates, start, samples)
    loss = MODEL.loss_on(samples)
    honest, harmed = loss(start + updates.mean(dim=0)), loss(start + sent.mean(dim=0))
    assert harmed > honest + 0.005
    again, _ = attacked(updates, start, samples)
    assert again.equal(sent)


@pytest.mark.parametrize("direction", ["opposed", "stretched"])
def test_the_first_accepted_step_is_divided_by_the_caution(monkeypatch, direction):
    updates, start, samples = drawn()
    # the third step, 8 / 2², passes; then what is sent is looked at once more
    accepting(monkeypatch, lambda asked: asked >= 3)
    sent, _ = attacked(updates, start, samples, direction=direction, largest=8.0, caution=4.0)
    mean, own = updates[~FLAGS].mean(dim=0), updates[FLAGS]
    if direction == "opposed":
        push = -mean.expand_as(own)
    else:
        push = torch.where((own - mean) * mean < 0, own - mean, 0.0)
        push = push * mean.norm() / push.mean(dim=0).norm()
    torch.testing.assert_close(sent[FLAGS], own + 2.0 / 4.0 * push)
    assert sent[~FLAGS].equal(updates[~FLAGS])


def test_stretching_leaves_the_signs_of_the_deviations(monkeypatch):
    updates, start, samples = drawn()
    accepting(monkeypatch, lambda asked: True)
    sent, _ = attacked(updates, start, samples, direction="stretched")
    mean = updates[~FLAGS].mean(dim=0)
    assert (sent[FLAGS] - mean).sign().equal((updates[FLAGS] - mean).sign())
    moved = sent[FLAGS] != updates[FLAGS]
    assert moved.any()
    assert ((sent[FLAGS] - updates[FLAGS]) * mean)[moved].max() < 0


def test_honest_updates_are_sent_if_no_step_is_accepted(monkeypatch):
    updates, start, samples = drawn()
    asked = accepting(monkeypatch, lambda asked: False)
    sent, _ = attacked(updates, start, samples, halvings=3)
    assert sent.equal(updates)
    assert len(asked) == 2 * 4


def test_the_simulated_rule_has_the_given_number_of_clusters(monkeypatch):
    updates, start, samples = drawn()
    asked = accepting(monkeypatch, lambda asked: True)
    attacked(updates, start, samples, clusters=2)
    assert {always_two for _, always_two in asked} == {True}


def test_evidence_is_kept_as_the_rule_keeps_it(monkeypatch):
    updates, start, samples = drawn()
    asked = accepting(monkeypatch, lambda asked: True)
    sent, first = attacked(updates, start, samples, direction="opposed")
    server = updates[FLAGS].mean(dim=0)
    chosen = torch.randperm(60, generator=torch.Generator().manual_seed(7))[:100]
    now = decision.evidence(sent, server, start, MODEL, samples.select(chosen))
    torch.testing.assert_close(first["sums"], now)
    assert first["weight"].tolist() == [1.0]
    _, second = attacked(updates, start, samples, first, direction="opposed")
    torch.testing.assert_close(second["sums"], decision.EVIDENCE_DECAY * now + now)
    assert second["weight"].tolist() == [decision.EVIDENCE_DECAY + 1]
    torch.testing.assert_close(asked[-1][0], second["sums"] / second["weight"])


def test_best_is_the_direction_that_does_more_harm():
    updates, start, samples = drawn(3)
    loss = MODEL.loss_on(samples)
    harm = {}
    for direction in ("best", "opposed", "stretched"):
        sent, _ = attacked(updates, start, samples, direction=direction)
        harm[direction] = float(loss(start + sent.mean(dim=0)))
    assert harm["best"] == max(harm.values())
    assert harm["opposed"] != harm["stretched"]


@pytest.mark.parametrize(
    "parameters", [{"largest": 0.0}, {"halvings": -1}, {"caution": 0.5}, {"root_size": 0}]
)
def test_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(RequirementError, match=next(iter(parameters))):
        attacked(*drawn(), **parameters)
