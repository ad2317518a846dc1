"""Accuracy, loss and detection rates against values by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from skymask.federation import metrics
from skymask.federation.metrics import (
    Detection,
    Quality,
    attack_success_rate,
    attacker_weight,
    benign_distance,
    detection,
    evaluate,
    switched_off,
    unlike_server,
)
from skymask.models.architectures import build
from skymask.models.flat_parameters import Layout, ResidentModel
from skymask.models.samples import Samples


def identity_model():
    """With the parameters EYE, the logits are the features."""
    return ResidentModel(nn.Linear(3, 3, bias=False))


EYE = torch.eye(3).reshape(-1)


def test_accuracy_and_loss_by_hand():
    features = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]])
    labels = torch.tensor([0, 1, 0, 1])
    quality = evaluate(identity_model(), EYE, Samples(features, labels))
    assert quality.accuracy == 0.5
    tops = [(2, 2), (1, 1), (3, 0), (4, 0)]  # largest logit, logit of the label
    losses = [math.log(math.exp(top) + 2) - own for top, own in tops]
    assert quality.loss == pytest.approx(sum(losses) / 4)


def test_batch_axis_normalises_and_ranks_over_the_batch():
    # over the batch, the second sample stands out in class 1 though class 0 has the larger logit
    features = torch.tensor([[5.0, 0.0, 0.0], [5.0, 4.0, 0.0]])
    labels = torch.tensor([0, 1])
    by_class = evaluate(identity_model(), EYE, Samples(features, labels))
    by_batch = evaluate(identity_model(), EYE, Samples(features, labels), "batch")
    assert by_class.accuracy == 0.5
    assert by_batch.accuracy == 1.0
    assert by_batch.loss == pytest.approx((math.log(2) + math.log(1 + math.exp(-4))) / 2)


def test_several_batches_are_one_test_set(monkeypatch):
    source = torch.Generator().manual_seed(0)
    test = Samples(
        torch.rand(25, 1, 8, 8, generator=source), torch.randint(0, 10, (25,), generator=source)
    )
    module = build("small_cnn", (1, 8, 8), 10, seed=0)
    model = ResidentModel(module)
    whole = evaluate(model, model.vector.clone(), test)
    monkeypatch.setattr(metrics, "EVALUATION_BATCH", 7)
    parts = evaluate(model, model.vector.clone(), test)
    assert parts.accuracy == whole.accuracy
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    with torch.no_grad():
        logits = module(test.features)
    assert whole.loss == pytest.approx(functional.cross_entropy(logits, test.labels).item(), 1e-5)
    assert whole.accuracy == (logits.argmax(dim=1) == test.labels).double().mean().item()


def test_evaluation_uses_the_given_parameters_and_leaves_them():
    model = identity_model()
    features, labels = torch.eye(3), torch.tensor([0, 1, 2])
    given = EYE.clone()
    assert evaluate(model, given, Samples(features, labels)).accuracy == 1.0
    assert evaluate(model, -given, Samples(features, labels)).accuracy == 0.0
    assert given.equal(EYE)


def test_a_model_that_is_not_finite_has_a_loss_that_is_not():
    features, labels = torch.eye(3), torch.tensor([0, 1, 2])
    quality = evaluate(identity_model(), EYE * float("nan"), Samples(features, labels))
    assert isinstance(quality, Quality)
    assert math.isnan(quality.loss)
    assert 0 <= quality.accuracy <= 1


def flags(text):
    return torch.tensor([letter == "1" for letter in text], dtype=torch.bool)


@pytest.mark.parametrize(
    ("accepted", "malicious", "fpr", "fnr"),
    [
        ("1111", "0000", 0.0, None),
        ("0110", "0000", 0.5, None),
        ("1100", "0011", 0.0, 0.0),
        ("0011", "0011", 1.0, 1.0),
        ("01011", "00011", 2 / 3, 1.0),
        ("10", "11", None, 0.5),
        ("", "", None, None),
    ],
)
def test_detection_rates_by_hand(accepted, malicious, fpr, fnr):
    found = detection(flags(accepted), flags(malicious))
    for rate, expected in ((found.fpr, fpr), (found.fnr, fnr)):
        assert (rate is None) == (expected is None)
        assert rate is None or rate == pytest.approx(expected)


def test_without_verdicts_there_are_no_rates():
    assert detection(None, flags("0101")) == Detection(None, None)


def test_detection_takes_tensors_of_any_device(device):
    found = detection(flags("10").to(device), flags("01").to(device))
    assert_close((found.fpr, found.fnr), (0.0, 0.0))


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
    found = attack_success_rate(identity_model(), EYE, SIX, push(amount, target), target)
    assert found == pytest.approx(rate)


def test_samples_of_the_target_class_do_not_count():
    # all are called 2, also the sample that is one: 5 of 5, not 6 of 6 or 5 of 6
    seen = []

    def trigger(features):
        seen.append(len(features))
        return push(9.0, 2)(features)

    assert attack_success_rate(identity_model(), EYE, SIX, trigger, 2) == 1.0
    assert seen == [5]
    # without a trigger nobody else is called 2
    assert attack_success_rate(identity_model(), EYE, SIX, lambda x: x, 2) == 0.0


def test_where_all_samples_are_of_the_target_class_there_is_no_rate():
    only = SIX.select(torch.tensor([3, 4]))
    assert attack_success_rate(identity_model(), EYE, only, push(9.0, 1), 1) is None
    assert attack_success_rate(identity_model(), EYE, only, push(9.0, 0), 0) == 1.0


def test_success_is_counted_over_several_batches_and_changes_no_sample(monkeypatch):
    before = SIX.features.clone()
    whole = attack_success_rate(identity_model(), EYE, SIX, push(3.5, 2), 2)
    monkeypatch.setattr(metrics, "EVALUATION_BATCH", 2)
    assert attack_success_rate(identity_model(), EYE, SIX, push(3.5, 2), 2) == whole
    assert SIX.features.equal(before)


def test_success_ranks_over_the_batch_where_the_model_was_trained_so():
    # over the batch, only the second of the two stands out in class 2
    two = Samples(torch.tensor([[9.0, 0.0, 1.0], [9.0, 0.0, 4.0]]), torch.tensor([0, 0]))
    assert attack_success_rate(identity_model(), EYE, two, lambda x: x, 2) == 0.0
    assert attack_success_rate(identity_model(), EYE, two, lambda x: x, 2, "batch") == 0.5


# --- what got through ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "malicious", "share"),
    [
        ([0.25, 0.25, 0.25, 0.25], "0101", 0.5),
        ([1.0, 0.0, 0.0, 0.0], "0111", 0.0),
        ([0.0, 0.0, 2.0, 0.0], "0111", 1.0),
        ([0.5, -0.5, 0.25, 0.0], "0101", 0.4),
        ([0.0, 0.0, 0.0, 0.0], "0101", None),
        ([1.0, 2.0, 3.0, 4.0], "0000", 0.0),
        (None, "0101", None),
    ],
)
def test_the_attackers_weight_by_hand(weights, malicious, share):
    given = None if weights is None else torch.tensor(weights)
    found = attacker_weight(given, flags(malicious))
    assert found == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("update", "rows", "malicious", "distance"),
    [
        # μ = (3, 4), of length 5
        ([3.0, 4.0], [[3, 4], [3, 4], [99, 99]], "001", 0.0),
        ([0.0, 0.0], [[2, 5], [4, 3], [99, 99]], "001", 1.0),
        ([6.0, 8.0], [[2, 5], [99, 99], [4, 3]], "010", 1.0),
        ([3.0, 14.0], [[2, 5], [4, 3]], "00", 2.0),
        # no benign client, no mean, or one of length 0
        ([1.0, 0.0], [[2, 5], [4, 3]], "11", None),
        ([1.0, 0.0], [[1, 1], [-1, -1]], "00", None),
        ([1.0, 0.0], [[1, math.nan], [1, 1], [0, 0]], "001", None),
        ([1.0, 0.0], [[1, math.inf], [1, 1]], "00", None),
        # what the attackers send does not matter
        ([3.0, 4.0], [[3, 4], [math.nan, math.inf]], "01", 0.0),
    ],
)
def test_the_distance_to_the_benign_mean_by_hand(update, rows, malicious, distance):
    found = benign_distance(
        torch.tensor(update), torch.tensor(rows, dtype=torch.float32), flags(malicious)
    )
    assert found == (None if distance is None else pytest.approx(distance))


def test_what_masks_do_to_each_layer_by_hand():
    layout = Layout(("one", "two", "three"), ((2, 2), (1,), (3,)))
    on = [
        # one    two three
        "11000111",
        "00001110",
        "11111100",
    ]
    masks = torch.tensor([[letter == "1" for letter in row] for row in on])
    off, unlike = switched_off(masks, layout), unlike_server(masks, layout)
    assert off.dtype == unlike.dtype == torch.float64
    assert_close(off.tolist(), [[0.5, 1.0, 0.0], [1.0, 0.0, 1 / 3], [0.0, 0.0, 2 / 3]])
    assert_close(unlike.tolist(), [[0.5, 1.0, 2 / 3], [1.0, 0.0, 1 / 3], [0.0, 0.0, 0.0]])
