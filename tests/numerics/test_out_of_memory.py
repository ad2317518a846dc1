"""When the memory of a device does not suffice: smaller pieces, the same results, a clear error.

There need be no GPU: the functions that work on a piece raise torch's own error for large ones.
"""

import logging

import pytest
import torch
from torch.testing import assert_close

from skymask.federation import evaluate, stacked_training
from skymask.federation.evaluate import accuracy_and_loss
from skymask.federation.local_training import LocalTraining, train_clients
from skymask.jobs.log import may_pass
from skymask.masks import learning
from skymask.masks import steps as masks_steps
from skymask.models import functional
from skymask.models.architectures import build
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import root_loss
from skymask.models.samples import Samples
from skymask.numerics import column_blocks
from skymask.numerics.out_of_memory import DeviceMemoryError, explain_memory_errors, with_halving
from skymask.seeds import generator
from skymask.study.experiment import Method
from tests.support.federations import carried, federation

TORCH = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.6 GiB of "
    "which 1.20 GiB is free. Process 4711 has 22.4 GiB memory in use. If reserved but unallocated "
    "memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True. See documentation"
)


class Device:
    """Memory for ``least`` things at once; ``asked`` are the sizes that were tried."""

    def __init__(self, least):
        self.least, self.asked = least, []

    def take(self, size):
        self.asked.append(size)
        if size > self.least:
            raise torch.cuda.OutOfMemoryError(TORCH)


@pytest.mark.parametrize("least", [1, 2, 3, 7, 10, 11])
def test_pieces_are_halved_until_they_fit_and_come_in_order(least):
    device = Device(least)

    def work(places):
        device.take(places.stop - places.start)
        return list(range(places.start, places.stop))

    found = with_halving(work, slice(5, 16), "things")
    assert [thing for piece in found for thing in piece] == list(range(5, 16))
    assert all(len(piece) <= least for piece in found)
    assert device.asked[0] == 11


def test_what_is_cut_is_said_and_other_errors_are_not_touched(caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with_halving(lambda s: Device(5).take(s.stop - s.start), slice(0, 8), "test clients")
    (said,) = caplog.messages
    assert "out of memory with 8 test clients at once" in said
    assert "Tried to allocate 2.50 GiB" in said
    calls = []

    def wrong(places):
        calls.append(places)
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        with_halving(wrong, slice(0, 8), "things")
    assert len(calls) == 1
    with (
        pytest.raises(RuntimeError, match="shapes do not fit"),
        explain_memory_errors("train", "cuda"),
    ):
        wrong(slice(0, 1))


def test_a_library_that_gets_no_memory_counts_too():
    def work(places):
        if places.stop - places.start > 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        return places.start

    assert with_halving(work, slice(0, 3), "things") == [0, 1, 2]


def test_the_memory_of_a_failed_piece_is_free_when_the_halves_begin():
    alive = []

    class Held:
        def __init__(self):
            alive.append(self)

        def __del__(self):
            released.append(True)

    released = []

    def work(places):
        if places.stop - places.start > 2:
            held = Held()
            alive.clear()
            raise torch.cuda.OutOfMemoryError(f"{id(held)}")
        assert released == [True]

    with_halving(work, slice(0, 4), "things")


def test_the_error_names_stage_device_what_was_asked_and_ways_out():
    with pytest.raises(DeviceMemoryError) as error, explain_memory_errors("aggregate", "cuda:1"):
        with_halving(lambda _: Device(0).take(1), slice(0, 4), "things")
    said = str(error.value)
    for words in (
        "the memory of cuda:1 does not suffice for the stage aggregate",
        "Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.6 GiB of which 1.20 GiB",
        "gpu_slots=1",
        "device: cpu",
        "run the same command again",
    ):
        assert words in said
    assert "PYTORCH_ALLOC_CONF" not in said
    assert "\n" not in said
    # other jobs may have given the memory back by then
    assert may_pass(error.value)


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


def _skymask_loss(models):
    return lambda w: ((w - models[0]) ** 2).sum() * 1e-4


@pytest.mark.parametrize("least", [32, 100, 5000])
@pytest.mark.parametrize("call", [1, 2])
def test_masks_learned_in_fewer_columns_are_the_same_to_the_bit(least, call, monkeypatch):
    # by torch's operations, as on a GPU without Triton
    monkeypatch.setattr(masks_steps, "installed", lambda _: False)
    monkeypatch.setattr(masks_steps, "BLOCK", 4096)
    width = 9000
    models = torch.randn(6, width, generator=torch.Generator().manual_seed(0))
    learn = {"learning_rate": 3e6, "steps": 4, "tolerance": 0.0}
    undisturbed = learning.learn_masks(models, _skymask_loss(models), **learn)
    assert not undisturbed.eq(1).all()
    device, sigmoid, calls = Device(min(least, 3000)), torch.sigmoid, {}

    def short(values):
        # of each block's two gates the first, or the second, when θ could have moved already
        key = values.shape[-1]
        calls[key] = calls.get(key, 0) + 1
        if calls[key] % 2 == call % 2:
            device.take(key)
        return sigmoid(values)

    monkeypatch.setattr(masks_steps.torch, "sigmoid", short)
    disturbed = learning.learn_masks(models, _skymask_loss(models), **learn)
    assert max(device.asked) > device.least
    assert disturbed.equal(undisturbed)


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
    whole = root_loss(module, samples, "batch")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        whole.value_and_gradient(place)


@pytest.mark.parametrize("axis", ["class", "batch"])
def test_evaluation_in_smaller_batches_is_the_same(axis, monkeypatch):
    monkeypatch.setattr(evaluate, "EVALUATION_BATCH", 40)
    source = torch.Generator().manual_seed(0)
    test = Samples(
        torch.rand(95, 1, 8, 8, generator=source), torch.randint(10, (95,), generator=source)
    )
    model = ResidentModel(build("small_cnn", (1, 8, 8), 10, 3))
    undisturbed, device = accuracy_and_loss(model, test, axis), Device(7)
    forward = model.module.forward

    def short(features):
        device.take(len(features))
        return forward(features)

    monkeypatch.setattr(model.module, "forward", short)
    disturbed = accuracy_and_loss(model, test, axis)
    assert device.asked[:4] == [40, 32, 16, 8]
    assert disturbed.accuracy == undisturbed.accuracy
    assert disturbed.loss == pytest.approx(undisturbed.loss, rel=1e-6)
    assert model.module.training


def test_columns_in_smaller_blocks_are_the_same_to_the_bit():
    rows = torch.randn(9, 10_000, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(9, generator=torch.Generator().manual_seed(1))
    device = Device(500)

    def values(block):
        device.take(block.stop - block.start)
        return (weights.double() @ rows[:, block].double()).float()

    found = column_blocks.fill(rows.new_empty(10_000), values)
    assert max(device.asked) == 4096
    assert found.equal(column_blocks.weighted_sum(weights, rows))


@pytest.mark.parametrize(
    ("stage", "place"),
    [
        ("train", (stacked_training.StackedModel, "gradients")),
        ("aggregate", (functional, "cross_entropy")),
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
