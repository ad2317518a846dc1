"""How far a job of many rounds is, as lines in its log, and read back from there."""

import re
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

SECONDS = 5.0
"""Between two lines of a log at least."""

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
"""What a bar shows, in tqdm's words; a rate is never turned into seconds per round."""

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
        """Say that ``round_`` is done."""
        now = perf_counter()
        if self._shown is None or round_ == self._last or now - self._shown >= SECONDS:
            self._shown = now
            elapsed = now - self._begun
            print(meter(round_, self._last, elapsed, before=self._before), flush=True)


def meter(done: int, of: int, elapsed: float, before: int = 0, columns: int = 78) -> str:
    """One line: a bar of ``done`` rounds ``of`` so many, the time, the rate, and what is left.

    ``elapsed`` is in seconds, the time left in hours, minutes and seconds.

    The rounds up to ``before`` were there at the start and tell nothing of the rate.
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
    """The last round that a job's log says is done; ``None`` where it says nothing."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, 2) - _TAIL, 0))
            tail = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    found = _LINE.findall(tail)
    return int(found[-1][0]) if found else None
