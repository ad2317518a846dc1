"""Stage 4 of a round, as a job."""

from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.federation.evaluate import evaluate
from skymask.federation.records import metrics_row
from skymask.federation.storage import stage
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake), stage(snakemake, "evaluate") as job:
    with job.timed():
        quality = evaluate(job.federation, job.parameters, job.statistics)
    job.write(metrics=[metrics_row(job.round, quality)])
