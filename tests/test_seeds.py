"""Seeds and generators derived from a root seed."""

import hashlib

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

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
