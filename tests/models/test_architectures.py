"""The models, and the loss on samples as a function of flat parameters."""

from typing import get_args

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.models.architectures import MODELS, build
from skymask.models.flat_parameters import Layout, ResidentModel
from skymask.models.functional import root_loss
from skymask.models.loss_names import LossName
from skymask.models.losses import mean_loss
from skymask.models.samples import Samples, laid_out

SIZES = {
    ("cnn", (1, 28, 28)): 139_960,
    ("small_cnn", (1, 8, 8)): 80 + 1_168 + 650,
    ("mlp", (1, 8, 8)): 65 * 64 + 65 * 10,
    ("logistic_regression", (1, 8, 8)): 650,
    ("cnn", (3, 32, 32)): 840 + 13_550 + 180_100 + 1_010,
}


@pytest.mark.parametrize(("key", "count"), SIZES.items())
def test_parameter_count_is_that_of_the_definition(key, count):
    name, shape = key
    assert Layout.of(build(name, shape, 10, seed=0)).dimension == count


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 17)])
def test_every_model_maps_samples_to_one_logit_per_class(name, shape):
    logits = build(name, shape, 7, seed=0)(torch.rand(5, *shape))
    assert logits.shape == (5, 7)


@pytest.mark.parametrize("name", MODELS)
def test_initial_parameters_depend_on_the_seed_alone(name):
    def vector(seed):
        return ResidentModel(build(name, (1, 12, 12), 10, seed)).vector

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = vector(3)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(2)
    assert vector(3).equal(first)
    assert not vector(4).equal(first)


@pytest.mark.parametrize(("name", "shape"), [("cnn", (1, 9, 28)), ("small_cnn", (1, 3, 8))])
def test_too_small_images_are_refused(name, shape):
    with pytest.raises(RequirementError, match="the model needs images of at least"):
        build(name, shape, 10, seed=0)
    with pytest.raises(RequirementError, match="the model needs images of at least"):
        build(name, (561,), 10, seed=0)


@pytest.mark.parametrize("loss", get_args(LossName))
@pytest.mark.parametrize("name", MODELS)
def test_root_loss_is_the_loss_of_the_module_and_its_gradient(name, loss):
    source = torch.Generator().manual_seed(0)
    samples = Samples(
        torch.rand(9, 1, 12, 12, generator=source), torch.randint(0, 10, (9,), generator=source)
    )
    module = build(name, (1, 12, 12), 10, seed=5)
    vector = ResidentModel(build(name, (1, 12, 12), 10, seed=6)).vector.requires_grad_()
    before = Layout.of(module).flatten(dict(module.named_parameters()))
    value = root_loss(module, samples, loss)(vector)
    (gradient,) = torch.autograd.grad(value, vector)

    resident = ResidentModel(build(name, (1, 12, 12), 10, seed=6))
    expected = mean_loss(resident.module(samples.features), samples.labels, loss)
    expected.backward()
    assert_close(value, expected)
    assert_close(gradient, resident.gradient, rtol=1e-4, atol=5e-6)
    assert Layout.of(module).flatten(dict(module.named_parameters())).equal(before)


@pytest.mark.parametrize("shape", [(4, 1, 6, 5), (4, 3, 6, 5), (1, 1, 1, 1), (7, 20), (0, 1, 8, 8)])
def test_memory_layout_does_not_change_values(shape):
    features = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    arranged = laid_out(features)
    assert arranged.shape == features.shape
    assert arranged.equal(features)
    if len(shape) == 4 and shape[0] > 1:
        assert arranged.stride()[1] == 1
        kernel = torch.ones(2, shape[1], 3, 3)
        assert_close(functional.conv2d(arranged, kernel), functional.conv2d(features, kernel))


def test_samples_are_selected_by_index_into_a_copy():
    samples = Samples(torch.arange(6.0).view(3, 2), torch.tensor([4, 5, 6]))
    part = samples.select(torch.tensor([2, 0]))
    assert part.labels.tolist() == [6, 4]
    assert part.features.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    part.features.zero_()
    assert len(samples) == 3
    assert samples.features[2].tolist() == [4.0, 5.0]
