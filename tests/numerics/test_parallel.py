"""Tests of work distributed over threads."""

import threading

import pytest
import torch

from skymask.numerics import parallel
from tests.support.threads import with_threads


def test_pieces_of_work_keep_their_order_and_torch_its_threads():
    def work():
        return parallel.parallel_map(lambda number: (number, torch.get_num_threads()), range(7))

    assert with_threads(work) == [[(number, 1) for number in range(7)]] * 3


def test_work_is_distributed_while_torch_has_one_thread():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with parallel.parallel_map_only():
            assert torch.get_num_threads() == 1
            with parallel.parallel_map_only():
                together = threading.Barrier(2, timeout=20)
                # each waits for the other: they run at once, or never
                parallel.parallel_map(lambda _: together.wait(), range(2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_piece_of_work_is_raised():
    def work(number):
        if number == 2:
            raise ValueError("the third")
        return number

    def raises():
        with pytest.raises(ValueError, match="the third"):
            parallel.parallel_map(work, range(5))

    with_threads(raises)
