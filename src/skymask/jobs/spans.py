"""How the rounds of a run are cut into jobs, and which files each kind of row lies in.

Imports nothing heavy: the Snakefile plans its DAG with it.
"""

from pathlib import Path

from skymask.jobs import costs, paths
from skymask.study.grid import Cell, Study

STAGES = ("train", "attack", "aggregate", "evaluate")

Span = tuple[int, int]


def spans(folder: Path, rounds: int, rounds_per_job: int) -> list[Span]:
    """Cut ``rounds`` into spans (first, last) of at most ``rounds_per_job``.

    The chain of spans that an earlier, shorter or otherwise cut run left in ``folder`` is kept and
    continued, so that neither more rounds nor another grain computes anything twice.  Of several
    chains it is that which leads furthest, at each step by its longest span.
    """
    if rounds_per_job == 1:
        return []
    known: dict[int, list[int]] = {}
    for start, end in paths.finished_spans(folder):
        known.setdefault(start, []).append(end)
    # the last round that a chain of known spans from a round on leads to
    reach: dict[int, int] = {}
    for begin in sorted(known, reverse=True):
        known[begin] = [last for last in known[begin] if begin <= last <= rounds]
        reach[begin] = max((reach.get(e + 1, e) for e in known[begin]), default=begin - 1)
    cut: list[Span] = []
    first = 1
    while first <= rounds:
        leading = [e for e in known.get(first, []) if reach.get(e + 1, e) == reach[first]]
        last = max(leading, default=min(first + rounds_per_job - 1, rounds))
        cut.append((first, last))
        first = last + 1
    return cut


def rounds_per_job(study: Study, cell: Cell) -> int:
    """How many rounds a job of a run carries: what the study says, or what ``auto`` comes to.

    It rests on the study and the package alone, so that the same command plans the same jobs again.
    """
    if study.rounds_per_job == "auto":
        return costs.rounds_per_job(cell.experiment, cell.rounds, study.minutes_per_job)
    return study.rounds_per_job


def pieces(folder: Path, name: str, cell: Cell, cut: list[Span], staged: bool) -> list[Path]:
    """List the files with the rows ``name`` (metrics, clients, timings) of a run, by round."""
    if not staged:
        return [paths.span(folder, *span) / f"{name}.parquet" for span in cut]
    run = cell.experiment
    rounds = range(1, cell.rounds + 1)
    if name == "timings":
        return [
            paths.stage_timings(folder, r, stage)
            for r in rounds
            for stage in STAGES
            if stage != "evaluate" or run.evaluates(r)
        ]
    return [
        paths.round_(folder, r) / f"{name}.parquet"
        for r in rounds
        if name != "metrics" or run.evaluates(r)
    ]


def previous_span(first: int, cut: list[Span]) -> Span | None:
    """The span that ends where one beginning at ``first`` goes on; ``None`` at round 1."""
    return next((span for span in cut if span[1] == first - 1), None)
