"""Quality of a model, compared with values by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from skymask.attacks import TRIGGERS
from skymask.federation import evaluate
from skymask.federation.evaluate import Quality, accuracy_and_loss, attack_success_rate
from skymask.models.architectures import build
from skymask.models.flat_parameters import ResidentModel
from skymask.models.samples import Samples
from skymask.study.experiment import Method
from tests.support.federations import federation


def model_with(weight):
    """A linear model whose logits are ``weight`` · features."""
    model = ResidentModel(nn.Linear(3, 3, bias=False))
    return model.copy(weight.reshape(-1))


EYE = torch.eye(3)
IDENTITY = model_with(EYE)


def test_accuracy_and_loss_by_hand():
    features = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]])
    labels = torch.tensor([0, 1, 0, 1])
    quality = accuracy_and_loss(IDENTITY, Samples(features, labels))
    assert quality.accuracy == 0.5
    tops = [(2, 2), (1, 1), (3, 0), (4, 0)]  # largest logit, logit of the label
    losses = [math.log(math.exp(top) + 2) - own for top, own in tops]
    assert quality.loss == pytest.approx(sum(losses) / 4)


def test_accuracy_with_batch_softmax_is_of_outputs_normalised_over_the_batch():
    # over the batch, the second sample stands out in class 1 though class 0 has the larger output
    features = torch.tensor([[5.0, 0.0, 0.0], [5.0, 4.0, 0.0]])
    test = Samples(features, torch.tensor([0, 1]))
    plain = accuracy_and_loss(IDENTITY, test)
    assert (plain.accuracy, plain.argmax_accuracy) == (0.5, 0.5)
    # the other columns do not depend on the loss of the training
    assert accuracy_and_loss(IDENTITY, test, "batch_softmax") == replace(plain, accuracy=1.0)
    assert accuracy_and_loss(IDENTITY, test, "logit_adjusted") == plain


def test_accuracy_with_batch_softmax_is_of_batches_of_250():
    source = torch.Generator().manual_seed(0)
    test = Samples(
        torch.randn(1300, 3, generator=source) + torch.tensor([1.0, 0.0, -1.0]),
        torch.randint(0, 3, (1300,), generator=source),
    )
    hits = 0
    for first in range(0, 1300, 250):
        part = test.features[first : first + 250].double()
        scores = part.exp() / part.exp().sum(dim=0)
        hits += int((scores.argmax(dim=1) == test.labels[first : first + 250]).sum())
    quality = accuracy_and_loss(IDENTITY, test, "batch_softmax")
    assert quality.accuracy == hits / 1300
    largest = [max(range(3), key=row.__getitem__) for row in test.features.tolist()]
    plain_hits = sum(a == b for a, b in zip(largest, test.labels.tolist(), strict=True))
    assert quality.argmax_accuracy == plain_hits / 1300 != quality.accuracy
    assert evaluate.EVALUATION_BATCH % 250 == 0


def test_several_batches_are_one_test_set(monkeypatch):
    source = torch.Generator().manual_seed(0)
    test = Samples(
        torch.rand(25, 1, 8, 8, generator=source), torch.randint(0, 10, (25,), generator=source)
    )
    module = build("small_cnn", (1, 8, 8), 10, seed=0)
    model = ResidentModel(module)
    whole = accuracy_and_loss(model, test)
    monkeypatch.setattr(evaluate, "EVALUATION_BATCH", 7)
    parts = accuracy_and_loss(model, test)
    assert parts.accuracy == whole.accuracy
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    with torch.no_grad():
        logits = module(test.features)
    assert whole.loss == pytest.approx(functional.cross_entropy(logits, test.labels).item(), 1e-5)
    assert whole.accuracy == (logits.argmax(dim=1) == test.labels).double().mean().item()


def test_evaluation_uses_the_parameters_of_the_model_and_leaves_them():
    features, labels = EYE, torch.tensor([0, 1, 2])
    model = model_with(-EYE)
    assert accuracy_and_loss(IDENTITY, Samples(features, labels)).accuracy == 1.0
    assert accuracy_and_loss(model, Samples(features, labels)).accuracy == 0.0
    assert model.vector.equal(-EYE.reshape(-1))
    assert model.module.training


def test_a_model_that_is_not_finite_has_a_loss_that_is_not():
    features, labels = torch.eye(3), torch.tensor([0, 1, 2])
    quality = accuracy_and_loss(model_with(EYE * float("nan")), Samples(features, labels))
    assert isinstance(quality, Quality)
    assert math.isnan(quality.loss)
    assert 0 <= quality.accuracy <= 1


# --- backdoors ----------------------------------------------------------------------------------


def push(amount, column):
    """A trigger that raises one logit of the identity model."""

    def trigger(features):
        features = features.clone()
        features[:, column] += amount
        return features

    return trigger


SIX = Samples(
    # what the class of a sample leads by: 1, 3, 5 in class 0; 2, 4 in class 1; 1 in class 2
    torch.tensor(
        [[1.0, 0, 0], [3.0, 0, 0], [5.0, 0, 0], [0, 2.0, 0], [0, 4.0, 0], [0, 0, 1.0]],
    ),
    torch.tensor([0, 0, 0, 1, 1, 2]),
)


@pytest.mark.parametrize(
    ("amount", "target", "rate"),
    [
        # of the five samples of classes 0 and 1 a push of 3.5 towards 2 turns those below it
        (3.5, 2, 3 / 5),
        (0.5, 2, 0.0),
        (9.0, 2, 1.0),
        # of classes 1 and 2: leads 2, 4 and 1
        (1.5, 0, 1 / 3),
        (3.0, 0, 2 / 3),
    ],
)
def test_success_is_the_share_of_other_classes_called_the_target(amount, target, rate):
    result = attack_success_rate(IDENTITY, SIX, push(amount, target), target)
    assert result == pytest.approx(rate)


def test_samples_of_the_target_class_do_not_count():
    # all are called 2, also the sample that is one: 5 of 5, not 6 of 6 or 5 of 6
    seen = []

    def trigger(features):
        seen.append(len(features))
        return push(9.0, 2)(features)

    assert attack_success_rate(IDENTITY, SIX, trigger, 2) == 1.0
    assert seen == [5]
    # without a trigger no other sample is called 2
    assert attack_success_rate(IDENTITY, SIX, lambda x: x, 2) == 0.0


def test_where_all_samples_are_of_the_target_class_there_is_no_rate():
    only = SIX.select(torch.tensor([3, 4]))
    assert attack_success_rate(IDENTITY, only, push(9.0, 1), 1) is None
    assert attack_success_rate(IDENTITY, only, push(9.0, 0), 0) == 1.0


def test_success_is_counted_over_several_batches_and_changes_no_sample(monkeypatch):
    before = SIX.features.clone()
    whole = attack_success_rate(IDENTITY, SIX, push(3.5, 2), 2)
    monkeypatch.setattr(evaluate, "EVALUATION_BATCH", 2)
    assert attack_success_rate(IDENTITY, SIX, push(3.5, 2), 2) == whole
    assert SIX.features.equal(before)


def test_with_batch_softmax_each_triggered_sample_is_alone_among_clean_ones(monkeypatch):
    monkeypatch.setattr(evaluate, "TEST_BATCH", 20)
    source = torch.Generator().manual_seed(0)
    # class 0 has the largest outputs, so that plain classification never gives the target
    test = Samples(
        2 * torch.randn(50, 3, generator=source) + torch.tensor([20.0, 0.0, 0.0]),
        torch.randint(0, 3, (50,), generator=source),
    )
    trigger = push(2.0, 2)
    hits = together = 0
    for first in (0, 20, 40):
        clean, labels = test.features[first : first + 20], test.labels[first : first + 20]
        for row in torch.nonzero(labels != 2).flatten().tolist():
            batch = clean.clone()
            batch[row] = trigger(clean[row : row + 1])[0]
            hits += int(batch.double().log_softmax(dim=0)[row].argmax() == 2)
            everyone = trigger(clean).double().log_softmax(dim=0)
            together += int(everyone[row].argmax() == 2)
    others = int((test.labels != 2).sum())
    rate = attack_success_rate(IDENTITY, test, trigger, 2, "batch_softmax")
    assert rate == hits / others
    # it neither is the plain rate nor that of batches in which all samples are triggered
    assert attack_success_rate(IDENTITY, test, trigger, 2) == 0
    assert together < hits
    # a strong trigger succeeds
    assert attack_success_rate(IDENTITY, test, push(50.0, 2), 2, "batch_softmax") == 1


def test_a_run_measures_the_success_of_its_backdoor_by_its_loss():
    changes = {"attack": Method("scaling", {"target": 3, "patch": 2}), "malicious": 2}
    parties = federation(**changes, loss="batch_softmax")
    seen = evaluate.evaluate(parties, parties.initial_parameters())
    model = parties.model.copy(parties.initial_parameters())

    def trigger(features):
        return TRIGGERS["scaling"](features, patch=2)

    assert seen.attack_success_rate == attack_success_rate(
        model, parties.test, trigger, 3, "batch_softmax"
    )
    assert seen.attack_success_rate != attack_success_rate(model, parties.test, trigger, 3)
