"""Files of a run, and its metrics computed from them again."""

import hashlib
from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from skymask.artifacts.errors import ArtifactError, not_read
from skymask.artifacts.parquet import read_schema
from skymask.artifacts.records import read_experiment, read_rows
from skymask.jobs import paths, spans
from skymask.read_errors import ReadError
from skymask.reporting.provenance import versions_of
from skymask.reporting.tables import METRICS, summarise
from skymask.study.grid import Cell

Row = Mapping[Any, Any]


def recompute(run: Row, results: Path) -> tuple[Cell, dict[str, object]]:
    """Compute a row of the table ``runs`` again.

    Args:
        run: the row as the table has it.
        results: the results folder.

    Returns:
        The cell of the run, and the row that its files give.

    Raises:
        ArtifactError: a file of the run cannot be read, or has fewer rounds than the table.
    """
    folder = paths.run(run["run"], results)
    experiment = read_experiment(folder / "experiment.json")
    path = folder / "aggregates.parquet"
    rounds = read_rows(path, "aggregates", experiment.run)["round"].to_pylist()
    if max(rounds, default=0) < run["rounds"]:
        raise ArtifactError(
            f"{path} ends before round {run['rounds']}: a study with fewer rounds has collected it "
            "since; run the study of this table again"
        )
    cell = Cell(experiment, run["rounds"], run["defense"], run["attack"], run["setting"])
    return cell, summarise(cell, folder, run["evaluations"])


def differences(run: Row, again: Row) -> list[str]:
    """Describe where a row of the table ``runs`` differs from one that was computed again."""
    return [
        f"run {run['run']}: {name} is {run[name]} in runs.parquet, {again[name]} by its files"
        for name in ("round", "evaluations", *METRICS)
        if not same(run[name], again[name])
    ]


def same(one: Any, other: Any) -> bool:
    """Compare two numbers up to rounding errors; missing values are equal to each other."""
    a, b = (float("nan") if value in (None, "") else float(value) for value in (one, other))
    return (pd.isna(a) and pd.isna(b)) or isclose(a, b, rel_tol=1e-12, abs_tol=1e-15)


def files_of(cell: Cell, results: Path, versions: dict[str, int]) -> tuple[list[str], list[str]]:
    """List the files from which the metrics of a run were computed.

    Args:
        cell: the cell of the run.
        results: the results folder.
        versions: numbers of the package versions that wrote files; new ones are added.

    Returns:
        One line per file, and the problems.
    """
    experiment = cell.experiment
    run, split, dataset = experiment.run, experiment.partition_id, experiment.dataset
    folder = paths.run(run, results)
    pieces = {kind: _pieces(folder, kind, cell) for kind in ("metrics", "aggregates", "model")}
    files = [
        (folder / "experiment.json", "", run),
        (folder / "metrics.parquet", "metrics", run),
        (folder / "aggregates.parquet", "aggregates", run),
        (paths.partition(split, results), "partition", split),
        (paths.dataset(dataset, "train", results), "samples", dataset),
        (paths.dataset(dataset, "test", results), "samples", dataset),
    ]
    files += [(path, kind, run) for kind, of_kind in pieces.items() for path in of_kind]
    lines, problems = [], []
    for path, kind, spec in files:
        try:
            lines.append(_file(path, kind, spec, versions))
        except (ArtifactError, ReadError) as error:
            problems.append(str(error))
            lines.append(f"{path}: PROBLEM, see below")
    for kind in ("metrics", "aggregates"):
        if all(path.exists() for path in pieces[kind]):
            problems += _joined(folder / f"{kind}.parquet", kind, pieces[kind], cell)
    return lines, problems


def _pieces(folder: Path, kind: str, cell: Cell) -> list[Path]:
    """Return the files of a run's jobs: of spans if they are complete, else of single rounds."""
    cut = spans.spans(folder, cell.rounds, max(cell.rounds, 2))
    of_spans = spans.pieces(folder, kind, cell, cut, staged=False)
    if all(path.exists() for path in of_spans) or not paths.round_(folder, 1).exists():
        return of_spans
    return spans.pieces(folder, kind, cell, [], staged=True)


def _file(path: Path, kind: str, spec: str, versions: dict[str, int]) -> str:
    """Describe a file: SHA-256, hash of its specification, number of the versions that wrote it.

    Raises ArtifactError for a missing, damaged or foreign file, ReadError for another cause.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise not_read(path, error) from error
    line = f"{path}  sha256 {digest}  spec {spec.rpartition('-')[2]}"
    if not kind:
        return line
    number = versions.setdefault(versions_of(read_schema(path, kind, spec)), len(versions) + 1)
    return f"{line}  versions [{number}]"


def _joined(path: Path, kind: str, pieces: list[Path], cell: Cell) -> list[str]:
    """Compare the rows of a run with those of its jobs, up to the cell's rounds."""
    run = cell.experiment.run
    try:
        parts = [read_rows(piece, kind, run) for piece in pieces]
        whole = read_rows(path, kind, run)
    except (ArtifactError, ReadError):
        return []  # a problem of the file itself
    # as text: NaN equals NaN
    own, theirs = (
        repr([row for row in table.to_pylist() if row["round"] <= cell.rounds])
        for table in (whole, pa.concat_tables(parts) if parts else whole.slice(0, 0))
    )
    if own == theirs:
        return []
    return [f"{path} differs from the rows of its jobs, starting in {pieces[0].parent}"]
