"""Stage 1 of a round, in files: global model to honest updates."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.artifacts.records import write_rows
from skymask.federation.storage import (
    read_federation,
    read_model,
    write_statistics,
    write_updates,
)
from skymask.federation.timing import Row, timed
from skymask.federation.train import train, training_data
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    federation = read_federation(snakemake.input)
    run, round_ = federation.experiment, int(snakemake.wildcards.round)
    model, statistics = read_model(federation, snakemake.input.model)
    timings: list[Row] = []
    data = training_data(federation)
    with timed(timings, round_, "train", run.device):
        trained = train(federation, data, model, round_, statistics)
    write_updates(federation, snakemake.output.updates, round_, trained.updates)
    write_statistics(federation, snakemake.output.statistics, round_, trained.statistics)
    write_rows(Path(snakemake.output.timings), "timings", run.run, timings)
