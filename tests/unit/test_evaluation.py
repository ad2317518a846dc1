"""Accuracy, loss and detection rates against values by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from skymask import evaluation
from skymask.evaluation import Detection, Quality, detection, evaluate
from skymask.models import build
from skymask.objective import Samples
from skymask.parameters import ResidentModel


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
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 7)
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
