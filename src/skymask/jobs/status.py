"""Status of a study: finished, running, failed and waiting runs, time left.

It depends on artifacts and the logs of jobs only, not on Snakemake's records: it does not tell
whether artifacts are outdated because the code has changed.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.records import read_rows
from skymask.jobs import costs, paths, spans
from skymask.jobs.log import JobLog, read_log
from skymask.jobs.progress import last_round
from skymask.read_errors import ReadError
from skymask.study.experiment import Experiment
from skymask.study.grid import Cell, Study

State = Literal["done", "running", "failed", "stopped", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "stopped", "waiting")

RECENT = 20
"""Rounds of which the time is read where each stage is a job: each has four small files."""


@dataclass(frozen=True)
class Progress:
    """Status of one run.

    ``rounds`` of the ``wanted`` rounds are done.  ``log`` and ``job`` are of the job that runs, has
    failed or was stopped; ``None`` for a run that is done or waits.  ``timed`` is the number of
    rounds of finished jobs, and ``seconds`` their time.
    """

    run: str
    state: State
    rounds: int
    wanted: int
    log: Path | None
    job: JobLog | None
    timed: int
    seconds: float


def progress(study: Study, results: Path = paths.RESULTS) -> list[Progress]:
    """Return the status of each run of a study, in the study's order."""
    return [_progress(study, cell, results) for cell in study.runs.values()]


def _progress(study: Study, cell: Cell, results: Path) -> Progress:
    run = cell.experiment.run
    folder = paths.run(run, results)
    run_spans = spans.spans(folder, cell.rounds, spans.rounds_per_job(study, cell))
    done = _rounds_of_jobs(folder, cell, run_spans)
    timed, seconds = _timed(folder, cell, run_spans, done)
    state: State = "done" if done == cell.rounds else "waiting"
    path, job = None, None
    if state == "waiting":
        for path in _next_logs(cell, run_spans, done, results):
            job = read_log(path)
            if job and job.state in ("running", "failed", "stopped"):
                state = job.state
                break
        else:
            path, job = None, None
    return Progress(run, state, done, cell.rounds, path, job, timed, seconds)


def _rounds_of_jobs(folder: Path, cell: Cell, run_spans: list[spans.Span]) -> int:
    """Return the last round up to which all jobs of a run are done."""
    if run_spans:
        done = 0
        for first, last in run_spans:
            if not (paths.span(folder, first, last) / "model.parquet").exists():
                break
            done = last
        return done
    for round_ in range(1, cell.rounds + 1):
        files = ["model"] + (["metrics"] if cell.experiment.evaluates(round_) else [])
        at = paths.round_(folder, round_)
        if not all((at / f"{name}.parquet").exists() for name in files):
            return round_ - 1
    return cell.rounds


def _timed(folder: Path, cell: Cell, run_spans: list[spans.Span], done: int) -> tuple[int, float]:
    """Count the rounds of finished jobs whose time is known, and add up their seconds."""
    if run_spans:
        finished = [span for span in run_spans if span[1] <= done]
        files = [paths.span(folder, *span) / "timings.parquet" for span in finished]
        rounds = sum(last - first + 1 for first, last in finished)
    else:
        begin = max(done - RECENT, 0)
        rounds = done - begin
        files = [
            path
            for r in range(begin + 1, done + 1)
            for path in sorted(paths.stage_timings(folder, r, "*").parent.glob("*.parquet"))
        ]
    seconds = 0.0
    try:
        for path in files:
            rows = read_rows(path, "timings", cell.experiment.run)
            seconds += sum(rows["seconds"].to_pylist())
    except (ArtifactError, ReadError):
        return 0, 0.0
    return (rounds, seconds) if seconds > 0 else (0, 0.0)


def _next_logs(cell: Cell, run_spans: list[spans.Span], done: int, results: Path) -> Iterable[Path]:
    """Return the logs of the jobs that a run needs next, and then of those they depend on."""
    experiment = cell.experiment
    if run_spans:
        span = next((span for span in run_spans if span[1] > done), run_spans[-1])
        yield paths.log("span", experiment.run, f"{span[0]}-{span[1]}", results=results)
    else:
        for stage in reversed(spans.STAGES):
            # a round is evaluated while the next is trained
            for round_ in (done + 1, done + 2):
                yield paths.log(stage, experiment.run, str(round_), results=results)
    if not done:
        yield paths.log("initialise", experiment.run, results=results)
        yield paths.log("partition", experiment.partition_id, results=results)
        yield paths.log("data", experiment.dataset, results=results)


