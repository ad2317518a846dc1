"""Where a number of a table comes from: its runs, their files, and the number computed again.

Rests on artifacts alone: the table, the runs' table beside it, and the runs' files.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from skymask.artifacts.parquet import ArtifactError, read_table
from skymask.artifacts.schemas import SCHEMAS
from skymask.reporting.tables import FIGURES, cells_table
from skymask.reporting.trace_files import computed_again, differences, files_of, same
from skymask.study.grid import Cell, Study

OWN = {f"{figure}_{kind}" for figure in FIGURES for kind in ("mean", "std")}
"""The columns that can be followed."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Trace:
    """What is found about a number; ``problems`` are the mismatches and the missing files."""

    text: str
    problems: list[str]


def labels_of(cell: str) -> list[str]:
    """The labels of a cell, cut at the commas outside brackets.

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
    """Follow the numbers of one cell of a table back to the files they were computed from.

    ``table`` is the CSV or Parquet file of a table, results/tables/STUDY/NAME; ``cell`` names its
    attack and its defense, in either order, with a comma between; ``setting`` is needed where
    several have that cell.  ``columns`` are the numbers, by default all means and standard
    deviations.  Raises FileNotFoundError without the table or that of the runs beside it, and
    ValueError for a cell, a setting or a column that the table does not have.
    """
    folder = table.resolve().parent
    results = Path(os.path.relpath(folder.parents[1]))
    row = _row_of(_rows_of(table, folder.name), table, cell, setting)
    columns = _columns(row, table, columns)
    runs = folder / "runs.parquet"
    if not runs.exists():
        raise FileNotFoundError(2, "no such file", os.path.relpath(runs))
    keys = ("setting", "defense", "attack")
    found = [
        run
        for run in read_table(runs, "runs_table", folder.name).to_pylist()
        if all((run[key] or "") == row[key] for key in keys)
    ]
    seeds = ", ".join(f"{run['data_seed']}.{run['training_seed']}" for run in found)
    where = f", {row['setting']}" if row["setting"] else ""
    lines = [f"{table}: attack {row['attack']}, defense {row['defense']}{where}"]
    lines += [f"  {column} = {row[column]}" for column in columns if row[column] != ""]
    lines += [
        f"  over {len(found)} run{'s' * (len(found) != 1)}, seeds (data.training) {seeds}",
        "",
    ]
    problems: list[str] = [] if found else [f"{runs} names no run of this cell"]
    versions: dict[str, int] = {}
    cells, again = [], []
    for run in found:
        try:
            traced, rerun = computed_again(run, results)
            cells.append(traced)
            again.append(rerun)
            shown = ", ".join(f"{f} {rerun[f]}" for f in FIGURES if rerun[f] is not None)
            count = f"{run['evaluations']} evaluation{'s' * (run['evaluations'] != 1)}"
            lines += [
                f"run {run['run']}: seeds {run['data_seed']}.{run['training_seed']}, rounds 1 to "
                f"{traced.rounds}, {count} up to round {run['round']}",
                f"  by its files: {shown}",
            ]
            listed, wrong = files_of(traced, results, versions)
            lines += [f"  {line}" for line in listed]
            problems += [*differences(run, rerun), *wrong]
        except (ArtifactError, OSError, ValueError) as error:
            problems.append(str(error))
            lines.append(f"run {run['run']}: {error}")
        lines.append("")
    lines += [f"versions [{i}]: {text}" for text, i in versions.items()]
    if again and len(again) == len(found):
        lines += _compared(table, row, columns, cells, again, problems)
    else:
        lines.append("The number cannot be computed again: runs are missing or cannot be read.")
    if problems:
        lines += ["", *(f"PROBLEM: {problem}" for problem in problems)]
    return Trace("\n".join(lines), problems)


def _rows_of(table: Path, study: str) -> list[dict[str, Any]]:
    """The rows of a table, empty where it has no value."""
    if table.suffix == ".csv":
        try:
            with table.open(newline="", encoding="utf-8") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise _damaged(table, error) from error
    elif table.suffix == ".parquet":
        if not table.exists():
            raise FileNotFoundError(2, "no such file", str(table))
        rows = read_table(table, f"{table.stem}_table", study).to_pylist()
    else:
        raise ValueError(f"{table} cannot be followed: name the .csv or .parquet file of the table")
    columns = set(rows[0]) if rows else set()
    if not {"defense", "attack", "setting", "seeds"} <= columns or not columns & OWN:
        raise ValueError(
            f"{table} has no cells: name a table such as accuracy.csv, detection.csv, "
            "got_through.csv or attack_success.csv"
        )
    return [{key: "" if value is None else value for key, value in row.items()} for row in rows]


def _row_of(rows: list[dict[str, Any]], table: Path, cell: str, setting: str | None) -> Row:
    """The row of one cell.  Raises ValueError where there is none, or more than one."""
    labels = labels_of(cell)
    if len(labels) != 2:
        raise ValueError(f"{cell!r} names no cell: write attack,defense, as in min_max,skymask")
    hits = [
        row
        for row in rows
        if labels in ([row["attack"], row["defense"]], [row["defense"], row["attack"]])
    ]
    if not hits:
        sorts = {
            kind: list(dict.fromkeys(row[kind] for row in rows)) for kind in ("attack", "defense")
        }
        known = [label for of_kind in sorts.values() for label in of_kind]
        unknown = [label for label in labels if label not in known]
        near = {label: get_close_matches(label, known, n=3, cutoff=0.4) for label in unknown}
        hints = [
            f"{label!r} is not in it" + (f", near: {', '.join(found)}" if found else "")
            for label, found in near.items()
        ]
        listed = "; ".join(f"{kind}s: {', '.join(of_kind)}" for kind, of_kind in sorts.items())
        raise ValueError("\n".join([f"{table} has no cell {cell!r}", *hints, listed]))
    if setting is not None:
        wanted = {part.strip() for part in setting.split(", ")}
        hits, all_ = [row for row in hits if set(row["setting"].split(", ")) == wanted], hits
        if not hits:
            shown = "\n  ".join(row["setting"] or "(none)" for row in all_)
            raise ValueError(f"{table} has no setting {setting!r} of this cell, but\n  {shown}")
    if len(hits) > 1:
        shown = "\n  ".join(row["setting"] for row in hits)
        raise ValueError(
            f"the cell {cell!r} has several settings; add --setting with one of\n  {shown}"
        )
    if hits[0].get("undefined"):
        raise ValueError(
            f"the cell {cell!r} has no number, it is undefined: {hits[0]['undefined']}"
        )
    return hits[0]


def _columns(row: Row, table: Path, wanted: Sequence[str]) -> list[str]:
    """The columns to follow: those that are a mean or a standard deviation of runs' figures."""
    known = [column for column in row if column in OWN]
    for column in wanted:
        if column not in known:
            raise ValueError(f"{table} has no figure {column!r}; known: {', '.join(known)}")
    return list(wanted) or known


