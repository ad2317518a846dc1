"""Division of the rounds of a run into jobs."""

from math import ceil
from pathlib import Path

from skymask.jobs import costs, paths
from skymask.study.grid import Cell, Study

STAGES = ("train", "attack", "aggregate", "evaluate")

PLANNING = 5e-3
"""Seconds for which Snakemake plans a job, in 35 KB of memory; measured with 12,000 to 40,000."""

Span = tuple[int, int]


def spans(folder: Path, rounds: int, rounds_per_job: int) -> list[Span]:
    """Divide the rounds of a run into spans.

    The chain of finished spans in ``folder`` is kept and continued, so that a change of the number
    of rounds or of ``rounds_per_job`` computes nothing twice.  Of several chains this takes the one
    that reaches furthest, at each step by its longest span.

    Args:
        folder: Folder of the run.
        rounds: Rounds of the run.
        rounds_per_job: Maximal number of rounds of a new span; with 1 there are no spans.

    Returns:
        First and last round of each span, in order.
    """
    if rounds_per_job == 1:
        return []
    finished: dict[int, list[int]] = {}
    for start, end in paths.finished_spans(folder):
        finished.setdefault(start, []).append(end)
    # the last round that a chain of finished spans reaches from a round
    reach: dict[int, int] = {}
    for begin in sorted(finished, reverse=True):
        finished[begin] = [last for last in finished[begin] if begin <= last <= rounds]
        reach[begin] = max((reach.get(e + 1, e) for e in finished[begin]), default=begin - 1)
    result: list[Span] = []
    first = 1
    while first <= rounds:
        leading = [e for e in finished.get(first, []) if reach.get(e + 1, e) == reach[first]]
        last = max(leading, default=min(first + rounds_per_job - 1, rounds))
        result.append((first, last))
        first = last + 1
    return result


def rounds_per_job(study: Study, cell: Cell) -> int:
    """Return how many rounds a job of a run has: the study's value, or the choice for ``auto``.

    It depends on nothing but the study and the package, so that the same command plans the same
    jobs.
    """
    if study.rounds_per_job == "auto":
        return costs.rounds_per_job(cell.experiment, cell.rounds, study.minutes_per_job)
    return study.rounds_per_job


def count_jobs(study: Study) -> int:
    """Count the jobs of the runs of a study, if none of them has begun.

    Those for data sets, partitions, tables and figures are few and not counted.
    """
    count = 0
    for cell in study.runs.values():
        if study.rounds_per_job == 1:
            # the first global model, then the stages
            parts = (
                1 + (len(STAGES) - 1) * cell.rounds + cell.rounds // cell.experiment.evaluate_every
            )
        else:
            parts = ceil(cell.rounds / rounds_per_job(study, cell))
        kept = any(number <= cell.rounds for number in study.keep_updates)
        count += parts + 1 + kept
    return count


def too_many_jobs(study: Study) -> str | None:
    """Return a sentence where a study has more jobs than its key ``most_jobs`` allows."""
    count = count_jobs(study)
    if count <= study.most_jobs:
        return None
    minutes = count * PLANNING / 60
    duration = f"{minutes:,.0f} minutes" if minutes < 120 else f"{minutes / 60:,.0f} hours"
    planning = f"; Snakemake would plan them for {duration} or more" if minutes > 2 else ""
    return (
        f"most_jobs: the study has about {count:,} jobs, and {study.most_jobs:,} are allowed"
        f"{planning}. Raise rounds_per_job (or write auto), "
        f"shorten the grid, or allow them by most_jobs: {count}"
    )


def pieces(folder: Path, name: str, cell: Cell, run_spans: list[Span], staged: bool) -> list[Path]:
    """List the files with the rows ``name`` (metrics, clients, timings) of a run, by round."""
    if not staged:
        return [paths.span(folder, *span) / f"{name}.parquet" for span in run_spans]
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


def previous_span(first: int, run_spans: list[Span]) -> Span | None:
    """Return the span that ends before round ``first``; ``None`` at round 1."""
    return next((span for span in run_spans if span[1] == first - 1), None)
