"""Rows of runs and tables that the figures show."""

from pathlib import Path

import pandas as pd

from skymask.artifacts.parquet import read_table
from skymask.artifacts.records import read_rows, wanted_columns
from skymask.jobs import paths
from skymask.study.grid import Cell, Study

KEYS = ["setting", "defense", "attack"]
"""Columns that name a cell in a study's tables."""


def read_run(cell: Cell, results: Path, kind: str) -> pd.DataFrame:
    """Read the rows of a cell's run, up to the cell's last round.

    Args:
        cell: the cell.
        results: folder of the results; reads runs/RUN/KIND.parquet.
        kind: ``metrics``, ``clients`` or another kind of rows with a column ``round``.

    Raises:
        ArtifactError: the file is missing, damaged or of another version.
    """
    run = cell.experiment.run
    path = paths.run(run, results) / f"{kind}.parquet"
    rows: pd.DataFrame = read_rows(path, kind, run).to_pandas()
    return rows[rows["round"] <= cell.rounds]


def read_study_table(study: Study, results: Path, name: str, columns: list[str]) -> pd.DataFrame:
    """Read columns of one of the study's tables.

    Args:
        study: the study.
        results: folder of the results; reads tables/STUDY/NAME.parquet.
        name: name of the table.
        columns: names of the columns.

    Raises:
        ArtifactError: the file is missing, damaged or of another version.
    """
    path, kind = paths.table(study.name, name, "parquet", results), f"{name}_table"
    with wanted_columns(path, kind):
        table: pd.DataFrame = read_table(path, kind, study.name).select(columns).to_pandas()
    return table