def seconds_left(study: Study, all_runs: list[Progress]) -> float:
    """Estimate the seconds until a study is done, with as many jobs at once as run now.

    A round takes as long as the finished rounds of the run; without any, as those of runs that
    differ in their seeds only; else as ``skymask.jobs.costs`` estimates, corrected by the ratio of
    measured to estimated time over all runs.
    """
    of_run, of_like, runs = {}, {}, study.runs
    pools: dict[str, list[Progress]] = {}
    for one in all_runs:
        pools.setdefault(_like(runs[one.run].experiment), []).append(one)
        if one.timed:
            of_run[one.run] = one.seconds / one.timed
    for like, pool in pools.items():
        timed = sum(one.timed for one in pool)
        if timed:
            of_like[like] = sum(one.seconds for one in pool) / timed
    estimated = {one.run: costs.seconds_per_round(runs[one.run].experiment) for one in all_runs}
    expected = sum(one.timed * estimated[one.run] for one in all_runs)
    slower = sum(one.seconds for one in all_runs) / expected if expected else 1.0
    left = 0.0
    for one in all_runs:
        like = _like(runs[one.run].experiment)
        each = of_run.get(one.run) or of_like.get(like) or estimated[one.run] * slower
        left += (one.wanted - one.rounds) * each
    return left / max(_running(all_runs), 1)


def _like(experiment: Experiment) -> str:
    """Return the same for runs that differ in their seeds only."""
    return replace(experiment, data_seed=0, training_seed=0).run


def _running(all_runs: list[Progress]) -> int:
    return sum(one.state == "running" for one in all_runs)


def text(study: Study, results: Path = paths.RESULTS) -> str:
    """Return the status of a study as text, with the logs of runs that failed or were stopped."""
    all_runs = progress(study, results)
    states = Counter(one.state for one in all_runs)
    done, wanted = sum(one.rounds for one in all_runs), sum(one.wanted for one in all_runs)
    counts = ", ".join(f"{states[state]} {state}" for state in STATES)
    runs = f"{len(all_runs)} run" + ("" if len(all_runs) == 1 else "s")
    lines = [
        f"Study {study.name}, scale {study.scale}: {runs}: {counts}",
        f"rounds: {done:,} of {wanted:,} done, {done / wanted:.0%}",
        _pace(study, all_runs),
    ]
    for state, note in (
        ("failed", ""),
        ("stopped", " (interrupted or killed: run the same command again to continue)"),
        ("running", ""),
    ):
        chosen = [one for one in all_runs if one.state == state]
        lines += [f"{state}{note}:"] if chosen else []
        lines += [f"  {line}" for one in chosen for line in _shown(one)]
    if done == wanted:
        there = paths.table(study.name, "runs", "parquet", results).exists()
        lines.append(
            f"tables: {paths.tables(study.name, results)}"
            if there
            else "tables: not made yet; rerun snakemake"
        )
    return "\n".join(line for line in lines if line)


def _pace(study: Study, all_runs: list[Progress]) -> str:
    """Return the rounds per second, and the time that is left."""
    timed, seconds = sum(one.timed for one in all_runs), sum(one.seconds for one in all_runs)
    parts = [f"{timed / seconds:.3g} rounds per second in each job"] if timed else []
    if any(one.rounds < one.wanted for one in all_runs):
        jobs = max(_running(all_runs), 1)
        at_once = "a job at a time" if jobs == 1 else f"{jobs} jobs at a time"
        whole = round(seconds_left(study, all_runs))
        left = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
        source = "" if timed else ", estimated, not measured"
        parts.append(f"about {left} (h:mm:ss) left with {at_once}{source}")
    return "; ".join(parts)


def _shown(one: Progress) -> list[str]:
    """Return the lines of a run that is neither done nor waits."""
    first = f"{one.run}: {one.rounds} of {one.wanted} rounds, log {one.log}"
    if one.job is None:
        return [first]
    if one.state == "failed":
        return [first, f"  {one.job.error}"]
    where = f"process {one.job.process} on {one.job.host}"
    at = last_round(one.log) if one.log and one.state == "running" else None
    return [f"{first}, {where}" + (f", at round {at}" if at else "")]
