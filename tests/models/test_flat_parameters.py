"""Conversion between named tensors and one flat vector."""

import pytest
import torch
from torch import nn

from skymask.models.flat_parameters import Layout, ModelPool, ResidentModel


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3, bias=False))


def test_layout_is_the_order_of_the_named_parameters():
    layout = Layout.of(model())
    assert layout.names == ("0.weight", "0.bias", "2.weight")
    assert layout.shapes == ((2, 1, 3, 3), (2,), (3, 8))
    assert layout.sizes == (18, 2, 24)
    assert layout.dimension == 44


def test_frozen_tensors_are_no_parameters():
    module = model()
    module[0].requires_grad_(False)
    assert Layout.of(module).names == ("2.weight",)
    assert ResidentModel(module).vector.shape == (24,)


def test_flatten_and_unflatten_are_inverse_to_the_bit():
    layout = Layout.of(model())
    vector = torch.randn(44, generator=torch.Generator().manual_seed(0))
    vector[3], vector[30] = float("nan"), float("inf")
    again = layout.flatten(layout.unflatten(vector))
    assert again.view(torch.int32).equal(vector.view(torch.int32))
    assert again.data_ptr() != vector.data_ptr()


def test_columns_cut_whole_matrices():
    rows = torch.arange(88.0).view(2, 44)
    pieces = Layout.of(model()).columns(rows)
    assert [piece.shape for piece in pieces.values()] == [(2, 18), (2, 2), (2, 24)]
    assert torch.cat(list(pieces.values()), dim=1).equal(rows)


def test_a_vector_of_another_model_is_refused():
    with pytest.raises(ValueError, match="the vector has 43 entries but the model has 44"):
        Layout.of(model()).unflatten(torch.zeros(43))


def test_resident_model_shares_its_memory_with_the_module():
    module = model()
    expected = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    resident = ResidentModel(module)
    assert resident.vector.equal(expected)
    resident.vector.zero_()
    assert all(p.eq(0).all() for p in module.parameters())
    resident.vector.copy_(torch.arange(44.0))
    named = resident.layout.unflatten(torch.arange(44.0))
    assert all(p.equal(named[name]) for name, p in module.named_parameters())


def test_resident_gradient_is_filled_by_backward_and_adds_up():
    resident = ResidentModel(model())
    images = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for times in (1, 2):
        resident.module(images).square().sum().backward()
        fresh = model()
        fresh(images).square().sum().backward()
        expected = torch.cat([p.grad.reshape(-1) for p in fresh.parameters()])
        torch.testing.assert_close(resident.gradient, times * expected)


def test_a_copy_shares_nothing_with_its_model():
    original = ResidentModel(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    parameters, statistics = original.vector.clone(), original.statistics.clone()
    copy = original.copy(torch.arange(15.0), torch.arange(6.0))
    copy.module(torch.rand(4, 2)).square().sum().backward()
    assert copy.vector.equal(torch.arange(15.0))
    assert not copy.statistics.equal(torch.arange(6.0))
    assert original.vector.equal(parameters)
    assert original.statistics.equal(statistics)
    assert not original.gradient.any()


def test_copies_of_a_pool_are_used_again_but_never_by_two_at_once():
    pool, start = ModelPool(model()), torch.arange(44.0)
    with pool.borrow(start) as one, pool.borrow(start + 1) as other:
        assert one is not other
        assert one.vector.equal(start)
        assert other.vector.equal(start + 1)
    with pool.borrow(start + 2) as again:
        assert again in (one, other)
        assert again.vector.equal(start + 2)
