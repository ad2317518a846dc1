"""Interrupts (Ctrl-C) and terminations of a job's process."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

EXIT_CODE = 130
"""Exit code of a job that was interrupted or terminated."""

AGAIN = 0.2
"""Seconds after which an interrupt is raised again in a block that still runs."""

# a cluster terminates a job that is cancelled or out of time
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interrupt:
    """The signal that ended a block, such as ``SIGTERM``, or an empty name; whether it is over."""

    name: str = ""
    over: bool = False


def end_silently() -> None:
    """From now on, end this process at once and without a traceback when it is interrupted.

    For the imports of a job, which may take seconds and leave nothing to clean up.  A signal that
    the process was started to ignore stays ignored.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(EXIT_CODE))


@contextmanager
def raised() -> Iterator[Interrupt]:
    """Raise KeyboardInterrupt or SystemExit where the block is interrupted or terminated.

    Python drops an exception in a function that was called from C, as by LLVM while numba compiles,
    so the exception is raised again until the block ends; but not while its ``finally`` clauses and
    contexts clean up, which no further signal disturbs.

    Yields:
        The signal, once there was one.
    """
    interrupt = Interrupt()

    def begin(number: int, frame: FrameType | None) -> None:
        interrupt.name = interrupt.name or signal.Signals(number).name
        again(number, frame)

    def again(number: int, frame: FrameType | None) -> None:
        if interrupt.over:
            return
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        if isinstance(sys.exception(), KeyboardInterrupt | SystemExit):
            return
        if interrupt.name == "SIGINT":
            raise KeyboardInterrupt
        sys.exit(EXIT_CODE)

    before = {number: signal.getsignal(number) for number in (*_SIGNALS, signal.SIGALRM)}
    for number, handler in before.items():
        if number != signal.SIGINT or handler is not signal.SIG_IGN:
            signal.signal(number, again if number == signal.SIGALRM else begin)
    try:
        yield interrupt
    finally:
        interrupt.over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
