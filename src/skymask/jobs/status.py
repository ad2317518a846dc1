"""How far a study is: what is done, runs, has failed or waits, and about how long is left.

Rests on artifacts and the logs of jobs alone, never on Snakemake's records; whether the code has
changed since an artifact was written is for Snakemake to say.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from skymask.artifacts.parquet import ArtifactError
from skymask.artifacts.records import read_rows
from skymask.jobs import costs, paths, spans
from skymask.jobs.log import JobLog, read_log
from skymask.jobs.progress import last_round
from skymask.study.experiment import Experiment
from skymask.study.grid import Cell, Study

State = Literal["done", "running", "failed", "stopped", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "stopped", "waiting")

RECENT = 20
"""Rounds that are timed of a run whose every round is a job: each has four small files."""


@dataclass(frozen=True)
class Progress:
    """How far one run is.

    ``rounds`` of those that the study wants are done.  ``log`` is of the job that decides the
    state: it runs, has failed, or was stopped; ``None`` for a run that is done or waits.
    ``timed`` are rounds of finished jobs, and ``seconds`` their time.
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
    """How far each run of a study is, in the study's order."""
    return [_progress(study, cell, results) for cell in study.runs.values()]


def _progress(study: Study, cell: Cell, results: Path) -> Progress:
    run = cell.experiment.run
    folder = paths.run(run, results)
    staged = study.rounds_per_job == 1
    cut = [] if staged else spans.spans(folder, cell.rounds, spans.rounds_per_job(study, cell))
    done = _rounds_of_jobs(folder, cell, cut)
    timed, seconds = _timed(folder, cell, cut, done)
    state: State = "done" if done == cell.rounds else "waiting"
    path, job = None, None
    if state == "waiting":
        for path in _next_logs(cell, cut, done, results):
            job = read_log(path)
            if job and job.state in ("running", "failed", "stopped"):
                state = job.state
                break
        else:
            path, job = None, None
    return Progress(run, state, done, cell.rounds, path, job, timed, seconds)


def _rounds_of_jobs(folder: Path, cell: Cell, cut: list[spans.Span]) -> int:
    """Rounds up to which all jobs of a run have left their files."""
    if cut:
        done = 0
        for first, last in cut:
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


def _timed(folder: Path, cell: Cell, cut: list[spans.Span], done: int) -> tuple[int, float]:
    """Rounds of finished jobs whose time is known, and their seconds in all."""
    if cut:
        finished = [span for span in cut if span[1] <= done]
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
    except ArtifactError:
        return 0, 0.0
    return (rounds, seconds) if seconds > 0 else (0, 0.0)


def _next_logs(cell: Cell, cut: list[spans.Span], done: int, results: Path) -> Iterable[Path]:
    """The logs of the jobs that a run needs next, and then of those that these rest on."""
    experiment = cell.experiment
    if cut:
        span = next((span for span in cut if span[1] > done), cut[-1])
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


def seconds_left(study: Study, found: list[Progress]) -> float:
    """About how many seconds the rest of a study takes, with as many jobs at once as run now.

    A round of a run takes as long as it took in the run itself, else in runs that differ in their
    seeds only, else as ``skymask.jobs.costs`` reckons, times what a round took on the whole
    against what was reckoned.
    """
    of_run, of_like, runs = {}, {}, study.runs
    pools: dict[str, list[Progress]] = {}
    for one in found:
        pools.setdefault(_like(runs[one.run].experiment), []).append(one)
        if one.timed:
            of_run[one.run] = one.seconds / one.timed
    for like, pool in pools.items():
        timed = sum(one.timed for one in pool)
        if timed:
            of_like[like] = sum(one.seconds for one in pool) / timed
    reckoned = {one.run: costs.seconds_per_round(runs[one.run].experiment) for one in found}
    expected = sum(one.timed * reckoned[one.run] for one in found)
    slower = sum(one.seconds for one in found) / expected if expected else 1.0
    left = 0.0
    for one in found:
        like = _like(runs[one.run].experiment)
        each = of_run.get(one.run) or of_like.get(like) or reckoned[one.run] * slower
        left += (one.wanted - one.rounds) * each
    return left / max(_running(found), 1)


def _like(experiment: Experiment) -> str:
    """The same for runs that differ in their seeds only."""
    return replace(experiment, data_seed=0, training_seed=0).run


def _running(found: list[Progress]) -> int:
    return sum(one.state == "running" for one in found)


def text(study: Study, results: Path = paths.RESULTS) -> str:
    """The progress of a study in words, with the log of every run that failed or was stopped."""
    found = progress(study, results)
    states = Counter(one.state for one in found)
    done, wanted = sum(one.rounds for one in found), sum(one.wanted for one in found)
    counts = ", ".join(f"{states[state]} {state}" for state in STATES)
    runs = f"{len(found)} run" + ("" if len(found) == 1 else "s")
    lines = [
        f"Study {study.name}, scale {study.scale}: {runs}: {counts}",
        f"rounds: {done:,} of {wanted:,} done, {done / wanted:.0%}",
        _pace(study, found),
    ]
    for state, note in (
        ("failed", ""),
        ("stopped", " (ended without a word: the same command goes on)"),
        ("running", ""),
    ):
        chosen = [one for one in found if one.state == state]
        lines += [f"{state}{note}:"] if chosen else []
        lines += [f"  {line}" for one in chosen for line in _shown(one)]
    if done == wanted:
        there = paths.table(study.name, "runs", "parquet", results).exists()
        lines.append(
            f"tables: {paths.tables(study.name, results)}"
            if there
            else "tables: not made yet: run snakemake again"
        )
    return "\n".join(line for line in lines if line)


def _pace(study: Study, found: list[Progress]) -> str:
    """Rounds per second, and the time that is left."""
    timed, seconds = sum(one.timed for one in found), sum(one.seconds for one in found)
    parts = [f"{timed / seconds:.3g} rounds per second in each job"] if timed else []
    if any(one.rounds < one.wanted for one in found):
        jobs = max(_running(found), 1)
        at_once = "a job at a time" if jobs == 1 else f"{jobs} jobs at a time"
        whole = round(seconds_left(study, found))
        left = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
        source = "" if timed else ", reckoned, not measured"
        parts.append(f"about {left} (h:mm:ss) left with {at_once}{source}")
    return "; ".join(parts)


def _shown(one: Progress) -> list[str]:
    """A run that is not simply done or waiting."""
    first = f"{one.run}: {one.rounds} of {one.wanted} rounds, log {one.log}"
    if one.job is None:
        return [first]
    if one.state == "failed":
        return [first, f"  {one.job.error}"]
    where = f"process {one.job.process} on {one.job.host}"
    at = last_round(one.log) if one.log and one.state == "running" else None
    return [f"{first}, {where}" + (f", at round {at}" if at else "")]
