"""Local training against plain SGD as PyTorch writes it."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from skymask.federation import local_training, stacked_training
from skymask.federation.local_training import train_client, train_clients
from skymask.federation.settings import LocalTraining
from skymask.models.architectures import build
from skymask.models.flat_parameters import ResidentModel
from skymask.models.loss_names import LossName
from skymask.models.samples import Samples
from skymask.seeds import generator
from tests.support.threads import with_threads

SHAPE = (1, 8, 8)
LOSSES = get_args(LossName)


def samples(count, seed=0):
    source = generator(seed, "samples")
    features = torch.rand(count, *SHAPE, generator=source)
    return Samples(features, torch.randint(0, 10, (count,), generator=source))


def resident(name="mlp", seed=0):
    return ResidentModel(build(name, SHAPE, 10, seed))


def plain_sgd(name, start, data, settings, source):
    """Written with a data order, a loss and torch.optim.SGD, as in a textbook."""
    model = resident(name)
    model.vector.copy_(start)
    optimiser = torch.optim.SGD(model.module.parameters(), lr=settings.local_lr)
    for _ in range(settings.local_epochs):
        order = torch.randperm(len(data), generator=source)
        for first in range(0, len(data), settings.batch_size):
            batch = order[first : first + settings.batch_size]
            optimiser.zero_grad(set_to_none=False)
            logits = model.module(data.features[batch])
            if settings.loss == "cross_entropy":
                loss = functional.cross_entropy(logits, data.labels[batch])
            elif settings.loss == "logit_adjusted":
                # the frequencies are those of all samples, not of the batch
                frequent = functional.one_hot(data.labels, 10).sum(dim=0) + 1
                loss = functional.cross_entropy(
                    logits + (frequent / frequent.sum()).log(), data.labels[batch]
                )
            else:
                # normalised over the batch: −mean_i (z_{i,y_i} − log Σ_k exp z_{k,y_i})
                own = logits.gather(1, data.labels[batch, None])[:, 0]
                loss = (logits.logsumexp(dim=0)[data.labels[batch]] - own).mean()
            loss.backward()
            if settings.gradient_clip is not None:
                clip = settings.gradient_clip
                torch.nn.utils.clip_grad_value_(model.module.parameters(), clip)
            optimiser.step()
    return model.vector - start


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("clip", [None, 1e-2])
@pytest.mark.parametrize("name", ["logistic_regression", "small_cnn"])
def test_a_client_trains_by_plain_sgd(name, clip, loss):
    data, start = samples(50), resident(name, seed=3).vector.clone()
    settings = LocalTraining(3, 16, 0.3, clip, loss)
    update = train_client(resident(name), start, data, settings, generator(1, "batches"))
    expected = plain_sgd(name, start, data, settings, generator(1, "batches"))
    assert update.norm() > 0.01
    assert_close(update, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "batch", "epochs", "steps"),
    [(10, 4, 1, 3), (8, 4, 1, 2), (9, 4, 2, 6), (3, 32, 5, 5), (1, 1, 1, 1)],
)
def test_each_batch_is_one_step_the_last_partial_one_too(count, batch, epochs, steps):
    # every gradient coordinate exceeds the clip, with the same sign in every step
    data = Samples(torch.ones(count, *SHAPE), torch.zeros(count, dtype=torch.long))
    settings = LocalTraining(epochs, batch, 0.5, gradient_clip=1e-4)
    start = torch.zeros(650)
    update = train_client(
        resident("logistic_regression"), start, data, settings, generator(0, "batches")
    )
    expected = torch.full((10, 64), -0.5e-4 * steps)
    expected[0] *= -1
    assert_close(update[:640].view(10, 64), expected)
    assert_close(update[640:], expected[:, 0])


def test_gradient_clip_bounds_a_step_per_coordinate():
    data, start = samples(20), resident(seed=3).vector.clone()
    one_step = {"local_epochs": 1, "batch_size": 20, "local_lr": 0.1}
    free = train_client(resident(), start, data, LocalTraining(**one_step), generator(0, "x"))
    clipped = train_client(
        resident(), start, data, LocalTraining(**one_step, gradient_clip=1e-3), generator(0, "x")
    )
    assert free.abs().max() > 1e-4
    assert_close(clipped, free.clamp(-1e-4, 1e-4), rtol=0, atol=1e-7)


def test_a_client_without_samples_sends_zeros():
    data, start = samples(0), resident(seed=3).vector.clone()
    update = train_client(resident(), start, data, LocalTraining(2), generator(0, "x"))
    assert update.shape == start.shape
    assert update.eq(0).all()


def test_training_leaves_its_inputs_and_the_global_generator_alone():
    data, start = samples(20), resident(seed=3).vector.clone()
    before = start.clone(), data.features.clone(), data.labels.clone(), torch.get_rng_state()
    train_client(resident(), start, data, LocalTraining(), generator(0, "x"))
    after = start, data.features, data.labels, torch.get_rng_state()
    assert all(one.equal(two) for one, two in zip(before, after, strict=True))


def test_batch_order_is_that_of_the_generator():
    data, start = samples(40), resident(seed=3).vector.clone()

    def update(seed):
        settings = LocalTraining(2, 8, 0.5)
        return train_client(resident(), start, data, settings, generator(seed, "x"))

    assert update(1).equal(update(1))
    assert not update(1).equal(update(2))


def test_clients_do_not_influence_each_other():
    parties = [samples(20, 1), samples(7, 2), samples(0), samples(33, 3)]
    start, settings = resident(seed=3).vector.clone(), LocalTraining(1, 8, 0.3, batching="loop")

    def source(client):
        return generator(0, "batches", client)

    updates = train_clients(resident(), start, parties, settings, source).updates
    assert updates.shape == (4, len(start))
    for client in (3, 1, 0, 2):
        alone = train_client(resident(), start, parties[client], settings, source(client))
        assert updates[client].equal(alone)


def test_the_model_may_itself_be_the_starting_point():
    model = resident(seed=3)
    start, data = model.vector.clone(), samples(20)
    first = train_client(model, start, data, LocalTraining(), generator(0, "x"))
    again = train_client(model, start, data, LocalTraining(), generator(0, "x"))
    assert again.equal(first)


RAGGED = [20, 7, 0, 33, 16, 1, 8]

NORMALISED = nn.Sequential(
    nn.Conv2d(1, 4, 3),
    nn.BatchNorm2d(4, track_running_stats=False),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(144, 10),
    nn.BatchNorm1d(10, affine=False, track_running_stats=False),
).double()


def double_precision(count, seed):
    own = samples(count, seed)
    return Samples(own.features.double(), own.labels)


@pytest.mark.parametrize("memory", [1, 10**5, 10**9])
@pytest.mark.parametrize("clip", [None, 1e-2])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["mlp", "small_cnn", "normalised"])
def test_stacked_clients_train_as_those_one_after_the_other(name, loss, clip, memory, monkeypatch):
    monkeypatch.setitem(stacked_training.MEMORY, "cpu", memory)
    module = NORMALISED if name == "normalised" else build(name, SHAPE, 10, 3).double()
    model = ResidentModel(module)
    start = model.vector.clone()
    # a batch of one sample has no variance
    counts = [count for count in RAGGED if name != "normalised" or count % 8 != 1]
    parties = [double_precision(count, seed) for seed, count in enumerate(counts)]
    settings = LocalTraining(2, 8, 0.3, clip, loss)

    def updates(batching):
        wanted = replace(settings, batching=batching)
        source = lambda client: generator(0, "batches", client)  # noqa: E731
        return train_clients(model, start, parties, wanted, source).updates

    trained = updates("loop")
    # normalised over the batch, a single sample has nothing to learn
    least = 2 if loss == "batch_softmax" else 1
    assert [bool(row.any()) for row in trained] == [count >= least for count in counts]
    assert_close(updates("stacked"), trained, rtol=1e-7, atol=1e-9)


def test_a_client_that_has_finished_does_not_move():
    parties = [samples(count, count) for count in (5, 80)]
    start = resident(seed=3).vector.clone()
    settings = LocalTraining(1, 8, 0.3, batching="stacked")

    def updates(clients):
        return train_clients(
            resident(), start, clients, settings, lambda c: generator(0, "x")
        ).updates

    both, alone = updates(parties), updates(parties[:1])
    assert_close(both[0], alone[0], rtol=1e-6, atol=1e-8)
    assert both[1].norm() > 1.2 * both[0].norm()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batching", ["loop", "stacked"])
@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
def test_bits_do_not_depend_on_the_number_of_threads(name, batching, loss, monkeypatch):
    monkeypatch.setitem(stacked_training.MEMORY, "cpu", 10**6)
    parties = [samples(count, seed) for seed, count in enumerate(RAGGED)]
    start = resident(name, seed=3).vector.clone()
    settings = LocalTraining(2, 8, 0.3, 1e-2, loss, batching=batching)
    updates = with_threads(
        lambda: (
            train_clients(
                resident(name), start, parties, settings, lambda c: generator(0, "x", c)
            ).updates
        )
    )
    assert updates[1].equal(updates[0])
    assert updates[2].equal(updates[0])


@pytest.mark.parametrize(
    ("name", "shape", "stacked"),
    [("small_cnn", SHAPE, True), ("mlp", SHAPE, True), ("cnn", (1, 28, 28), False)],
)
def test_small_clients_are_stacked_on_the_cpu_and_all_on_a_gpu(name, shape, stacked):
    module, settings = build(name, shape, 10, 0), LocalTraining()
    assert local_training._stacked(module, shape, "cpu", settings) is stacked
    assert local_training._stacked(module, shape, "cuda", settings)
    assert not local_training._stacked(module, shape, "cuda", replace(settings, batching="loop"))


@pytest.mark.parametrize("batching", ["loop", "stacked"])
def test_bfloat16_is_close_but_another_number(batching):
    parties = [samples(40, 1), samples(30, 2)]
    start = resident("small_cnn", seed=3).vector.clone()

    def updates(precision):
        settings = LocalTraining(1, 8, 0.1, precision=precision, batching=batching)
        model = resident("small_cnn")
        source = lambda client: generator(0, "x", client)  # noqa: E731
        return train_clients(model, start, parties, settings, source).updates

    exact, coarse = updates("float32"), updates("bfloat16")
    assert coarse.dtype == torch.float32
    assert 1e-6 < (coarse - exact).norm() / exact.norm() < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("batching", ["loop", "stacked"])
@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
def test_a_gpu_trains_as_the_cpu_does(name, batching):
    parties = [samples(count, seed) for seed, count in enumerate(RAGGED)]
    start = resident(name, seed=3).vector.clone()
    settings = LocalTraining(1, 8, 0.1, 1e-2, batching=batching)

    def updates(device):
        model = ResidentModel(build(name, SHAPE, 10, 0).to(device))
        moved = [Samples(p.features.to(device), p.labels.to(device)) for p in parties]
        source = lambda client: generator(0, "x", client)  # noqa: E731
        return train_clients(model, start.to(device), moved, settings, source).updates.cpu()

    assert_close(updates("cuda"), updates("cpu"), rtol=1e-3, atol=1e-4)
