"""The fused layer against torch's three operations, values and gradients."""

import pytest
import torch
from torch.testing import assert_close

from skymask.models import pooled_convolution
from skymask.models.pooled_convolution import CHANNELS, PooledConvolution
from tests.support.threads import with_threads

CASES = [
    # channels, outputs, padding, height, width, samples
    (CHANNELS, CHANNELS, 0, 12, 12, 3),
    (CHANNELS + 3, 20, 0, 11, 8, 5),
    (30, 50, 0, 5, 6, 2 * pooled_convolution.SAMPLES + 1),
    (1, CHANNELS, 0, 12, 9, 4),
    (1, CHANNELS, 0, 31, 30, 4),
    (3, 17, 1, 8, 7, 4),
    (CHANNELS, 24, 1, 8, 8, 33),
]


def layer(channels, outputs, padding):
    torch.manual_seed(0)
    return PooledConvolution(channels, outputs, padding)


def values_and_gradients(module, images, direction, fused):
    module.fused = fused
    leaf = images.clone().requires_grad_()
    outputs = module(leaf)
    wanted = (leaf, module.weight, module.bias)
    return outputs.detach(), *torch.autograd.grad((outputs * direction).sum(), wanted)


@pytest.mark.parametrize("last", [True, False], ids=["channels last", "contiguous"])
@pytest.mark.parametrize(("channels", "outputs", "padding", "height", "width", "count"), CASES)
def test_it_is_the_three_operations(channels, outputs, padding, height, width, count, last):
    module = layer(channels, outputs, padding)
    images = torch.rand(count, channels, height, width)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    module.fused = False
    direction = torch.randn_like(module(images))
    assert module._fusible(images) is False
    plain = values_and_gradients(module, images, direction, fused=False)
    fused = values_and_gradients(module, images, direction, fused=True)
    assert module._fusible(images)
    assert 0 < (plain[0] == 0).float().mean() < 1
    for ours, theirs in zip(fused, plain, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_equal_values_pass_the_gradient_to_the_first():
    module = layer(CHANNELS, CHANNELS, 0)
    images = torch.ones(1, CHANNELS, 6, 6)
    direction = torch.ones(1, CHANNELS, 2, 2)
    plain = values_and_gradients(module, images, direction, fused=False)
    fused = values_and_gradients(module, images, direction, fused=True)
    for ours, theirs in zip(fused, plain, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_nan_gets_through(place):
    module = layer(CHANNELS, CHANNELS, 0)
    images = torch.rand(1, CHANNELS, 6, 6)
    images[0, 0, 2 + place[0], 2 + place[1]] = float("nan")
    for fused in (False, True):
        module.fused = fused
        assert module(images).isnan().all()


def test_an_empty_batch():
    assert layer(CHANNELS, CHANNELS, 0)(torch.rand(0, CHANNELS, 6, 6)).shape == (0, CHANNELS, 2, 2)


def test_bits_do_not_depend_on_the_number_of_threads():
    module = layer(30, 50, 0)
    images = torch.rand(3 * pooled_convolution.SAMPLES + 5, 30, 6, 6)
    direction = torch.randn(len(images), 50, 2, 2)
    results = with_threads(lambda: values_and_gradients(module, images, direction, fused=True))
    for other in results[1:]:
        assert all(one.equal(two) for one, two in zip(results[0][1:], other[1:], strict=True))


def test_other_numbers_and_devices_use_torchs_operations(monkeypatch):
    module = layer(CHANNELS, CHANNELS, 0)
    images = torch.rand(2, CHANNELS, 6, 6)
    assert module._fusible(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert not module._fusible(images)
    assert not module.double()._fusible(images.double())
    monkeypatch.setattr(pooled_convolution, "installed", lambda _: False)
    assert not layer(CHANNELS, CHANNELS, 0)._fusible(images)
