"""Work that goes on in a thread of its own while the caller goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def background(work: Callable[[T], object], held: int = 2) -> Iterator[Callable[[T], None]]:
    """Yield a function that hands an item to a thread, which calls ``work`` on each, in order.

    At most ``held`` items are held at once, the one at work included: handing over the next waits
    for a place.  The block ends when all work is done.  An error of ``work`` is raised by the next
    hand-over, or at the end of the block; what was still waiting is then dropped, as it is when the
    block itself fails.
    """
    waiting: SimpleQueue[tuple[T] | None] = SimpleQueue()
    places = Semaphore(held)
    errors: list[BaseException] = []

    def serve() -> None:
        while (packet := waiting.get()) is not None:
            try:
                if not errors:
                    work(packet[0])
            except BaseException as error:  # handed to the caller
                errors.append(error)
            # not held while the next is waited for
            del packet
            places.release()

    def hand_over(item: T) -> None:
        places.acquire()
        if errors:
            places.release()
            raise errors[0]
        waiting.put((item,))

    thread = Thread(target=serve, name="background", daemon=True)
    thread.start()
    try:
        yield hand_over
    except BaseException as error:
        errors.append(error)
        raise
    finally:
        waiting.put(None)
        thread.join()
    if errors:
        raise errors[0]
