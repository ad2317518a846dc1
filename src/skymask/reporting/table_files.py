"""Files of a study's tables: CSV, Markdown, LaTeX, and Parquet with checksums."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from skymask.artifacts.atomic import atomic
from skymask.artifacts.errors import ArtifactError, not_read
from skymask.artifacts.parquet import read_schema, write_table
from skymask.artifacts.schemas import SCHEMAS
from skymask.reporting import published_table, significance
from skymask.reporting.captions import captions
from skymask.reporting.outputs import backdoored, over_batch
from skymask.reporting.outputs import tables as table_names
from skymask.reporting.table_layout import LAYOUTS, latex, markdown, pivot, without_setting
from skymask.reporting.tables import (
    cells_table,
    layer_verdicts_table,
    mask_layers_table,
    runs_table,
)
from skymask.study.grid import Study

_CHECKSUMS = b"skymask.texts"


def write(study: Study, folder: Path, target: Path) -> None:
    """Write the tables of a study, each as CSV, Markdown, LaTeX and Parquet.

    CSV and Parquet have a row per cell, run or comparison; Markdown and LaTeX the table as it is
    read.

    Args:
        study: the study.
        folder: folder of the runs.
        target: folder of the tables.

    Raises:
        ArtifactError: a file of a run is missing, damaged or of another version.
    """
    runs, captions_of = runs_table(study, folder), captions(study)
    cells = cells_table(runs, study)
    for name in table_names(study):
        if name in LAYOUTS:
            plain = _columns(name, cells, study)
        elif name == "published":
            plain = _frame(name, published_table.rows(study, runs.to_dict("records")))
        elif name == "significance":
            plain = _frame(name, significance.rows(study, runs))
        elif name == "runs":
            plain = runs
        else:
            of_layers = {"mask_layers": mask_layers_table, "layer_verdicts": layer_verdicts_table}
            plain = of_layers[name](study, folder)
        shown, best = readable(name, plain, study)
        caption = captions_of[name]
        texts = {
            "md": f"{caption}\n\n{markdown(shown, best)}",
            "tex": latex(shown, caption, f"tab:{study.name}_{name}", best),
            "csv": plain.to_csv(index=False, lineterminator="\n"),
        }
        parquet = pa.Table.from_pandas(plain, schema=SCHEMAS[name], preserve_index=False)
        write_files(target, name, study.name, parquet, texts)


def _columns(name: str, cells: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return the cells and columns of a table of defenses."""
    if name == "attack_success":
        triggered = {cell.attack for cell in study.cells if backdoored(cell)}
        cells = cells[cells["attack"].isin(triggered)]
    if name == "argmax_accuracy":
        settings = {cell.setting for cell in study.cells if over_batch(cell)}
        cells = cells[cells["setting"].isin(settings)]
    columns = [f"{metric}_{kind}" for metric in LAYOUTS[name].metrics for kind in ("mean", "std")]
    return cells[["setting", "defense", "attack", "seeds", "undefined", *columns]]


def _frame(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows with the types of the table's schema."""
    table: pd.DataFrame = pa.Table.from_pylist(rows, schema=SCHEMAS[name]).to_pandas()
    return table


def readable(
    name: str, plain: pd.DataFrame, study: Study
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Arrange a table for reading.

    Args:
        name: name of the table.
        plain: its rows, as CSV and Parquet have them.
        study: the study.

    Returns:
        The table as it is read, and where its cells are the best of a row, if it has such.
    """
    if name in LAYOUTS:
        oracles = {c.defense for c in study.cells if c.experiment.defense.name == "oracle"}
        return pivot(plain, LAYOUTS[name], oracles)
    show = {
        "published": published_table.show,
        "significance": significance.show,
        "mask_layers": without_setting,
        "layer_verdicts": without_setting,
    }
    return (show[name](plain) if name in show else plain), None


def write_files(
    folder: Path, name: str, study: str, table: pa.Table, texts: Mapping[str, str]
) -> None:
    """Write a table as texts and as Parquet; the Parquet file holds the checksums of the texts.

    Args:
        folder: folder of the study's tables.
        name: name of the table.
        study: name of the study.
        table: rows of the table.
        texts: contents of the text files by their suffix.
    """
    for suffix, text in texts.items():
        with atomic(folder / f"{name}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    checksums = {suffix: _checksum(text.encode()) for suffix, text in texts.items()}
    metadata = {**(table.schema.metadata or {}), _CHECKSUMS: json.dumps(checksums, sort_keys=True)}
    table = table.replace_schema_metadata(metadata)
    write_table(folder / f"{name}.parquet", f"{name}_table", study, table)


def check(folder: Path, name: str, study: str) -> None:
    """Check the text files of a table against their checksums.

    Raises:
        ArtifactError: a file is missing or has changed since it was written.
        ReadError: a file cannot be read, but may be intact.
    """
    metadata = read_schema(folder / f"{name}.parquet", f"{name}_table", study).metadata
    for suffix, checksum in json.loads(metadata.get(_CHECKSUMS, b"{}")).items():
        path = folder / f"{name}.{suffix}"
        try:
            content = path.read_bytes()
        except (OSError, MemoryError) as error:
            raise not_read(path, error) from error
        if _checksum(content) != checksum:
            raise ArtifactError(
                f"{path} has changed since it was written: delete it and rerun snakemake"
            )


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
