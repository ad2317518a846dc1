"""Metrics of a study: per run, per cell, and per layer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.parquet import read_table
from skymask.artifacts.records import read_rows
from skymask.artifacts.schemas import SCHEMAS
from skymask.reporting.outputs import judged_by_layer, masked
from skymask.study.grid import Cell, Study

LAYER_KEYS = ["setting", "defense", "attack", "layer"]
"""The columns that say what a row of a table of layers is about."""

METRICS = (
    "accuracy",
    "argmax_accuracy",
    "attack_success_rate",
    "fpr",
    "fnr",
    "attacker_weight",
    "benign_distance",
)
"""The metrics of a run in the table ``runs``."""


def summarise(cell: Cell, folder: Path, final_evaluations: int) -> dict[str, object]:
    """Compute the row of one run for the table ``runs``.

    Accuracy and attack success rate are means over the last ``final_evaluations`` evaluations up to
    the cell's rounds.  The distance to the benign mean is a mean over all rounds; FPR and FNR over
    the rounds in which malicious clients attack, where there are such clients; the attackers' share
    of the weight over those of them in which the model was updated.  A metric is None if one of
    these rounds lacks it: without verdicts, weights, malicious clients or backdoor.

    Args:
        cell: the cell of the run.
        folder: folder of the run.
        final_evaluations: number of evaluations to average.

    Raises:
        ArtifactError: a file of the run is missing, damaged or of another version.
    """
    run = cell.experiment
    metrics = read_rows(folder / "metrics.parquet", "metrics", run.run).to_pandas()
    metrics = metrics[metrics["round"] <= cell.rounds].tail(final_evaluations)
    rounds = read_rows(folder / "aggregates.parquet", "aggregates", run.run).to_pandas()
    rounds = rounds[rounds["round"] <= cell.rounds]
    attacked = rounds[[run.malicious == 0 or run.attacks(r) for r in rounds["round"]]]

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
        "argmax_accuracy": mean(metrics, "argmax_accuracy"),
        "attack_success_rate": mean(metrics, "attack_success_rate"),
        "fpr": mean(attacked, "fpr"),
        "fnr": mean(attacked, "fnr"),
        "attacker_weight": mean(attacked[attacked["model_updated"]], "attacker_weight"),
        "benign_distance": mean(rounds, "benign_distance"),
    }


def runs_table(study: Study, folder: Path) -> pd.DataFrame:
    """Compute one row per run of the study, in its order; ``folder`` contains the runs."""
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
    """Compute mean and standard deviation over seeds of each cell (setting, defense, attack).

    Args:
        runs: one row per run, as of ``runs_table``.
        study: the study, which gives the order of the cells.

    Returns:
        One row per cell with the columns METRIC_mean and METRIC_std (ddof 1, NaN with one seed),
        ``seeds`` (number of runs) and ``undefined`` (why a cell has no run).
    """
    keys = ["setting", "defense", "attack"]
    columns = {f"{metric}_{kind}": (metric, kind) for metric in METRICS for kind in ("mean", "std")}
    cells = runs.groupby(keys, sort=False).agg(seeds=("run", "size"), **columns)
    undefined: dict[tuple[str, str, str], str | None] = {}
    for cell in study.cells:
        place = (cell.setting, cell.defense, cell.attack)
        undefined[place] = undefined.get(place) or cell.undefined
    cells = cells.reindex(pd.MultiIndex.from_tuples(undefined, names=keys)).reset_index()
    cells["undefined"] = pd.array(list(undefined.values()), dtype="string")
    cells["seeds"] = cells["seeds"].fillna(0).astype(int)
    return cells


def mask_layers_table(study: Study, folder: Path) -> pd.DataFrame:
    """Compute what SkyMask's masks do to each layer, per cell of SkyMask.

    Args:
        study: the study.
        folder: folder of the runs.

    Returns:
        One row per cell and layer with ``off_ROLE``, the share of the layer that the masks switch
        off, and ``unlike_ROLE``, the share in which they differ from the server's mask: means over
        rounds, clients and seeds, 0 to 1.
    """
    names = {"switched_off": "off", "unlike_server": "unlike"}
    wide = _by_layer([c for c in study.cells if masked(c)], folder, names)
    roles = ("off_benign", "off_malicious", "off_server", "unlike_benign", "unlike_malicious")
    return wide.reindex(columns=[*LAYER_KEYS, *roles])


def layer_verdicts_table(study: Study, folder: Path) -> pd.DataFrame:
    """Compute how many clients are accepted in each layer, per cell with a verdict per layer.

    Args:
        study: the study.
        folder: folder of the runs.

    Returns:
        One row per cell and layer with ``accepted_ROLE``: means over rounds, clients and seeds, 0
        to 1; those of malicious clients over the rounds in which they attack.
    """
    wide = _by_layer([c for c in study.cells if judged_by_layer(c)], folder, {"accepted": ""})
    roles = ("accepted_benign", "accepted_malicious")
    return wide.reindex(columns=[*LAYER_KEYS, *roles])


def _by_layer(cells: list[Cell], folder: Path, names: dict[str, str]) -> pd.DataFrame:
    """Average columns of the runs' layers.parquet; return a column NAME_ROLE for each of them."""
    parts = []
    for cell in cells:
        if cell.undefined is None:
            run = cell.experiment.run
            rows = read_rows(folder / run / "layers.parquet", "layers", run).to_pandas()
            labels = {"setting": cell.setting, "defense": cell.defense, "attack": cell.attack}
            parts.append(rows[rows["round"] <= cell.rounds].assign(**labels))
    rows = pd.concat(parts).dropna(subset=list(names))
    means = rows.groupby([*LAYER_KEYS, "role"], sort=False)[list(names)].mean()
    wide = means.unstack("role").reindex(means.index.droplevel("role").unique())
    wide.columns = [f"{names[kind] or kind}_{role}" for kind, role in wide.columns]
    table: pd.DataFrame = wide.reset_index()
    return table
