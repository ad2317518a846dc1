"""Seeds, contracts and flat parameters: what everything else rests on."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skymask.contracts import RequirementError, call, describes, requires
from skymask.models.flat_parameters import Layout, ResidentModel
from skymask.seeds import derive, generator, numpy_generator


def test_a_seed_is_the_head_of_a_hash_of_its_place():
    head = hashlib.sha256(b"7/batches/3/12").digest()[:8]
    assert derive(7, "batches", 3, 12) == int.from_bytes(head, "big") // 2


@given(seed=st.integers(0, 2**40), indices=st.lists(st.integers(0, 1000), max_size=3))
def test_a_seed_fits_in_63_bits_and_knows_its_indices_order_and_purpose(seed, indices):
    value = derive(seed, "batches", *indices)
    assert 0 <= value < 2**63
    assert value == derive(seed, "batches", *indices)
    others = {derive(seed + 1, "batches", *indices), derive(seed, "attack", *indices)}
    others |= {derive(seed, "batches", *indices, 0)}
    if indices != indices[::-1]:
        others.add(derive(seed, "batches", *indices[::-1]))
    assert value not in others


def test_numbers_of_all_kinds_derive_the_same_seed():
    assert derive(np.int64(3), "x", np.int32(4)) == derive(3, "x", 4)


def test_generators_repeat_and_leave_the_global_ones_alone():
    before, np_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (torch.rand(5, generator=generator(1, "x", 2)) for _ in range(2))
    assert first.equal(second)
    assert not first.equal(torch.rand(5, generator=generator(1, "x", 3)))
    one, two = (numpy_generator(1, "x", 2).random(5) for _ in range(2))
    assert (one == two).all()
    assert torch.get_rng_state().equal(before)
    assert (np.random.get_state()[1] == np_before).all()  # noqa: NPY002
    assert generator(1, "x").device.type == "cpu"


@requires(lambda n, f: n > f, "needs n > f")
@requires(lambda power: power > 0, "power must be positive")
def rule(updates, malicious=None, assumed_malicious=None, *, power=1.0):
    """A rule."""
    return len(updates), power


def test_requirement_counts_clients_and_attackers_for_the_condition():
    assert rule([1, 2, 3], assumed_malicious=2) == (3, 1.0)
    assert rule([1, 2, 3], torch.tensor([True, False, True])) == (3, 1.0)
    with pytest.raises(RequirementError, match=r"^rule: needs n > f \(n = 3, f = 3\)$"):
        rule([1, 2, 3], assumed_malicious=3)
    with pytest.raises(RequirementError, match=r"^rule: needs n > f \(n = 1, f = 1\)$"):
        rule([1], torch.tensor([True]))


def test_what_the_server_reckons_with_comes_before_the_truth():
    truth = torch.tensor([True, True])
    assert rule([1, 2], truth, assumed_malicious=0) == (2, 1.0)


def test_requirement_sees_parameters_and_their_defaults():
    with pytest.raises(RequirementError, match=r"power must be positive \(power = -1\)"):
        rule([1], assumed_malicious=0, power=-1)
    assert rule.__name__ == "rule"
    assert rule.__doc__ == "A rule."


def test_a_requirement_error_is_a_value_error():
    assert issubclass(RequirementError, ValueError)


def test_call_computes_only_what_is_asked_for():
    def never():
        raise AssertionError("nobody asked")

    def method(updates, *, b=2):
        return updates * b

    assert call(method, {"updates": lambda: 5, "loss": never}, {"b": 3}) == 15
    assert call(method, {"updates": lambda: 5, "loss": never}, {}) == 10
    with pytest.raises(TypeError):
        call(method, {"loss": never}, {})


def test_call_sees_through_requirements():
    offers = {"updates": lambda: [1, 2], "assumed_malicious": lambda: 1, "state": dict}
    assert call(rule, offers, {"power": 4.0}) == (2, 4.0)


def test_facts_are_attached_to_the_function_itself():
    def load():
        return 1

    assert describes(classes=10)(load) is load
    assert load.facts == {"classes": 10}


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
