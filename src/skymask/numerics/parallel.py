"""Work distributed over threads, each with one thread of torch.

Torch splits every operation among its threads. Operations on a batch of 32 samples are too small
for that, but whole clients or blocks of columns can run next to each other. Since each piece of
work is done by one thread, its bits do not depend on the number of threads.
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
    """Return ``[work(item) for item in items]``, computed by as many threads as torch has.

    Python's lock is free while an operation of torch or a compiled loop runs.

    Args:
        work: Function of one item.
        items: The items.
        device: Device of the tensors. On another device than the CPU, which does one thing after
            the other, one thread does all the work.

    Returns:
        The results, in the order of the items.

    Raises:
        Exception: The first error of ``work``, once running work has ended; no further work starts.
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
    """Leave all threads to :func:`parallel_map` inside the block; torch uses one.

    After each operation that torch splits, its threads stay awake for a moment and slow down
    others. So a loop that distributes most of its work does the rest with one thread.
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
    """Limit torch to one thread inside the block."""
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
    """Start threads that stay, since starting them takes as long as a small piece of work."""
    own = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=_start)
    # all start at once; each sets torch's threads to one, which would also hold for threads started
    # later, so the number is set again
    started = Barrier(threads + 1, timeout=60)
    for _ in range(threads):
        pool.submit(started.wait)
    started.wait()
    torch.set_num_threads(own)
    return pool


def _start() -> None:
    torch.set_num_threads(1)
    # read once, or torch would reset it to the number for new threads
    assert torch.get_num_threads() == 1
