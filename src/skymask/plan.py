"""How the rounds of a run are cut into jobs, and which files each kind of row lies in.

Imports nothing heavy: the Snakefile plans its DAG with it.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from skymask.study import Cell, Study

STAGES = ("train", "attack", "aggregate", "evaluate")

Span = tuple[int, int]


def spans(folder: Path, rounds: int, rounds_per_job: int) -> list[Span]:
    """Cut ``rounds`` into spans (first, last) of at most ``rounds_per_job``.

    A chain of spans that an earlier, shorter or otherwise cut run left in ``folder`` is kept and
    continued, so that more rounds cost only the new ones.
    """
    if rounds_per_job == 1:
        return []
    known: dict[int, list[int]] = {}
    for path in folder.glob("spans/*-*/model.parquet"):
        start, _, end = path.parent.name.partition("-")
        if start.isdigit() and end.isdigit():
            known.setdefault(int(start), []).append(int(end))
    cut: list[Span] = []
    first = 1
    while first <= rounds:
        ends = [last for last in known.get(first, []) if last <= rounds]
        last = max(ends, default=min(first + rounds_per_job - 1, rounds))
        cut.append((first, last))
        first = last + 1
    return cut


def pieces(folder: Path, name: str, cell: Cell, cut: list[Span], staged: bool) -> list[str]:
    """The files with the rows ``name`` (metrics, clients, timings) of a run, in order of rounds."""
    if not staged:
        return [f"{folder}/spans/{first}-{last}/{name}.parquet" for first, last in cut]
    run = cell.experiment
    rounds = range(1, cell.rounds + 1)
    if name == "metrics":
        return [f"{folder}/rounds/{r}/metrics.parquet" for r in rounds if run.evaluates(r)]
    if name == "timings":
        return [
            f"{folder}/rounds/{r}/timings/{stage}.parquet"
            for r in rounds
            for stage in STAGES
            if stage != "evaluate" or run.evaluates(r)
        ]
    return [f"{folder}/rounds/{r}/{name}.parquet" for r in rounds]


def previous_span(first: int, cut: list[Span]) -> Span | None:
    """The span that ends where one beginning at ``first`` goes on; ``None`` at round 1."""
    return next((span for span in cut if span[1] == first - 1), None)


def digest(study: Study) -> str:
    """Sixteen hexadecimal digits over what a study's tables and figures show."""
    cells = [(asdict(cell), cell.experiment.run) for cell in study.cells]
    shown = json.dumps([cells, study.final_evaluations, study.scatter_round], sort_keys=True)
    return hashlib.sha256(shown.encode()).hexdigest()[:16]
