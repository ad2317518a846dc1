"""The attack that knows SkyMask: what it sends, when it gives up, and what it remembers."""

import inspect
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skymask.attacks import skymask_adaptive
from skymask.contracts import RequirementError
from skymask.defenses import skymask
from skymask.masks import rule
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples

CLASSES, PIXELS = 3, 4
MODEL = FunctionalModel(nn.Linear(PIXELS, CLASSES), (PIXELS,))
FLAGS = torch.tensor([True, False, False, True, False, False, False, True, False, False])
DIRECTIONS = ["opposed", "stretched", "orthogonal", "shifted"]


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


def root_of(samples):
    """The samples that replace the root data in ``attacked``."""
    return samples.select(torch.randperm(60, generator=torch.Generator().manual_seed(7))[:100])


def accepting(monkeypatch, answer):
    """Let the simulated rule accept all clients if ``answer`` to the question's number says so."""
    asked, judge = [], rule.judge

    def judged(updates, *others):
        asked.append((updates, *others))
        accepted = torch.full((len(updates),), answer(len(asked)))
        return replace(judge(updates, *others), accepted=accepted)

    monkeypatch.setattr(rule, "judge", judged)
    return asked


def test_the_crafted_updates_are_harmful_and_accepted_by_the_defense():
    updates, start, samples = drawn()
    sent, _ = attacked(updates, start, samples)
    root = root_of(samples)
    loss = MODEL.loss_on(root)
    outcome = skymask(sent, start, loss, updates[FLAGS].mean(dim=0), MODEL, root)
    assert outcome.accepted[FLAGS].all()
    assert loss(start + outcome.update) > loss(start + updates.mean(dim=0)) + 0.005
    again, _ = attacked(updates, start, samples)
    assert again.equal(sent)


def test_the_simulation_is_the_defense_round_after_round():
    updates, start, samples = drawn()
    root, server = root_of(samples), updates[FLAGS].mean(dim=0)
    ours, theirs = {}, {}
    for _ in range(3):
        sent, ours = attacked(updates, start, samples, ours, direction="opposed")
        outcome = skymask(sent, start, MODEL.loss_on(root), server, MODEL, root, state=theirs)
        theirs = outcome.state
        # the defense's state has the server first, by its number −1
        order = [*range(1, 11), 0]
        assert_close(ours["sums"], theirs["sums"][order])
        assert_close(ours["rounds"], theirs["weights"][order])
    assert ours["rounds"][0] == 1 + 0.9 + 0.81


def test_the_simulated_rule_has_the_defaults_of_the_defense_and_the_given_parameters(monkeypatch):
    defaults = inspect.signature(skymask).parameters
    for name, value in vars(rule.Settings()).items():
        assert value == defaults[name].default, name
    updates, start, samples = drawn()
    asked = accepting(monkeypatch, lambda question: True)
    attacked(updates, start, samples, clusters=2, length_limit=3.0)
    assert {arguments[-1] for arguments in asked} == {rule.Settings(clusters=2, length_limit=3.0)}


def direction_of(name, updates, samples):
    """The direction of each attacker, in another way than the attack's."""
    own, mean = updates[FLAGS], updates[~FLAGS].mean(dim=0)
    if name == "opposed":
        return -mean.expand_as(own)
    if name == "stretched":
        push = torch.where((own - mean) * mean < 0, own - mean, 0.0)
    elif name == "orthogonal":
        server = own.mean(dim=0)[:, None]
        push = -(mean - (server @ torch.linalg.pinv(server) @ mean)).expand_as(own)
    else:
        root = root_of(samples)

        def losses(weights, *, centred, raised=None):
            logits = MODEL.logits(weights, root.features)
            logits = logits - logits.mean(dim=0) if centred else logits + torch.eye(3)[raised]
            return nn.functional.cross_entropy(logits, root.labels)

        target = max(range(3), key=lambda k: losses(mean, centred=False, raised=k))
        outputs = torch.func.jacrev(lambda w: MODEL.logits(w, root.features).mean(dim=0))(mean)
        push = outputs[target] - outputs.mean(dim=0)
        centred = torch.func.grad(losses)(mean, centred=True)
        push = push - (push @ centred) / (centred @ centred) * centred
        push = push.expand_as(own)
    return push * mean.norm() / push.mean(dim=0).norm()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_first_accepted_step_is_divided_by_the_caution(monkeypatch, direction):
    updates, start, samples = drawn()
    # the third step, 8 / 2², passes; then what is sent is looked at once more
    accepting(monkeypatch, lambda question: question >= 3)
    sent, _ = attacked(
        updates, start, samples, direction=direction, largest=8.0, caution=4.0, length="free"
    )
    expected = updates[FLAGS] + 2.0 / 4.0 * direction_of(direction, updates, samples)
    assert_close(sent[FLAGS], expected)
    assert sent[~FLAGS].equal(updates[~FLAGS])


