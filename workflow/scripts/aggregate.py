"""Stage 3 of a round, as a job."""

from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.federation.aggregate import aggregate, averaged_statistics
from skymask.federation.records import aggregate_row, client_rows, layer_rows
from skymask.federation.storage import stage
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake), stage(snakemake, "aggregate") as job:
    parties, updates, trained = job.federation, job.read("updates"), job.read("statistics")
    with job.timed():
        model, verdict, state = aggregate(parties, updates, job.parameters, job.state, job.round)
        statistics = averaged_statistics(trained, verdict, job.statistics, parties.model)
    job.write(
        model=(model, statistics),
        state=state,
        clients=client_rows(job.round, parties.malicious, verdict),
        aggregates=[aggregate_row(job.round, parties.malicious, verdict)],
        layers=layer_rows(job.round, parties.model.layout, verdict),
    )
