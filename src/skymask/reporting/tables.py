"""A study's tables: accuracy, detection, what got through, and the runs behind them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from skymask.artifacts.parquet import ArtifactError, read_table
from skymask.artifacts.records import read_rows
from skymask.artifacts.schemas import SCHEMAS
from skymask.reporting import published_table, significance, table_files
from skymask.reporting.captions import captions
from skymask.reporting.outputs import backdoored, masked
from skymask.reporting.outputs import tables as table_names
from skymask.reporting.table_layout import (
    LAYOUTS,
    latex,
    markdown,
    pivot,
    without_setting,
)
from skymask.study.grid import Cell, Study

FIGURES = list(dict.fromkeys(figure for layout in LAYOUTS.values() for figure in layout.figures))


def _schema(**columns: tuple[pa.DataType, str]) -> pa.Schema:
    fields = [pa.field(n, t, metadata={"description": d}) for n, (t, d) in columns.items()]
    return pa.schema(fields)


TEXT, NUMBER = pa.string(), pa.float64()
COMPARISONS = {
    "published": _schema(
        setting=(TEXT, "the other axes of the study that vary, as name=value"),
        defense=(TEXT, "defense"),
        attack=(TEXT, "attack"),
        figure=(TEXT, "accuracy, fpr, fnr, or below_fedavg: FedAvg's accuracy less the defense's"),
        seeds=(pa.int64(), "runs, one per pair of seeds"),
        undefined=(TEXT, "why the cell has no run; null if it has"),
        ours_mean=(NUMBER, "our figure, mean over seeds, % or points"),
        ours_std=(NUMBER, "its standard deviation over seeds, ddof 1; null with one seed"),
        published_low=(NUMBER, "the published figure, or the low end of its range; null: unknown"),
        published_high=(NUMBER, "the published figure, or the high end of its range"),
        difference=(NUMBER, "ours less published, points; of a range less its nearer end, 0 in it"),
        beyond_spread=(pa.bool_(), "whether |difference| > 2 ours_std; null with one seed"),
        certainty=(TEXT, "how the published figure is known"),
        source=(TEXT, "where it is from"),
    ),
    "significance": _schema(
        setting=(TEXT, "the other axes of the study that vary, as name=value"),
        attack=(TEXT, "attack"),
        defense=(TEXT, "SkyMask, or a variant of it"),
        accuracy_mean=(NUMBER, "its test accuracy, mean over seeds, 0 to 1"),
        baseline=(TEXT, "the best other defense, oracle aside"),
        baseline_mean=(NUMBER, "its test accuracy, mean over seeds, 0 to 1"),
        seeds=(pa.int64(), "pairs of runs with the same seeds"),
        difference=(NUMBER, "mean over pairs of SkyMask's accuracy less the baseline's"),
        low=(NUMBER, "lower end of its 95 % confidence interval; null if not defined"),
        high=(NUMBER, "upper end of its 95 % confidence interval; null if not defined"),
        p=(NUMBER, "of the two-sided paired t-test; null if not defined"),
        p_holm=(NUMBER, "p after Holm's correction over the rows of the table"),
    ),
}
"""The tables that compare: their columns, with units."""


def summarise(cell: Cell, folder: Path, final_evaluations: int) -> dict[str, object]:
    """The row of one run: its final accuracy, and what got through over all its rounds.

    Accuracy and attack success rate are means of the last ``final_evaluations`` evaluations up to
    the cell's rounds; FPR, FNR, the attackers' share of the weight and the distance to the benign
    mean are means over all rounds.  A figure is null where a round has none: for a rule without
    verdicts or weights, without malicious clients, without a backdoor.
    """
    run = cell.experiment
    metrics = read_rows(folder / "metrics.parquet", "metrics", run.run).to_pandas()
    metrics = metrics[metrics["round"] <= cell.rounds].tail(final_evaluations)
    rounds = read_rows(folder / "aggregates.parquet", "aggregates", run.run).to_pandas()
    rounds = rounds[rounds["round"] <= cell.rounds]
    # nobody's weight is nobody's share: rounds in which the model stayed do not count there
    moved = rounds[rounds["model_updated"]]

    def mean(rows: pd.DataFrame, column: str) -> float | None:
        values = rows[column].to_numpy(dtype=float, na_value=np.nan)
        return float(values.mean()) if len(values) and not np.isnan(values).any() else None

    return {
        "run": run.run,
        "defense": cell.defense,
        "attack": cell.attack,
        "setting": cell.setting,
        "data_seed": run.data_seed,
        "training_seed": run.training_seed,
        "rounds": cell.rounds,
        "round": int(metrics["round"].max()),
        "evaluations": len(metrics),
        "accuracy": float(metrics["accuracy"].mean()),
        "attack_success_rate": mean(metrics, "attack_success_rate"),
        "fpr": mean(rounds, "fpr"),
        "fnr": mean(rounds, "fnr"),
        "attacker_weight": mean(moved, "attacker_weight"),
        "benign_distance": mean(rounds, "benign_distance"),
    }


def runs_table(study: Study, folder: Path) -> pd.DataFrame:
    """One row per run of the study, in its order; ``folder`` holds the runs."""
    rows = [
        summarise(cell, folder / cell.experiment.run, study.final_evaluations)
        for cell in study.cells
        if cell.undefined is None
    ]
    table: pd.DataFrame = pa.Table.from_pylist(rows, schema=SCHEMAS["runs"]).to_pandas()
    return table


def read_runs(folder: Path) -> pd.DataFrame:
    """Read the rows of a study's runs, as ``runs_table`` made them.

    Args:
        folder: folder of the study's tables, results/tables/STUDY.

    Raises:
        ArtifactError: runs.parquet is missing, damaged or of another version.
    """
    path = folder / "runs.parquet"
    table = read_table(path, "runs_table", folder.name)
    if not table.schema.equals(SCHEMAS["runs"], check_metadata=False):
        raise ArtifactError(
            f"cannot read {path}: it does not have the columns of this version; "
            "delete it and rerun snakemake"
        )
    runs: pd.DataFrame = table.to_pandas()
    return runs


def cells_table(runs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """One row per cell (setting, defense, attack): mean and standard deviation over seeds.

    The standard deviation has ddof = 1 and is NaN with one seed; ``undefined`` says why a cell
    has no run.
    """
    keys = ["setting", "defense", "attack"]
    groups = runs.groupby(keys, sort=False)
    figures = {f"{figure}_{kind}": (figure, kind) for figure in FIGURES for kind in ("mean", "std")}
    cells = groups.agg(seeds=("run", "size"), **figures)
    order = list(dict.fromkeys((c.setting, c.defense, c.attack) for c in study.cells))
    cells = cells.reindex(pd.MultiIndex.from_tuples(order, names=keys)).reset_index()
    reasons = {(c.setting, c.defense, c.attack): c.undefined for c in study.cells if c.undefined}
    cells["undefined"] = pd.array([reasons.get(cell) for cell in order], dtype="string")
    cells["seeds"] = cells["seeds"].fillna(0).astype(int)
    return cells


def layers_table(study: Study, folder: Path) -> pd.DataFrame:
    """Per cell of SkyMask and layer: what the masks do to it, by role.

    Columns ``off_benign``, ``off_malicious`` and ``off_server``, the share that the masks switch
    off, and ``unlike_benign`` and ``unlike_malicious``, the share in which they differ from the
    server's: means over rounds, clients and seeds.
    """
    keys = ["setting", "defense", "attack", "layer"]
    parts = []
    for cell in study.cells:
        if cell.undefined is None and masked(cell):
            run = cell.experiment.run
            rows = read_rows(folder / run / "layers.parquet", "layers", run).to_pandas()
            labels = {"setting": cell.setting, "defense": cell.defense, "attack": cell.attack}
            parts.append(rows[rows["round"] <= cell.rounds].assign(**labels))
    groups = pd.concat(parts).groupby([*keys, "role"], sort=False)
    means = groups[["switched_off", "unlike_server"]].mean()
    order = means.index.droplevel("role").unique()

    def column(figure: str, role: str) -> pd.Series:
        values = means[figure]
        of_role: pd.Series = values[values.index.get_level_values("role") == role]
        return of_role.droplevel("role")

    columns = {
        f"{short}_{role}": column(figure, role)
        for short, figure in (("off", "switched_off"), ("unlike", "unlike_server"))
        for role in ("benign", "malicious", "server")
        if (short, role) != ("unlike", "server")
    }
    return pd.DataFrame(columns, index=order).reset_index()


def write(study: Study, folder: Path, target: Path) -> None:
    """Write the tables of a study into ``target``, each as CSV, Markdown, LaTeX and Parquet.

    CSV and Parquet hold plain numbers, a row per cell, run or comparison; Markdown and LaTeX the
    table as it is read, attack × defense.  ``folder`` holds the runs.
    """
    runs = runs_table(study, folder)
    cells = cells_table(runs, study)
    texts, keys = captions(study), ["setting", "defense", "attack", "seeds", "undefined"]
    oracles = {c.defense for c in study.cells if c.experiment.defense.name == "oracle"}
    for name in table_names(study):
        best = schema = None
        if name in LAYOUTS:
            layout = LAYOUTS[name]
            chosen = _with_backdoor(cells, study) if name == "attack_success" else cells
            readable, best = pivot(chosen, layout, oracles)
            columns = [f"{figure}_{kind}" for figure in layout.figures for kind in ("mean", "std")]
            plain = chosen[[*keys, *columns]]
        elif name in COMPARISONS:
            schema = COMPARISONS[name]
            rows = _compared(name, study, runs)
            plain = pa.Table.from_pylist(rows, schema=schema).to_pandas(types_mapper=_nullable)
            show = published_table.show if name == "published" else significance.show
            readable = show(plain)
        else:
            plain = runs if name == "runs" else layers_table(study, folder)
            schema = SCHEMAS["runs"] if name == "runs" else None
            readable = plain if name == "runs" else without_setting(plain)
        label = f"tab:{study.name}_{name}"
        shown = {
            "md": f"{texts[name]}\n\n{markdown(readable, best)}",
            "tex": latex(readable, texts[name], label, best),
            "csv": plain.to_csv(index=False, lineterminator="\n"),
        }
        parquet = pa.Table.from_pandas(plain, schema=schema, preserve_index=False)
        table_files.write(target, name, study.name, parquet, shown)


def _compared(name: str, study: Study, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table that compares."""
    if name == "published":
        return published_table.rows(study, runs.to_dict("records"))
    return significance.rows(study, runs)


def _nullable(kind: pa.DataType) -> pd.api.extensions.ExtensionDtype | None:
    """True and false with room for neither."""
    return pd.BooleanDtype() if pa.types.is_boolean(kind) else None


def _with_backdoor(cells: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The cells whose attack has a trigger."""
    attacks = {cell.attack for cell in study.cells if backdoored(cell)}
    return cells[cells["attack"].isin(attacks)]
