"""Work in another thread: in order, bounded, and never silently lost."""

import threading
import time

import pytest

from skymask.federation.storage import in_background


def test_work_is_done_in_order_and_all_of_it_before_the_block_ends():
    done = []
    with in_background(done.append) as queue:
        for item in range(20):
            queue(item)
    assert done == [*range(20)]


def test_it_runs_in_one_other_thread():
    threads = []
    with in_background(lambda item: threads.append(threading.current_thread())) as queue:
        queue(1)
        queue(2)
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_more_than_so_many_items_wait_or_are_worked_on(limit):
    gate, accepted, handed = threading.Semaphore(0), [], threading.Semaphore(0)

    def producer():
        with in_background(lambda item: gate.acquire(), limit=limit) as queue:
            for item in range(6):
                queue(item)
                accepted.append(item)
                handed.release()

    thread = threading.Thread(target=producer, daemon=True)
    thread.start()
    try:
        for _ in range(limit):
            assert handed.acquire(timeout=10)
        # nothing is done yet: the next one waits, however long
        assert not handed.acquire(timeout=0.2)
        for done in range(1, 7):
            gate.release()
            if limit + done <= 6:
                assert handed.acquire(timeout=10)
                assert not handed.acquire(timeout=0.05)
    finally:
        # a failure must not leave the threads waiting
        gate.release(6)
    thread.join(timeout=10)
    assert accepted == [*range(6)]


def test_an_item_is_released_when_its_work_is_done():
    class Item:
        alive = 0

        def __init__(self):
            Item.alive += 1

        def __del__(self):
            Item.alive -= 1

    seen, gate = [], threading.Semaphore(0)

    def work(item):
        gate.acquire()
        seen.append(Item.alive)

    with in_background(work, limit=2) as queue:
        for _ in range(5):
            gate.release()
            queue(Item())
        # the last one too, while the thread waits for more
        deadline = time.monotonic() + 10
        while Item.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Item.alive == 0
    # two queued, and the one about to be
    assert len(seen) == 5
    assert max(seen) <= 3


def fail_at(place, done):
    def work(item):
        if item == place:
            raise OSError("no space left on device")
        done.append(item)

    return work


def test_an_error_is_raised_at_the_end_of_the_block():
    done = []
    with (
        pytest.raises(OSError, match="no space left"),
        in_background(fail_at(1, done)) as queue,
    ):
        queue(1)
    assert done == []


def test_an_error_ends_the_caller_at_a_later_call_and_the_rest_is_dropped():
    done, handed = [], []

    def body():
        with in_background(fail_at(2, done), limit=1) as queue:
            for item in range(10):
                queue(item)
                handed.append(item)

    with pytest.raises(OSError, match="no space left"):
        body()
    assert done == [0, 1]
    assert handed == [0, 1, 2]


def test_an_error_is_raised_by_the_next_call_though_nothing_has_to_be_waited_for():
    failed = threading.Event()

    def work(item):
        failed.set()
        raise OSError("no space left on device")

    def body():
        with in_background(work, limit=9) as queue:
            queue(0)
            assert failed.wait(timeout=20)
            deadline = time.monotonic() + 20
            # the thread may need a moment to pass the error on
            while time.monotonic() < deadline:
                time.sleep(0.05)
                queue(1)
                handed.append(1)

    handed = []
    with pytest.raises(OSError, match="no space left"):
        body()
    assert len(handed) <= 1


def test_a_caller_that_fails_drops_what_waits_and_keeps_its_own_error():
    gate, begun, done = threading.Semaphore(0), threading.Event(), []

    def work(item):
        begun.set()
        gate.acquire()
        done.append(item)

    def body():
        with in_background(work, limit=2) as queue:
            queue(1)
            queue(2)
            assert begun.wait(timeout=20)
            threading.Timer(0.1, gate.release, [5]).start()
            raise KeyError("the caller's")

    with pytest.raises(KeyError, match="the caller's"):
        body()
    assert done == [1]
