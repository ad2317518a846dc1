"""What is said of a run and of a study when they end: accuracy and cost, from their artifacts."""

from pathlib import Path

from skymask.artifacts.records import read_rows
from skymask.reporting.provenance import cost
from skymask.reporting.tables import summarise
from skymask.study.grid import Study


def run_line(study: Study, run: str, results: Path = Path("results")) -> str:
    """One line on a finished run: its accuracy as the tables have it, its rounds and its time.

    Raises ArtifactError for rows that cannot be read.
    """
    cell = study.runs[run]
    folder = results / "runs" / run
    row = summarise(cell, folder, study.final_evaluations)
    rows = read_rows(folder / "timings.parquet", "timings", run).to_pylist()
    seconds = sum(row["seconds"] for row in rows if row["round"] <= cell.rounds)
    return f"{run}: accuracy {row['accuracy']:.3f} after {cell.rounds} rounds, {clock(seconds)}"


def cost_line(study: Study, elapsed: float, results: Path = Path("results")) -> str:
    """What a finished study cost in all, and how long this call took, in seconds ``elapsed``.

    Raises ArtifactError for a run that cannot be read.
    """
    rounds = sum(cell.rounds for cell in study.runs.values())
    parts = ", ".join(f"{value} {name}" for name, value in cost(study, results).items())
    runs = len(study.runs)
    return (
        f"cost     {parts} for {runs} run{'s'[: runs != 1]} of {rounds:,} rounds in all; "
        f"this call took {clock(elapsed)}"
    )


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss; below a minute with tenths of a second."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
