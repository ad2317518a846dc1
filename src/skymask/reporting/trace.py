"""Origin of a number in a table: its runs, their files, and the recomputed number."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from skymask.artifacts.errors import ArtifactError, not_read
from skymask.artifacts.parquet import read_table
from skymask.reporting.tables import METRICS, read_runs
from skymask.reporting.trace_files import Row, differences, files_of, recompute, same

COLUMNS = {f"{metric}_{kind}": (metric, kind) for metric in METRICS for kind in ("mean", "std")}
"""The columns that can be traced."""


@dataclass(frozen=True)
class Trace:
    """The origin of a number; ``problems`` are mismatches and missing files."""

    text: str
    problems: list[str]


def labels_of(cell: str) -> list[str]:
    """Split the name of a cell at the commas outside brackets.

    >>> labels_of("min_max(perturbation=std, knowledge=partial)[share=0.1], nnm + skymask")
    ['min_max(perturbation=std, knowledge=partial)[share=0.1]', 'nnm + skymask']
    """
    labels, depth = [""], 0
    for letter in cell:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            labels.append("")
        else:
            labels[-1] += letter
    return [label.strip() for label in labels]


def trace(table: Path, cell: str, setting: str | None = None, columns: Sequence[str] = ()) -> Trace:
    """Trace the numbers of one cell of a table to their files, and compute them again.

    Args:
        table: CSV or Parquet file of a table, results/tables/STUDY/NAME.
        cell: attack and defense of the cell in either order, with a comma between them.
        setting: setting of the cell, needed if several settings have it.
        columns: the numbers to trace; by default all means and standard deviations.

    Raises:
        FileNotFoundError: the table, or runs.parquet next to it, is missing.
        ValueError: the table has no such cell, setting or column.
    """
    folder = table.resolve().parent
    results = Path(os.path.relpath(folder.parents[1]))
    row = _find(_read(table, folder.name), table, cell, setting)
    columns = _columns(row, table, columns)
    if not (folder / "runs.parquet").exists():
        raise FileNotFoundError(2, "no such file", os.path.relpath(folder / "runs.parquet"))
    runs = [
        run
        for run in read_runs(folder).to_dict("records")
        if all(run[key] == row[key] for key in ("setting", "defense", "attack"))
    ]
    seeds = ", ".join(f"{run['data_seed']}.{run['training_seed']}" for run in runs)
    where = f", {row['setting']}" if row["setting"] else ""
    lines = [f"{table}: attack {row['attack']}, defense {row['defense']}{where}"]
    lines += [f"  {column} = {row[column]}" for column in columns if row[column] != ""]
    lines += [f"  over {len(runs)} run{'s'[: len(runs) != 1]}, seeds (data.training) {seeds}", ""]
    problems = [] if runs else [f"{folder / 'runs.parquet'} has no run of this cell"]
    versions: dict[str, int] = {}
    again = []
    for run in runs:
        try:
            again.append(_trace_run(run, results, versions, lines, problems))
        except (ArtifactError, OSError, ValueError) as error:
            problems.append(str(error))
            lines.append(f"run {run['run']}: {error}")
        lines.append("")
    lines += [f"versions [{number}]: {text}" for text, number in versions.items()]
    if again and len(again) == len(runs):
        lines += _compare(table, row, columns, pd.DataFrame(again), problems)
    else:
        lines.append("The number cannot be computed again: runs are missing or cannot be read.")
    if problems:
        lines += ["", *(f"PROBLEM: {problem}" for problem in problems)]
    return Trace("\n".join(lines), problems)


def _trace_run(
    run: Row, results: Path, versions: dict[str, int], lines: list[str], problems: list[str]
) -> dict[str, object]:
    """Describe a run and its files in ``lines`` and ``problems``; return its recomputed row."""
    cell, again = recompute(run, results)
    evaluations = f"{run['evaluations']} evaluation{'s'[: run['evaluations'] != 1]}"
    metrics = ", ".join(f"{name} {again[name]}" for name in METRICS if again[name] is not None)
    listed, wrong = files_of(cell, results, versions)
    lines += [
        f"run {run['run']}: seeds {run['data_seed']}.{run['training_seed']}, rounds 1 to "
        f"{cell.rounds}, {evaluations} up to round {run['round']}",
        f"  by its files: {metrics}",
        *(f"  {line}" for line in listed),
    ]
    problems += [*differences(run, again), *wrong]
    return again


def _read(table: Path, study: str) -> list[dict[str, Any]]:
    """Return the rows of a table, with empty texts for missing values."""
    if table.suffix == ".csv":
        try:
            with table.open(newline="", encoding="utf-8") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise _damaged(table, error) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise not_read(table, error) from error
    elif table.suffix == ".parquet":
        if not table.exists():
            raise FileNotFoundError(2, "no such file", str(table))
        rows = read_table(table, f"{table.stem}_table", study).to_pylist()
    else:
        raise ValueError(f"cannot trace {table}: name the .csv or .parquet file of the table")
    columns = set(rows[0]) if rows else set()
    if not {"defense", "attack", "setting", "seeds"} <= columns or not columns & COLUMNS.keys():
        raise ValueError(
            f"{table} has no cells: name a table such as accuracy.csv, detection.csv, "
            "got_through.csv or attack_success.csv"
        )
    return [{key: "" if value is None else value for key, value in row.items()} for row in rows]


def _find(rows: list[dict[str, Any]], table: Path, cell: str, setting: str | None) -> Row:
    """Return the row of one cell.  Raises ValueError if there is none, or more than one."""
    labels = labels_of(cell)
    if len(labels) != 2:
        raise ValueError(f"{cell!r} names no cell: write attack,defense, as in min_max,skymask")
    hits = [
        row
        for row in rows
        if labels in ([row["attack"], row["defense"]], [row["defense"], row["attack"]])
    ]
    if not hits:
        raise ValueError("\n".join([f"{table} has no cell {cell!r}", *_hints(rows, labels)]))
    if setting is not None:
        parts = set(map(str.strip, setting.split(", ")))
        chosen = [row for row in hits if set(row["setting"].split(", ")) == parts]
        if not chosen:
            shown = "\n  ".join(row["setting"] or "(none)" for row in hits)
            raise ValueError(f"{table} has no setting {setting!r} of this cell, but\n  {shown}")
        hits = chosen
    if len(hits) > 1:
        shown = "\n  ".join(row["setting"] for row in hits)
        raise ValueError(
            f"the cell {cell!r} has several settings; add --setting with one of\n  {shown}"
        )
    if hits[0].get("undefined"):
        raise ValueError(f"the cell {cell!r} is undefined: {hits[0]['undefined']}")
    return hits[0]


def _hints(rows: list[dict[str, Any]], labels: list[str]) -> list[str]:
    """Return the labels that a table does not have, with similar ones, and all that it has."""
    known = {kind: list(dict.fromkeys(row[kind] for row in rows)) for kind in ("attack", "defense")}
    every = [*known["attack"], *known["defense"]]
    hints = []
    for label in labels:
        if label not in every:
            near = ", ".join(get_close_matches(label, every, n=3, cutoff=0.4))
            hints.append(f"{label!r} is not in it" + (f", near: {near}" if near else ""))
    return [*hints, "; ".join(f"{kind}s: {', '.join(names)}" for kind, names in known.items())]


def _columns(row: Row, table: Path, wanted: Sequence[str]) -> list[str]:
    """Return the columns to trace.  Raises ValueError for one that the table does not have."""
    known = [column for column in row if column in COLUMNS]
    for column in wanted:
        if column not in known:
            raise ValueError(f"{table} has no column {column!r}; known: {', '.join(known)}")
    return list(wanted) or known


def _damaged(table: Path, error: Exception) -> ValueError:
    return ValueError(f"cannot read {table} ({error}): delete it and rerun snakemake")


def _compare(
    table: Path, row: Row, columns: Sequence[str], runs: pd.DataFrame, problems: list[str]
) -> list[str]:
    """Compare the numbers of the table with those of recomputed ``runs``."""
    lines = []
    for column in columns:
        metric, kind = COLUMNS[column]
        fresh = runs[metric].astype(float).agg(kind)
        try:
            agree = same(row[column], fresh)
        except ValueError as error:
            raise _damaged(table, error) from error
        computed = "none" if pd.isna(fresh) else fresh
        stored = "none" if row[column] == "" else row[column]
        verdict = "they agree" if agree else "they DIFFER"
        lines.append(f"{column}: {stored} in the table, {computed} computed again: {verdict}")
        if not agree:
            problems.append(f"{column} of the table is not that of its runs")
    if str(row["seeds"]) != str(len(runs)):
        problems.append(f"the table has {row['seeds']} seeds, runs.parquet has {len(runs)} runs")
    return lines
