"""Progress of a job of many rounds, as lines in its log."""

import re
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

SECONDS = 5.0
"""Minimal time between two lines of a log."""

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
"""Format of a bar, for tqdm; the rate is always in rounds per second."""

_LINE = re.compile(r"\| (\d+)/(\d+) \[")
_TAIL = 4096


class RoundLog:
    """A progress bar as lines of text: rounds done, time, rounds per second, time left.

    Called with the number of a round when it is done; prints the first and the last of
    ``first`` .. ``last``, and in between a line every ``SECONDS``.
    """

    def __init__(self, first: int, last: int) -> None:
        self._before, self._last = first - 1, last
        self._begun = perf_counter()
        self._shown: float | None = None

    def __call__(self, round_: int) -> None:
        """Note that ``round_`` is done."""
        now = perf_counter()
        if self._shown is None or round_ == self._last or now - self._shown >= SECONDS:
            self._shown = now
            elapsed = now - self._begun
            print(meter(round_, self._last, elapsed, before=self._before), flush=True)


def meter(done: int, of: int, elapsed: float, before: int = 0, columns: int = 78) -> str:
    """Return a line with a bar of rounds, the time, the rate and the time left.

    Args:
        done: Last round that is done.
        of: Last round of all.
        elapsed: Seconds since the start.
        before: Last round that was done at the start, for the rate.
        columns: Width of the line, in characters.
    """
    return str(
        tqdm.format_meter(
            done,
            of,
            elapsed,
            ncols=columns,
            unit=" rounds",
            ascii=True,
            bar_format=BAR,
            initial=before,
        )
    )


def last_round(log: Path) -> int | None:
    """Return the last round that is done according to a log; ``None`` if it has none."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, 2) - _TAIL, 0))
            tail = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    lines = _LINE.findall(tail)
    return int(lines[-1][0]) if lines else None
