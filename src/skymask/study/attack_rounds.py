"""Rounds in which an attack takes place."""

from skymask.contracts import requires


@requires(lambda every: every >= 1, "every must be at least 1")
@requires(lambda first, last: last is None or last >= first, "last must not be before first")
@requires(lambda first: first >= 1, "first must be at least 1")
def attacks_in(round_: int, *, first: int = 1, last: int | None = None, every: int = 1) -> bool:
    """Return whether the malicious clients attack in a round; in the others they are honest.

    They attack in the rounds first, first + every, first + 2 · every and so on, up to the last.  A
    late start is ``first: 20``, a single shot ``first: 20, last: 20``, a periodic attack
    ``every: 5``.

    Args:
        round_: Round, from 1.
        first: First round with an attack.
        last: Last round in which there may be one; ``None`` for the end of the run.
        every: Rounds from one attack to the next.

    Returns:
        Whether the round is one of these.

    >>> [r for r in range(1, 11) if attacks_in(r, first=3, last=9, every=3)]
    [3, 6, 9]
    """
    within = first <= round_ and (last is None or round_ <= last)
    return within and (round_ - first) % every == 0
