"""Many rounds in one job: the four stages in memory, between one saved progress and the next."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.artifacts.records import write_rows
from skymask.federation.checkpoint import Progress
from skymask.federation.rounds import run_span
from skymask.federation.storage import kept_updates, read_federation, read_progress, write_progress
from skymask.federation.timing import Clock
from skymask.jobs.log import logged
from skymask.jobs.progress import RoundLog

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    clock = Clock()
    first, last = int(snakemake.wildcards.first), int(snakemake.wildcards.last)
    with clock.part("read"):
        federation = read_federation(snakemake.input)
        if hasattr(snakemake.input, "model"):
            progress = read_progress(federation, snakemake.input)
        else:
            progress = Progress(federation.initial_parameters())
    run, wanted = federation.experiment, frozenset(snakemake.params.keep_updates)
    with kept_updates(federation, snakemake.output.updates, clock) as keep:
        rounds = range(first, last + 1)
        said = RoundLog(first, last)
        progress, span = run_span(federation, progress, rounds, wanted, said, keep)
    with clock.part("write"):
        for kind in ("clients", "aggregates", "layers", "metrics"):
            write_rows(Path(snakemake.output[kind]), kind, run.run, getattr(span, kind))
        write_progress(federation, snakemake.output, progress)
    timings = span.timings + clock.rows(span.timings, last, run.device)
    write_rows(Path(snakemake.output.timings), "timings", run.run, timings)
