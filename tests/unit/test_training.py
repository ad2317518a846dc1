"""Local training against plain SGD as PyTorch writes it."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from skymask.models import build
from skymask.objective import Samples
from skymask.parameters import ResidentModel
from skymask.seeds import generator
from skymask.training import LocalTraining, train_client, train_clients

SHAPE = (1, 8, 8)


def samples(count, seed=0):
    source = generator(seed, "samples")
    features = torch.rand(count, *SHAPE, generator=source)
    return Samples(features, torch.randint(0, 10, (count,), generator=source))


def resident(name="mlp", seed=0):
    return ResidentModel(build(name, SHAPE, 10, seed))


def plain_sgd(name, start, data, settings, source):
    """Written with a data order, a loss and torch.optim.SGD, as anybody would."""
    model = resident(name)
    model.vector.copy_(start)
    optimiser = torch.optim.SGD(model.module.parameters(), lr=settings.local_lr)
    for _ in range(settings.local_epochs):
        order = torch.randperm(len(data), generator=source)
        for first in range(0, len(data), settings.batch_size):
            batch = order[first : first + settings.batch_size]
            optimiser.zero_grad(set_to_none=False)
            logits = model.module(data.features[batch])
            if settings.softmax_axis == "class":
                loss = functional.cross_entropy(logits, data.labels[batch])
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


@pytest.mark.parametrize("axis", ["class", "batch"])
@pytest.mark.parametrize("clip", [None, 1e-2])
@pytest.mark.parametrize("name", ["logistic_regression", "small_cnn"])
def test_a_client_trains_by_plain_sgd(name, clip, axis):
    data, start = samples(50), resident(name, seed=3).vector.clone()
    settings = LocalTraining(3, 16, 0.3, clip, axis)
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
    start, settings = resident(seed=3).vector.clone(), LocalTraining(1, 8, 0.3)

    def source(client):
        return generator(0, "batches", client)

    updates = train_clients(resident(), start, parties, settings, source)
    assert updates.shape == (4, len(start))
    for client in (3, 1, 0, 2):
        alone = train_client(resident(), start, parties[client], settings, source(client))
        assert updates[client].equal(alone)


def test_the_model_may_itself_hold_the_starting_point():
    model = resident(seed=3)
    start, data = model.vector.clone(), samples(20)
    first = train_client(model, start, data, LocalTraining(), generator(0, "x"))
    again = train_client(model, start, data, LocalTraining(), generator(0, "x"))
    assert again.equal(first)
