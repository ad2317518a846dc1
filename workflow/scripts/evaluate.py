"""Stage 4 of a round, in files: global model to metrics."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.artifacts import read_rows, write_rows
from skymask.logs import logged
from skymask.rounds.evaluate import evaluate
from skymask.rounds.records import metrics_row
from skymask.rounds.timing import Row, timed
from skymask.run_artifacts import read_federation, read_model

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
