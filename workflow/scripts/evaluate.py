"""Stage 4 of a round, in files: global model to metrics."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.artifacts.records import read_rows, write_rows
from skymask.federation.evaluate import evaluate
from skymask.federation.records import metrics_row
from skymask.federation.storage import read_federation, read_model
from skymask.federation.timing import Row, timed
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    federation = read_federation(snakemake.input)
    run, round_ = federation.experiment, int(snakemake.wildcards.round)
    model, statistics = read_model(federation, snakemake.input.model)
    aggregated = read_rows(Path(snakemake.input.aggregates), "aggregates", run.run).to_pylist()
    timings: list[Row] = []
    with timed(timings, round_, "evaluate", run.device):
        row = metrics_row(round_, evaluate(federation, model, statistics), aggregated[0])
    write_rows(Path(snakemake.output.metrics), "metrics", run.run, [row])
    write_rows(Path(snakemake.output.timings), "timings", run.run, timings)
