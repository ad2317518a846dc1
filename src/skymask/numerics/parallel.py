"""Work shared out among threads, each of which has one thread of torch.

Torch splits every operation among its threads.  Operations on a batch of 32 samples are too small
for that; whole clients, or blocks of columns, side by side are not.  And since each piece of work
is done by one thread, its bits do not depend on how many there are.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Barrier, local
from typing import TypeVar

import torch

_here = local()

T = TypeVar("T")
R = TypeVar("R")


def parallel_map(
    work: Callable[[T], R], items: Iterable[T], device: torch.device | None = None
) -> list[R]:
    """``[work(item) for item in items]``, by as many threads as torch has here.

    For tensors on another ``device`` than the CPU, which does one thing after the other, by one.
    Python's own lock is free while an operation of torch or a compiled loop runs.  Of the errors
    the first is raised, once what is under way has ended; the rest is not begun.
    """
    if device is not None and device.type != "cpu":
        return [work(item) for item in items]
    pieces, threads = list(items), getattr(_here, "threads", None) or torch.get_num_threads()
    if threads == 1 or len(pieces) < 2:
        with single_threaded():
            return [work(piece) for piece in pieces]
    tasks = [_pool(threads).submit(work, piece) for piece in pieces]
    try:
        return [task.result() for task in tasks]
    except BaseException:
        for task in tasks:
            task.cancel()
        wait(tasks)
        raise


@contextmanager
def parallel_map_only() -> Iterator[None]:
    """Inside, only :func:`parallel_map` uses several threads, as many as torch had; torch uses one.

    After each operation that torch splits, its threads stay awake for a moment, in which they are
    in the way of those here.  So a loop that hands out most of its work does the rest alone.
    """
    if getattr(_here, "threads", None) is not None:
        yield
        return
    _here.threads = torch.get_num_threads()
    try:
        with single_threaded():
            yield
    finally:
        _here.threads = None


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread of torch inside, as many as before afterwards."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay, since starting them takes as long as a small piece of work."""
    own = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=_start)
    # all are started at once; each has said that it wants one thread of torch, which is what torch
    # would give to threads that are started later, so it is told again
    started = Barrier(threads + 1, timeout=60)
    for _ in range(threads):
        pool.submit(started.wait)
    started.wait()
    torch.set_num_threads(own)
    return pool


def _start() -> None:
    torch.set_num_threads(1)
    # asked once, or torch would give the thread what it gives to new ones
    assert torch.get_num_threads() == 1
