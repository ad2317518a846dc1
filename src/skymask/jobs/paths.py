"""Paths below the results folder.

Every rule, script and module takes its paths from here::

    paths.run(run) / "metrics.parquet"
    paths.round_(paths.run(run), 3) / "model.parquet"
    paths.table(study, "accuracy", "csv")

For a rule with wildcards, the same functions give the pattern: ``paths.run("{run}")``.  Functions
that start from the results folder take it as ``results``, for results that lie elsewhere.
"""

import re
from pathlib import Path

RESULTS = Path("results")
"""The results folder, in the working directory."""

COLLECTED = ("metrics", "clients", "aggregates", "layers", "timings")
"""Names of the files of a run that join the rows of its rounds."""

_SPAN = re.compile(r"(\d+)-(\d+)")


def dataset(name: str, part: str, results: Path = RESULTS) -> Path:
    """Return the file with the ``part`` of a data set: train or test."""
    return results / "data" / name / f"{part}.parquet"


def partition(partition_id: str, results: Path = RESULTS) -> Path:
    """Return the file that assigns training samples to clients."""
    return results / "partitions" / f"{partition_id}.parquet"


def run(name: str, results: Path = RESULTS) -> Path:
    """Return the folder of a run; its collected files are ``metrics.parquet`` and so on."""
    return results / "runs" / name


def round_(run_folder: Path, number: int | str) -> Path:
    """Return the folder of one round, where each stage is a job."""
    return run_folder / "rounds" / str(number)


def stage_timings(run_folder: Path, number: int | str, stage: str) -> Path:
    """Return the file with the wall time of one stage of a round."""
    return round_(run_folder, number) / "timings" / f"{stage}.parquet"


def span(run_folder: Path, first: int | str, last: int | str) -> Path:
    """Return the folder of the rounds ``first`` to ``last``, where these are one job."""
    return run_folder / "spans" / f"{first}-{last}"


def provenance(folder: Path, name: str) -> Path:
    """Return the provenance file of a job whose files are in ``folder``."""
    return folder / "provenance" / f"{name}.json"


def finished_spans(run_folder: Path) -> list[tuple[int, int]]:
    """List the spans (first, last) of a run that have a model, in no order."""
    models = run_folder.glob("spans/*/model.parquet")
    names = (_SPAN.fullmatch(path.parent.name) for path in models)
    return [(int(name[1]), int(name[2])) for name in names if name]


def tables(study: str, results: Path = RESULTS) -> Path:
    """Return the folder with the tables of a study."""
    return results / "tables" / study


def table(study: str, name: str, suffix: str, results: Path = RESULTS) -> Path:
    """Return a table of a study; ``suffix`` is csv, md, tex, parquet or html."""
    return tables(study, results) / f"{name}.{suffix}"


def figures(study: str, results: Path = RESULTS) -> Path:
    """Return the folder with the figures of a study."""
    return results / "figures" / study


def figure(study: str, name: str, suffix: str, results: Path = RESULTS) -> Path:
    """Return a figure of a study; ``suffix`` is png or pdf."""
    return figures(study, results) / f"{name}.{suffix}"


def report(study: str, results: Path = RESULTS) -> Path:
    """Return the folder with the parts of the report of a study."""
    return results / "report" / study


def study_file(study: str, results: Path = RESULTS) -> Path:
    """Return the study file of results that come from an archive."""
    return results / "studies" / f"{study}.yaml"


def log(rule: str, *names: str, results: Path = RESULTS) -> Path:
    """Return the log of a job; ``names`` are the values of its wildcards."""
    return results.joinpath("logs", rule, *names[:-1], f"{names[-1]}.log")


def benchmark(rule: str, *names: str, results: Path = RESULTS) -> Path:
    """Return the file in which Snakemake notes time and memory of a job."""
    return results.joinpath("benchmarks", rule, *names[:-1], f"{names[-1]}.tsv")
