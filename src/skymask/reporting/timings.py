"""What the wall time of a study's runs went to, from their timings."""

from pathlib import Path

from skymask.artifacts.parquet import read_table
from skymask.artifacts.records import read_rows
from skymask.jobs.spans import STAGES

OVERHEAD = ("start", "read", "write", "other")
"""The parts of a job of many rounds that are none of the stages."""


def shares(study: str, results: Path = Path("results")) -> dict[str, tuple[int, float]]:
    """Of each stage, and each part of a job beside them: how many rows, and their seconds in all.

    The runs are those of the study's table; of a run that another study made longer all rounds
    count.  Raises FileNotFoundError when the study has not been run.
    """
    table = results / "tables" / study / "runs.parquet"
    if not table.exists():
        raise FileNotFoundError(2, "no such file", str(table))
    found = dict.fromkeys((*STAGES, *OVERHEAD), (0, 0.0))
    for run in read_table(table, "runs_table", study, columns=["run"])["run"].to_pylist():
        rows = read_rows(results / "runs" / run / "timings.parquet", "timings", run)
        for stage, seconds in zip(
            *(rows[c].to_pylist() for c in ("stage", "seconds")), strict=True
        ):
            count, sum_ = found[stage]
            found[stage] = (count + 1, sum_ + seconds)
    return found


def text(study: str, results: Path = Path("results")) -> str:
    """The shares of a study as a table, with the share of what is none of the four stages.

    Raises FileNotFoundError when the study has not been run.
    """
    found = shares(study, results)
    whole = sum(seconds for _, seconds in found.values())
    lines = [f"Study {study}: where the wall time of its jobs went.", ""]
    lines += ["| stage     |  seconds | share  |", "|-----------|----------|--------|"]
    lines += [
        f"| {stage:9} | {seconds:8.1f} | {seconds / whole:6.1%} |"
        for stage, (count, seconds) in found.items()
        if count
    ]
    jobs = found["start"][0]
    if not jobs:
        return "\n".join(
            [*lines, "", "Jobs of one stage each: what they take beside it is not kept."]
        )
    beside = sum(found[part][1] for part in OVERHEAD)
    lines += [
        "",
        f"{jobs} jobs of {whole / jobs:.1f} seconds, {beside / whole:.1%} of it beside the stages.",
    ]
    return "\n".join(lines)
