"""Stage 3 of a round, in files: updates to the next global model and the verdicts."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.artifacts.records import write_rows
from skymask.artifacts.tensors import write_state
from skymask.federation.aggregate import aggregate, averaged_statistics
from skymask.federation.records import aggregate_row, client_rows, layer_rows
from skymask.federation.storage import (
    read_federation,
    read_model,
    read_remembered,
    read_statistics,
    read_updates,
    write_model,
)
from skymask.federation.timing import Row, timed
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    federation = read_federation(snakemake.input)
    run, round_ = federation.experiment, int(snakemake.wildcards.round)
    model, statistics = read_model(federation, snakemake.input.model)
    state = read_remembered(federation, snakemake.input.state)
    updates = read_updates(federation, snakemake.input.updates)
    trained = read_statistics(federation, snakemake.input.statistics)
    timings: list[Row] = []
    with timed(timings, round_, "aggregate", run.device):
        model, verdict, state = aggregate(federation, updates, model, state, round_)
        statistics = averaged_statistics(trained, verdict, statistics)
    malicious, layout = federation.malicious, federation.model.layout
    rows = {
        "clients": client_rows(round_, malicious, verdict),
        "aggregates": [aggregate_row(round_, malicious, verdict)],
        "layers": layer_rows(round_, layout, malicious, verdict),
        "timings": timings,
    }
    write_model(federation, snakemake.output.model, model, statistics)
    write_state(Path(snakemake.output.state), run.run, state)
    for kind, kind_rows in rows.items():
        write_rows(Path(snakemake.output[kind]), kind, run.run, kind_rows)
