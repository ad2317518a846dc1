"""State of a run before round 1, as a job."""

from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.federation.storage import read_checkpoint, read_federation, write_checkpoint
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    federation = read_federation(snakemake.input)
    write_checkpoint(federation, snakemake.output, read_checkpoint(federation, snakemake.input))
