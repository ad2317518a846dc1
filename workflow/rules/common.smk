# The study, its runs, and the functions that rules ask for their inputs and parameters.
import os
import shlex
import sys
from pathlib import Path

# this repository; workflow.basedir is another one where this is a module of another workflow
BASE = Path(workflow.snakefile).parents[2]
sys.path.insert(0, f"{BASE}/src")

from skymask.artifacts import atomic  # noqa: E402
from skymask.jobs import locks, paths, resources, resume, spans  # noqa: E402
from skymask.jobs import snakemake_internals as internals  # noqa: E402
from skymask.reporting import console, outputs  # noqa: E402
from skymask.study import load  # noqa: E402
from skymask.study.grid import StudyError  # noqa: E402
from skymask.study.registry import ROOT  # noqa: E402

# the default study; a study given by --configfile stands alone
if not internals.has_config_files(workflow):

    configfile: f"{BASE}/config/config.yaml"


# Snakemake follows a chain of rounds by recursion
sys.setrecursionlimit(20_000)

# jobs find the package without an installation, with and without conda
SOURCE = shlex.quote(f"{BASE}/src")
# memory of many clients in large pages: a third of the time to take it
shell.prefix(
    f"export THP_MEM_ALLOC_ENABLE=1 PYTHONPATH={SOURCE}${{{{PYTHONPATH:+:$PYTHONPATH}}}}; "
)


wildcard_constraints:
    run=r"[^/]+",
    partition=r"[^/]+",
    round=r"\d+",
    first=r"\d+",
    last=r"\d+",


def read_study():
    files = [*map(os.path.relpath, internals.config_files(workflow))]
    try:
        study = load.from_files(files, internals.config_overrides(workflow), config)
        if refusal := spans.too_many_jobs(study):
            raise StudyError(", ".join(files), [refusal])
        return study
    except (StudyError, load.UnreadableError) as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(1)


# so that a killed run continues with the same command; only the main process, since a job may run
# on another host
IN_USE = (
    locks.acquire(Path(".snakemake")) if internals.is_main_process(workflow) else None
)


def refuse_orphans():
    """Start no job while SLURM jobs of a killed call may write the same files."""
    arguments = [*map(shlex.quote, sys.argv[1:])]
    refusal = resume.refusal(internals.runs_jobs_elsewhere(workflow), arguments)
    if refusal:
        raise WorkflowError(refusal)


def refuse_unwritable():
    """Start no job where results cannot be written."""
    refusal = atomic.unwritable(paths.RESULTS)
    if refusal:
        raise WorkflowError(refusal)


STUDY = read_study()
STUDY_FILES = ", ".join(map(os.path.relpath, internals.config_files(workflow)))
RUNS = STUDY.runs
PARTITIONS = {cell.experiment.partition_id: cell.experiment for cell in RUNS.values()}
STAGED = STUDY.rounds_per_job == 1
THREADS = max(cell.experiment.threads for cell in RUNS.values())
GPUS = int(any(cell.experiment.device.startswith("cuda") for cell in RUNS.values()))
RUNS_FOLDER = internals.with_prefix(workflow, paths.run(""))
SPANS = {
    run: spans.spans(RUNS_FOLDER / run, cell.rounds, spans.rounds_per_job(STUDY, cell))
    for run, cell in RUNS.items()
}


def experiment(wildcards):
    """The experiment of a run of this study."""
    return RUNS[wildcards.run].experiment


def memory(wildcards, attempt):
    """MB for a job of a run."""
    return resources.memory(experiment(wildcards), attempt)


def minutes(wildcards, attempt):
    """Minutes after which a job of a run may be ended."""
    first, last = getattr(wildcards, "first", 1), getattr(wildcards, "last", 1)
    rounds = int(last) - int(first) + 1
    return resources.minutes(experiment(wildcards), rounds, attempt)


# the folders of a run, and of one round or one span of rounds of it
RUN = paths.run("{run}")
ROUND = paths.round_(RUN, "{round}")
SPAN = paths.span(RUN, "{first}", "{last}")


def federation_of(wildcards):
    """The files that every stage of a run reads."""
    run = experiment(wildcards)
    return {
        "experiment": ancient(paths.run(run.run) / "experiment.json"),
        "partition": ancient(paths.partition(run.partition_id)),
        "train": ancient(paths.dataset(run.dataset, "train")),
        "test": ancient(paths.dataset(run.dataset, "test")),
    }


def before(wildcards, name):
    """A file of the previous round."""
    folder = paths.round_(paths.run(wildcards.run), int(wildcards.round) - 1)
    return ancient(folder / f"{name}.parquet")


def pieces(wildcards, name):
    """The files that a collected file of a run consists of, in the order of rounds."""
    run = wildcards.run
    return ancient(spans.pieces(paths.run(run), name, RUNS[run], SPANS[run], STAGED))


def checkpoint_before(wildcards):
    """The files that a span continues from; none for the first."""
    previous = spans.previous_span(int(wildcards.first), SPANS[wildcards.run])
    if previous is None:
        return {}
    folder = paths.span(paths.run(wildcards.run), *previous)
    return {
        name: ancient(folder / f"{name}.parquet")
        for name in ("model", "attack_state", "defense_state")
    }


def kept(first, last):
    """The rounds between two whose updates are kept."""
    return sorted(r for r in STUDY.keep_updates if first <= r <= last)


def kept_pieces(wildcards):
    """The files with the kept updates of a run."""
    run = paths.run(wildcards.run)
    if STAGED:
        rounds = kept(1, RUNS[wildcards.run].rounds)
        folders = [paths.round_(run, number) for number in rounds]
    else:
        folders = [
            paths.span(run, *span) for span in SPANS[wildcards.run] if kept(*span)
        ]
    return [ancient(folder / "updates.parquet") for folder in folders]


def collected(name, runs=None):
    """That collected file of some runs, by default of all of the study."""
    runs = RUNS if runs is None else runs
    return [ancient(paths.run(run) / f"{name}.parquet") for run in runs]


TABLES = [
    paths.table(STUDY.name, table, suffix)
    for table in outputs.tables(STUDY)
    for suffix in ("csv", "md", "tex", "parquet")
]
MASKED = [run for run, cell in RUNS.items() if outputs.masked(cell)]
LAYERED = [run for run, cell in RUNS.items() if outputs.with_layers(cell)]
BACKDOORED = [cell.experiment for cell in RUNS.values() if outputs.backdoored(cell)]
FIGURES = [
    paths.figure(STUDY.name, figure, suffix)
    for figure in outputs.figures(STUDY)
    for suffix in ("png", "pdf")
]
KEPT_UPDATES = [
    paths.run(run) / "updates.parquet"
    for run, cell in RUNS.items()
    if kept(1, cell.rounds)
]
