"""Wall time of a study's runs, by stage and by device."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from skymask.artifacts.parquet import read_table
from skymask.artifacts.records import read_rows
from skymask.jobs import paths
from skymask.jobs.spans import STAGES
from skymask.study.grid import Study

OVERHEAD = ("start", "read", "write", "other")
"""The parts of a job of many rounds outside the four stages."""


def _rows(run: str, results: Path) -> list[dict[str, Any]]:
    path = paths.run(run, results) / "timings.parquet"
    rows: list[dict[str, Any]] = read_rows(path, "timings", run).to_pylist()
    return rows


def cost(study: Study, results: Path = paths.RESULTS) -> dict[str, str]:
    """Add up the core hours of a study's rounds, and the GPU hours if there are any.

    Raises:
        ArtifactError: the timings of a run cannot be read.
    """
    seconds: Counter[str] = Counter()
    for run, cell in study.runs.items():
        for row in _rows(run, results):
            if row["round"] <= cell.rounds:
                on_cpu = (row["device"] or "cpu").startswith("cpu")
                cores = cell.experiment.threads if on_cpu else 1
                seconds["cpu" if on_cpu else "gpu"] += row["seconds"] * cores
    hours = {"core hours": f"{seconds['cpu'] / 3600:.3g}"}
    return hours | ({"GPU hours": f"{seconds['gpu'] / 3600:.3g}"} if seconds["gpu"] else {})


def run_seconds(run: str, rounds: int, results: Path = paths.RESULTS) -> float:
    """Add up the wall time of the first ``rounds`` rounds of a run, in seconds.

    Raises:
        ArtifactError: the timings of the run cannot be read.
    """
    return float(sum(row["seconds"] for row in _rows(run, results) if row["round"] <= rounds))


def by_stage(study: str, results: Path = paths.RESULTS) -> pd.DataFrame:
    """Add up the wall time of a study's runs by stage and by part of a job.

    All rounds of its runs count, also those that another study has added.

    Args:
        study: name of the study.
        results: the results folder.

    Returns:
        The columns ``count``, the number of timings, and ``seconds``, by stage.

    Raises:
        FileNotFoundError: the study has not been run.
        ArtifactError: a file cannot be read.
    """
    table = paths.table(study, "runs", "parquet", results)
    if not table.exists():
        raise FileNotFoundError(2, "no such file", str(table))
    runs: Iterable[str] = read_table(table, "runs_table", study, columns=["run"])["run"].to_pylist()
    rows = [row for run in runs for row in _rows(run, results)]
    seconds = pd.DataFrame(rows, columns=["stage", "seconds"]).groupby("stage")["seconds"]
    shares = seconds.agg(["count", "sum"]).rename(columns={"sum": "seconds"})
    return shares.reindex([*STAGES, *OVERHEAD], fill_value=0)


def text(study: str, results: Path = paths.RESULTS) -> str:
    """Show the wall time of a study's runs by stage as a Markdown table.

    Raises:
        FileNotFoundError: the study has not been run.
        ArtifactError: a file cannot be read.
    """
    shares = by_stage(study, results)
    whole, jobs = shares["seconds"].sum(), shares["count"]["start"]
    table = shares[shares["count"] > 0][["seconds"]]
    table = table.assign(share=100 * table["seconds"] / whole).rename(columns={"share": "share, %"})
    lines = [
        f"Study {study}: wall time of its jobs by stage.",
        "",
        table.to_markdown(tablefmt="github", floatfmt=".1f"),
        "",
    ]
    if not jobs:
        return "\n".join([*lines, "Jobs of one stage each: their time outside it is not recorded."])
    outside = shares["seconds"][list(OVERHEAD)].sum() / whole
    average = f"{jobs} jobs of {whole / jobs:.1f} seconds on average"
    return "\n".join([*lines, f"{average}, {outside:.1%} of it outside the four stages."])
