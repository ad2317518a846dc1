"""The files behind one run of a table: what they are, and the run's figures computed again."""

import hashlib
import json
from collections.abc import Mapping
from math import isclose, isnan
from pathlib import Path
from typing import Any

import pyarrow as pa

from skymask.artifacts.parquet import ArtifactError, read_schema
from skymask.artifacts.records import read_experiment, read_rows
from skymask.jobs import spans as jobs_spans
from skymask.reporting.tables import FIGURES, summarise
from skymask.study.grid import Cell

Row = Mapping[str, Any]


def computed_again(run: Row, results: Path) -> tuple[Cell, dict[str, object]]:
    """The cell of a run, and its row of the runs' table, computed again from the run's files.

    ``run`` is the row as the table has it.  The last rounds of a study may not be evaluated; how
    many there are shows in the figures over all rounds.  Raises ArtifactError.
    """
    folder = results / "runs" / run["run"]
    experiment = read_experiment(folder / "experiment.json")
    there = read_rows(folder / "aggregates.parquet", "aggregates", experiment.run)[
        "round"
    ].to_pylist()
    most = min(run["round"] + experiment.evaluate_every - 1, max(there, default=0))
    lengths = [run["rounds"]] if "rounds" in run else range(most, run["round"] - 1, -1)
    first = None
    for rounds in lengths:
        cell = Cell(experiment, rounds, run["defense"], run["attack"], run["setting"] or "")
        found = cell, summarise(cell, folder, run["evaluations"])
        first = first or found
        if not differences(run, found[1]):
            return found
    if first is None:
        raise ArtifactError(
            f"{folder}/aggregates.parquet ends before round {run['round']}: a study with fewer "
            "rounds has collected it since; run the study of this table again"
        )
    return first


def differences(run: Row, again: Row) -> list[str]:
    """What the runs' table says of a run and its files do not."""
    return [
        f"run {run['run']}: {figure} is {run[figure]} in runs.parquet, by its files {again[figure]}"
        for figure in ("round", "evaluations", *FIGURES)
        if not same(run[figure], again[figure])
    ]


def same(one: Any, other: Any) -> bool:
    """Whether two numbers are equal but for the last bits; nothing and NaN are the same."""
    a, b = (None if x in (None, "") or isnan(float(x)) else float(x) for x in (one, other))
    if a is None or b is None:
        return a is b
    return isclose(a, b, rel_tol=1e-12, abs_tol=1e-15)


def files_of(cell: Cell, results: Path, versions: dict[str, int]) -> tuple[list[str], list[str]]:
    """The files that a run's figures were computed from, a line each, and what is wrong with them.

    ``versions`` numbers the versions of packages that wrote them, and grows.
    """
    experiment = cell.experiment
    folder, data = results / "runs" / experiment.run, results / "data" / experiment.dataset
    split = experiment.partition_id
    parts = {kind: _pieces(folder, kind, cell) for kind in ("metrics", "aggregates", "model")}
    files = [
        (folder / "experiment.json", "", experiment.run),
        (folder / "metrics.parquet", "metrics", experiment.run),
        (folder / "aggregates.parquet", "aggregates", experiment.run),
        (results / "partitions" / f"{split}.parquet", "partition", split),
        (data / "train.parquet", "samples", experiment.dataset),
        (data / "test.parquet", "samples", experiment.dataset),
    ]
    files += [(path, kind, experiment.run) for kind, paths in parts.items() for path in paths]
    lines, problems = [], []
    for path, kind, spec in files:
        try:
            lines.append(_file(path, kind, spec, versions))
        except ArtifactError as error:
            problems.append(str(error))
            lines.append(f"{path}: PROBLEM, see below")
    for kind in ("metrics", "aggregates"):
        if all(path.exists() for path in parts[kind]):
            problems += _joined(folder / f"{kind}.parquet", kind, experiment.run, parts[kind], cell)
    return lines, problems


def _pieces(folder: Path, kind: str, cell: Cell) -> list[Path]:
    """The files of a run's jobs: of spans if these are whole, or else of single rounds."""
    cut = jobs_spans.spans(folder, cell.rounds, max(cell.rounds, 2))
    spans = [Path(path) for path in jobs_spans.pieces(folder, kind, cell, cut, staged=False)]
    if all(path.exists() for path in spans) or not (folder / "rounds").exists():
        return spans
    return [Path(path) for path in jobs_spans.pieces(folder, kind, cell, [], staged=True)]


def _file(path: Path, kind: str, spec: str, versions: dict[str, int]) -> str:
    """A file with its SHA-256, what it is of, and the number of the versions that wrote it.

    Raises ArtifactError when it is missing or not what it should be.
    """
    if not path.exists():
        raise ArtifactError(f"{path} is missing: run snakemake again to make it")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not kind:
        return f"{path}  sha256 {digest}  spec {spec.rpartition('-')[2]}"
    marks = read_schema(path, kind, spec).metadata or {}
    known = json.loads(marks.get(b"skymask.versions", b"{}"))
    text = ", ".join(f"{package} {version}" for package, version in known.items())
    number = versions.setdefault(text, len(versions) + 1)
    return f"{path}  sha256 {digest}  spec {spec.rpartition('-')[2]}  versions [{number}]"


def _joined(path: Path, kind: str, spec: str, parts: list[Path], cell: Cell) -> list[str]:
    """Whether the rows of a run are those of its jobs, up to the cell's rounds."""
    try:
        tables = [read_rows(part, kind, spec) for part in parts]
        whole = read_rows(path, kind, spec).to_pylist()
    except ArtifactError:
        return []  # said of the file itself
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    # as text: NaN equals NaN
    own, theirs = (repr([r for r in of if r["round"] <= cell.rounds]) for of in (whole, rows))
    return (
        [] if own == theirs else [f"{path} differs from the rows of its jobs, {parts[0].parent} on"]
    )
