"""Tests of rounds on a device with little memory."""

import pytest
import torch
from torch.testing import assert_close

from skymask.federation import evaluate, stacked_training
from skymask.federation.evaluate import accuracy_and_loss
from skymask.federation.local_training import train_clients
from skymask.federation.settings import LocalTraining
from skymask.models import functional
from skymask.models.architectures import build
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import root_loss
from skymask.models.samples import Samples
from skymask.numerics.out_of_memory import DeviceMemoryError
from skymask.seeds import generator
from skymask.study.experiment import Method
from tests.support.devices import Device
from tests.support.federations import carried, federation

RAGGED = [9, 30, 0, 16, 31, 24, 8]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", ["mlp", "small_cnn", "resnet20"])
@pytest.mark.parametrize("least", [1, 2, 4])
def test_clients_trained_in_smaller_stacks_are_the_same(name, least, late, monkeypatch):
    shape = (3, 8, 8) if name == "resnet20" else (1, 8, 8)
    source = torch.Generator().manual_seed(0)
    clients = [
        Samples(
            torch.rand(count, *shape, generator=source).double(),
            torch.randint(10, (count,), generator=source),
        )
        for count in RAGGED
    ]
    settings = LocalTraining(2, 8, 0.1, batching="stacked")
    monkeypatch.setitem(stacked_training.MEMORY, "cpu", 10**12)

    def train():
        model = ResidentModel(build(name, shape, 10, 3).double())
        return train_clients(
            model,
            model.vector.clone(),
            clients,
            settings,
            lambda client: generator(0, "batches", client),
        )

    undisturbed, device = train(), Device(least)
    gradients, steps = stacked_training.StackedModel.gradients, []

    def short(self, rows, *others):
        steps.append(len(rows))
        # the first step may fit, and the third, when parameters have moved, not
        if not late or len(steps) > 2:
            device.take(len(rows))
        return gradients(self, rows, *others)

    monkeypatch.setattr(stacked_training.StackedModel, "gradients", short)
    disturbed = train()
    assert max(device.asked) > least
    for one, other in zip(disturbed, undisturbed, strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_root_loss_in_fewer_samples_is_the_same(monkeypatch):
    source = torch.Generator().manual_seed(0)
    samples = Samples(
        torch.rand(50, 1, 8, 8, generator=source).double(),
        torch.randint(10, (50,), generator=source),
    )
    module = build("small_cnn", (1, 8, 8), 10, 3).double()
    loss = root_loss(module, samples)
    # one part, as on a GPU
    monkeypatch.setattr(loss, "_parts", 1)
    place = ResidentModel(module).vector.clone()
    undisturbed, device = loss.value_and_gradient(place), Device(8)
    call = functional.functional_call

    def short(module, tensors, inputs):
        device.take(len(inputs[0]))
        return call(module, tensors, inputs)

    monkeypatch.setattr(functional, "functional_call", short)
    disturbed = loss.value_and_gradient(place)
    assert device.asked[:3] == [50, 32, 16]
    for one, other in zip(disturbed, undisturbed, strict=True):
        assert_close(one, other, rtol=1e-12, atol=1e-15)
    # a loss that is normalised over the batch cannot be cut: an error, not another loss
    whole = root_loss(module, samples, "batch_softmax")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        whole.value_and_gradient(place)


@pytest.mark.parametrize("loss", ["cross_entropy", "batch_softmax"])
def test_evaluation_in_smaller_batches_is_the_same(loss, monkeypatch):
    monkeypatch.setattr(evaluate, "EVALUATION_BATCH", 40)
    monkeypatch.setattr(evaluate, "TEST_BATCH", 20)
    source = torch.Generator().manual_seed(0)
    test = Samples(
        torch.rand(95, 1, 8, 8, generator=source), torch.randint(10, (95,), generator=source)
    )
    model = ResidentModel(build("small_cnn", (1, 8, 8), 10, 3))
    undisturbed, device = accuracy_and_loss(model, test, loss), Device(7)
    forward = model.module.forward

    def short(features):
        device.take(len(features))
        return forward(features)

    monkeypatch.setattr(model.module, "forward", short)
    disturbed = accuracy_and_loss(model, test, loss)
    assert device.asked[:4] == [40, 32, 16, 8]
    assert disturbed.accuracy == undisturbed.accuracy
    assert disturbed.argmax_accuracy == undisturbed.argmax_accuracy
    assert disturbed.loss == pytest.approx(undisturbed.loss, rel=1e-6)
    assert model.module.training


@pytest.mark.parametrize(
    ("stage", "place"),
    [
        ("train", (stacked_training.StackedModel, "gradients")),
        ("aggregate", (functional, "mean_loss")),
        ("evaluate", (evaluate, "laid_out")),
    ],
)
def test_a_round_without_memory_names_its_stage(stage, place, monkeypatch):
    parties = federation(
        attack=Method("fang_trim"),
        malicious=2,
        defense=Method("skymask"),
        assumed_malicious=2,
        evaluate_every=1,
    )
    monkeypatch.setattr(*place, lambda *_, **__: Device(0).take(1))
    with pytest.raises(
        DeviceMemoryError, match=f"memory of cpu does not suffice for the stage {stage}"
    ):
        carried(parties, range(1, 2))
