"""Many rounds of the four stages, as one job."""

from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.artifacts.records import write_rows
from skymask.federation.rounds import run_span
from skymask.federation.storage import (
    kept_updates,
    read_checkpoint,
    read_federation,
    write_checkpoint,
)
from skymask.federation.timing import Clock
from skymask.jobs.log import logged
from skymask.jobs.progress import RoundLog

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    clock = Clock()
    first, last = int(snakemake.wildcards.first), int(snakemake.wildcards.last)
    with clock.part("read"):
        federation = read_federation(snakemake.input)
        checkpoint = read_checkpoint(federation, snakemake.input)
    run = federation.experiment
    rounds, wanted = range(first, last + 1), frozenset(snakemake.params.keep_updates)
    with kept_updates(federation, snakemake.output.updates, clock) as keep:
        progress = RoundLog(first, last)
        checkpoint, span = run_span(federation, checkpoint, rounds, wanted, progress, keep)
    with clock.part("write"):
        for kind in ("clients", "aggregates", "layers", "metrics"):
            write_rows(Path(snakemake.output[kind]), kind, run.run, getattr(span, kind))
        write_checkpoint(federation, snakemake.output, checkpoint)
    timings = span.timings + clock.rows(span.timings, last, run.device)
    write_rows(Path(snakemake.output.timings), "timings", run.run, timings)
