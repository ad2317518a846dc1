"""How the rounds of a run are cut into jobs, and which files each kind of row lies in.

Imports nothing heavy: the Snakefile plans its DAG with it.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from skymask import costs, published
from skymask.source import registry
from skymask.study import Cell, Study

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
    for path in folder.glob("spans/*-*/model.parquet"):
        start, _, end = path.parent.name.partition("-")
        if start.isdigit() and end.isdigit():
            known.setdefault(int(start), []).append(int(end))
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


def backdoored(cell: Cell) -> bool:
    """Whether the attack of a cell has a trigger, so that its success is measured."""
    return cell.experiment.attack.name in registry("skymask.attacks", "TRIGGERS")


def masked(cell: Cell) -> bool:
    """Whether a cell learns masks."""
    return cell.experiment.defense.name == "skymask"


def tables(study: Study) -> list[str]:
    """The names of the tables of a study: those that its defined cells fill."""
    names = ["accuracy", "detection", "got_through", "runs"]
    cells = [cell for cell in study.cells if cell.undefined is None]
    names += ["attack_success"] if any(map(backdoored, cells)) else []
    names += ["mask_layers"] if any(map(masked, cells)) else []
    names += ["published"] if published.known(study) else []
    return names + (["significance"] if _testable(cells) else [])


def _testable(cells: list[Cell]) -> bool:
    """Whether SkyMask and another defense, the oracle aside, have two pairs of seeds in common."""
    ours: dict[tuple[str, str], dict[str, set[tuple[int, int]]]] = {}
    others: dict[tuple[str, str], dict[str, set[tuple[int, int]]]] = {}
    for cell in cells:
        run = cell.experiment
        if run.defense.name != "oracle":
            party = (ours if masked(cell) else others).setdefault((cell.setting, cell.attack), {})
            party.setdefault(cell.defense, set()).add((run.data_seed, run.training_seed))
    return any(
        len(mine & theirs) > 1
        for place, variants in ours.items()
        for mine in variants.values()
        for theirs in others.get(place, {}).values()
    )


def figures(study: Study) -> list[str]:
    """The names of the figures of a study: those that its defined cells fill."""
    cells = [cell for cell in study.cells if cell.undefined is None]
    names = ["accuracy_curves"]
    grid = min(len({cell.defense for cell in cells}), len({cell.attack for cell in cells}))
    names += ["heat_map"] if grid > 1 else []
    varied = {axis for cell in cells for axis in cell.varied}
    names += ["rates"] if len(varied) == 1 else []
    names += ["triggered_samples"] if any(map(backdoored, cells)) else []
    learned = ["mask_scatter", "mask_geometry", "mask_layers"]
    return names + (learned if any(map(masked, cells)) else [])


def digest(study: Study) -> str:
    """Sixteen hexadecimal digits over what a study's tables and figures show."""
    cells = [(asdict(cell), cell.experiment.run) for cell in study.cells]
    beside = published.digest() if published.known(study) else None
    values = [cells, study.final_evaluations, study.scatter_round, dict(study.reduced), beside]
    shown = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(shown.encode()).hexdigest()[:16]
