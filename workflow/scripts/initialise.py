"""Round 0, in files: the initial global model, and nothing remembered."""

from typing import TYPE_CHECKING

from skymask.federation.checkpoint import Progress
from skymask.federation.storage import read_federation, write_progress
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    federation = read_federation(snakemake.input)
    write_progress(federation, snakemake.output, Progress(federation.initial_parameters()))
