"""Stage 2 of a round, in files: honest updates to the updates that reach the server."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.artifacts.records import write_rows
from skymask.artifacts.tensors import write_state
from skymask.federation.attack import attack
from skymask.federation.storage import (
    read_federation,
    read_model,
    read_remembered,
    read_updates,
    write_updates,
)
from skymask.federation.timing import Row, timed
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    federation = read_federation(snakemake.input)
    run, round_ = federation.experiment, int(snakemake.wildcards.round)
    model, _ = read_model(federation, snakemake.input.model)
    state = read_remembered(federation, snakemake.input.state)
    updates = read_updates(federation, snakemake.input.updates)
    timings: list[Row] = []
    with timed(timings, round_, "attack", run.device):
        updates, state = attack(federation, updates, model, state, round_)
    write_updates(federation, snakemake.output.updates, round_, updates)
    write_state(Path(snakemake.output.state), run.run, state)
    write_rows(Path(snakemake.output.timings), "timings", run.run, timings)
