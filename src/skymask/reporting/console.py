"""Text in the terminal at the end of a run and of a study."""

from pathlib import Path

from skymask.jobs import paths
from skymask.study.grid import Study

SHOWN = ("accuracy", "argmax_accuracy", "detection", "attack_success")
"""Tables that are shown."""

NAMED = {
    "published": "comparison with the paper's values",
    "significance": "SkyMask compared with the best baseline, with confidence intervals",
}
"""Tables of which the file is named."""


def summary(study: str, results: Path = paths.RESULTS) -> str:
    """Show the main tables of a study and the paths of its files.

    Args:
        study: name of the study.
        results: the results folder.

    Raises:
        FileNotFoundError: the study has not been run.
    """
    folder = paths.tables(study, results)
    names = sorted(path.stem for path in folder.glob("*.md"))
    always = ("accuracy", "detection")
    shown = [name for name in SHOWN if name in always or name in names]
    parts = [(folder / f"{name}.md").read_text(encoding="utf-8") for name in shown]
    parts += [f"{title}: {folder}/{name}.md\n" for name, title in NAMED.items() if name in names]
    parts.append(
        f"tables   {folder}/{{{','.join(names)}}}.{{csv,md,tex,parquet}}\n"
        f"figures  {paths.figure(study, '*', '{png,pdf}', results)}\n"
        f"runs     {paths.run('RUN', results)}/*.parquet; {folder}/runs.md lists each RUN\n"
        f"page     {folder}/overview.html: all of it in one page"
    )
    return "\n" + "\n".join(parts)


def run_line(study: Study, run: str, results: Path = paths.RESULTS) -> str:
    """Describe a finished run in one line: its accuracy as in the tables, rounds and wall time.

    Raises:
        ArtifactError: a file of the run cannot be read.
    """
    # pandas and pyarrow are loaded only when there is something to read
    from skymask.reporting import tables, timings

    cell = study.runs[run]
    row = tables.summarise(cell, paths.run(run, results), study.final_evaluations)
    time = clock(timings.run_seconds(run, cell.rounds, results))
    return f"{run}: accuracy {row['accuracy']:.3f} after {cell.rounds} rounds, {time}"


def cost_line(study: Study, elapsed: float, results: Path = paths.RESULTS) -> str:
    """Describe the total cost of a finished study, and the ``elapsed`` seconds of this call.

    Raises:
        ArtifactError: a file of a run cannot be read.
    """
    from skymask.reporting import timings

    rounds = sum(cell.rounds for cell in study.runs.values())
    hours = ", ".join(f"{value} {name}" for name, value in timings.cost(study, results).items())
    runs = len(study.runs)
    return (
        f"cost     {hours} for {runs} run{'s'[: runs != 1]} with {rounds:,} rounds in total; "
        f"this call took {clock(elapsed)}"
    )


def clock(seconds: float) -> str:
    """Format seconds as h:mm:ss; below a minute as seconds with one decimal."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