def _damaged(table: Path, error: Exception) -> ValueError:
    return ValueError(f"{table} is damaged ({error}). Delete it and run snakemake again")


def _compared(
    table: Path,
    row: Row,
    columns: Sequence[str],
    cells: list[Cell],
    again: list[dict[str, object]],
    problems: list[str],
) -> list[str]:
    """The numbers of the table beside those computed again.  Raises ValueError for none."""
    study = Study("trace", cells, "auto", frozenset(), 1, None, [])
    frame = pa.Table.from_pylist(again, schema=SCHEMAS["runs"]).to_pandas()
    fresh = cells_table(frame, study).iloc[0]
    lines = []
    for column in columns:
        try:
            agree = same(row[column], fresh[column])
        except ValueError as error:
            raise _damaged(table, error) from error
        computed = "none" if pd.isna(fresh[column]) else fresh[column]
        said = "none" if row[column] == "" else row[column]
        verdict = "they agree" if agree else "they DIFFER"
        lines.append(f"{column}: {said} in the table, {computed} computed again: {verdict}")
        if not agree:
            problems.append(f"{column} of the table is not what its runs say")
    if str(row["seeds"]) != str(len(cells)):
        problems.append(f"the table says {row['seeds']} seeds, runs.parquet has {len(cells)} runs")
    return lines