def test_stretching_leaves_the_signs_of_the_deviations(monkeypatch):
    updates, start, samples = drawn()
    accepting(monkeypatch, lambda question: True)
    sent, _ = attacked(updates, start, samples, direction="stretched", length="free")
    mean = updates[~FLAGS].mean(dim=0)
    assert (sent[FLAGS] - mean).sign().equal((updates[FLAGS] - mean).sign())
    moved = sent[FLAGS] != updates[FLAGS]
    assert moved.any()
    assert ((sent[FLAGS] - updates[FLAGS]) * mean)[moved].max() < 0


def test_honest_updates_are_sent_if_no_step_is_accepted(monkeypatch):
    updates, start, samples = drawn()
    asked = accepting(monkeypatch, lambda question: False)
    sent, state = attacked(updates, start, samples, halvings=3, noise=1.0)
    assert sent.equal(updates)
    # four directions, four steps, and the honest updates for the evidence
    assert len(asked) == 4 * 4 + 1
    assert state["rounds"].tolist() == [1.0] * 11


def test_a_step_that_is_rejected_with_caution_is_not_sent(monkeypatch):
    updates, start, samples = drawn()
    asked = accepting(monkeypatch, lambda question: question == 1)
    sent, _ = attacked(updates, start, samples, direction="opposed", halvings=2)
    assert sent.equal(updates)
    assert len(asked) == 3 + 1 + 1


@pytest.mark.parametrize("length", ["bound", "own", "drawn", "shortest", "longest"])
def test_the_updates_have_the_length_that_is_imitated(monkeypatch, length):
    updates, start, samples = drawn()
    updates = updates * torch.linspace(0.5, 2, 10, dtype=torch.float64)[:, None]
    accepting(monkeypatch, lambda question: True)
    # so large a step is longer than any other update, and two of them for the attackers
    sent, _ = attacked(updates, start, samples, length=length, largest=40.0, direction="stretched")
    lengths = sent[FLAGS].norm(dim=1)
    honest = updates.norm(dim=1)
    if length == "bound":
        second = honest.sort().values[0]
        server = updates[FLAGS].mean(dim=0).norm()
        assert_close(lengths, (2 * max(second, server)).expand(3))
    elif length == "own":
        assert_close(lengths, honest[FLAGS])
    elif length == "drawn":
        distances = (lengths[:, None] - honest[~FLAGS]).abs() / lengths[:, None]
        assert distances.amin(dim=1).max() < 1e-12
        assert len(lengths.unique()) > 1
    else:
        limit = honest[~FLAGS].min() if length == "shortest" else honest[~FLAGS].max()
        assert_close(lengths, limit.expand(3))


def test_updates_below_the_bound_keep_their_length(monkeypatch):
    updates, start, samples = drawn()
    accepting(monkeypatch, lambda question: True)
    short, free = (
        attacked(updates, start, samples, largest=0.01, length=length)[0]
        for length in ("bound", "free")
    )
    assert short.equal(free)
    assert not short.equal(updates)
    limited, free = (
        attacked(updates, start, samples, length=length, length_limit=None, largest=1e3)[0]
        for length in ("bound", "free")
    )
    assert limited.equal(free)


def test_noise_has_the_benign_standard_deviation(monkeypatch):
    updates, start, samples = drawn()
    accepting(monkeypatch, lambda question: True)
    settings = {"direction": "opposed", "length": "free"}
    quiet, _ = attacked(updates, start, samples, **settings)
    noisy, _ = attacked(updates, start, samples, **settings, noise=0.5)
    draws = (noisy - quiet)[FLAGS] / (0.5 * updates[~FLAGS].std(dim=0))
    source = torch.Generator().manual_seed(7)
    torch.randperm(60, generator=source)
    expected = torch.randn(draws.shape, generator=source, dtype=torch.float64)
    assert_close(draws, expected)


def test_best_is_the_direction_that_does_most_harm():
    updates, start, samples = drawn(3)
    loss = MODEL.loss_on(root_of(samples))
    harm = {}
    for direction in ("best", *DIRECTIONS):
        sent, _ = attacked(updates, start, samples, direction=direction)
        harm[direction] = float(loss(start + sent.mean(dim=0)))
    assert harm["best"] == max(harm.values())
    assert len(set(harm.values())) > 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"largest": 0.0},
        {"halvings": -1},
        {"caution": 0.5},
        {"root_size": 0},
        {"noise": -0.1},
        {"length_limit": 0.0},
    ],
)
def test_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(RequirementError, match=next(iter(parameters))):
        attacked(*drawn(), **parameters)
