"""Stage 1 of a round, as a job."""

from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.federation.storage import stage
from skymask.federation.train import train, training_data
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake), stage(snakemake, "train") as job:
    data = training_data(job.federation)
    with job.timed():
        trained = train(job.federation, data, job.parameters, job.round, job.statistics)
    job.write(updates=trained.updates, statistics=trained.statistics)
