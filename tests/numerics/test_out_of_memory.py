"""Tests of smaller pieces when device memory runs out."""

import logging

import pytest
import torch

from skymask.jobs.log import retry_may_help
from skymask.numerics import column_blocks
from skymask.numerics.out_of_memory import DeviceMemoryError, explain_memory_errors, with_halving
from tests.support.devices import Device


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


def test_halving_is_logged_once_and_other_errors_are_raised(caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with_halving(lambda s: Device(5).take(s.stop - s.start), slice(0, 8), "test clients")
    (message,) = caplog.messages
    assert "out of memory with 8 test clients at once" in message
    assert "Tried to allocate 2.50 GiB" in message
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


def test_a_memory_error_of_a_library_counts_too():
    def work(places):
        if places.stop - places.start > 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        return places.start

    assert with_halving(work, slice(0, 3), "things") == [0, 1, 2]


def test_the_memory_of_a_failed_piece_is_free_when_the_halves_begin():
    alive = []

    class Kept:
        def __init__(self):
            alive.append(self)

        def __del__(self):
            released.append(True)

    released = []

    def work(places):
        if places.stop - places.start > 2:
            kept = Kept()
            alive.clear()
            raise torch.cuda.OutOfMemoryError(f"{id(kept)}")
        assert released == [True]

    with_halving(work, slice(0, 4), "things")


def test_the_error_names_stage_device_request_and_remedies():
    with pytest.raises(DeviceMemoryError) as error, explain_memory_errors("aggregate", "cuda:1"):
        with_halving(lambda _: Device(0).take(1), slice(0, 4), "things")
    message = str(error.value)
    for words in (
        "the memory of cuda:1 does not suffice for the stage aggregate",
        "Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.6 GiB of which 1.20 GiB",
        "gpu_slots=1",
        "device: cpu",
        "run the same command again",
    ):
        assert words in message
    assert "PYTORCH_ALLOC_CONF" not in message
    assert "\n" not in message
    # other jobs may have given the memory back by then
    assert retry_may_help(error.value)


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
