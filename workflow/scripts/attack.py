"""Stage 2 of a round, as a job."""

from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.federation.attack import attack
from skymask.federation.storage import stage
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake), stage(snakemake, "attack") as job:
    updates = job.read("updates")
    with job.timed():
        updates, state = attack(job.federation, updates, job.parameters, job.state, job.round)
    job.write(updates=updates, state=state)
