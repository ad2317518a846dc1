# What determines the files of each job, and so which of them are done.
import functools
import hashlib
from pathlib import Path

from skymask.artifacts import provenance_file
from skymask.jobs.provenance import MODULES, Stages
from skymask.study.methods import modules_of

# texts that the pages are made from
TEMPLATES = ROOT / "reporting" / "templates"

# a file is done if its provenance file says that it was made for this study and by this code;
# neither times nor Snakemake's records count, hence the inputs of all jobs are ancient
internals.decide_by(workflow, provenance_file.is_current)

SCRIPTS = {
    stage: Path(workflow.source_path(f"../scripts/{stage}.py")) for stage in MODULES
}
STAGES = Stages(SCRIPTS.__getitem__, STAGED)


def stage_provenance(name):
    """A params function: the provenance of a stage of one round."""

    def provenance(wildcards):
        number = int(getattr(wildcards, "round", 0))
        return STAGES.stage(experiment(wildcards), name, number)

    return provenance


def span_provenance(wildcards):
    """The provenance of a span of rounds."""
    first, last = int(wildcards.first), int(wildcards.last)
    return STAGES.span(experiment(wildcards), first, last, kept(first, last))


def collected_provenance(run):
    """The provenance of the collected rows of a run."""
    return STAGES.collected(RUNS[run].experiment, RUNS[run].rounds)


def collected_updates_provenance(wildcards):
    """The provenance of the kept updates of a run."""
    rounds = RUNS[wildcards.run].rounds
    return STAGES.collected_updates(experiment(wildcards), kept(1, rounds))


def study_provenance(stage, before, *modules, **facts):
    """The provenance of files of the study as a whole."""
    cells = {"study": STUDY.name, "cells": outputs.digest(STUDY)}
    return STAGES.of_study(stage, before, *modules, **cells, **facts)


@functools.cache
def tables_provenance():
    """The provenance of the tables."""
    return study_provenance("tables", map(collected_provenance, RUNS))


@functools.cache
def figure_provenance(name):
    """The provenance of a figure."""
    attacks = []
    if name == "triggered_samples":
        before = [STAGES.data(run.dataset) for run in BACKDOORED]
        attacks = {m for run in BACKDOORED for m in modules_of("attack", run.attack)}
    elif name in ("accuracy_curves", "mask_scatter", "mask_geometry"):
        runs = RUNS if name == "accuracy_curves" else MASKED
        before = map(collected_provenance, runs)
    else:
        before = [tables_provenance()]
    modules = [f"skymask.reporting.figures.{name}", *sorted(attacks)]
    return study_provenance("figure", before, *modules, figure=name)


def overview_provenance():
    """The provenance of the overview page and the parts of the report."""
    figures = map(figure_provenance, outputs.figures(STUDY))
    before = [tables_provenance(), *figures]
    templates = b"".join(path.read_bytes() for path in sorted(TEMPLATES.iterdir()))
    texts = hashlib.sha256(templates).hexdigest()[:12]
    return study_provenance("overview", before, file=STUDY_FILES, texts=texts)
