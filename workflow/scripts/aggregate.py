"""Stage 3 of a round, in files: updates to the next global model and the verdicts."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.artifacts import write_rows
from skymask.jobs import logged
from skymask.rounds.aggregate import aggregate
from skymask.rounds.loop import timed
from skymask.rounds.records import Row, client_rows
from skymask.run_artifacts import (
    read_federation,
    read_model,
    read_remembered,
    read_updates,
    write_model,
)
from skymask.tensor_artifacts import write_state

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    federation = read_federation(snakemake.input)
    run, round_ = federation.experiment, int(snakemake.wildcards.round)
    model = read_model(federation, snakemake.input.model)
    state = read_remembered(federation, snakemake.input.state)
    updates = read_updates(federation, snakemake.input.updates)
    timings: list[Row] = []
    with timed(timings, round_, "aggregate", run.device):
        model, verdict, state = aggregate(federation, updates, model, state, round_)
    rows = client_rows(round_, federation.malicious, verdict)
    write_model(federation, snakemake.output.model, model)
    write_state(Path(snakemake.output.state), run.run, state)
    write_rows(Path(snakemake.output.clients), "clients", run.run, rows)
    write_rows(Path(snakemake.output.timings), "timings", run.run, timings)
