"""Round 0, in files: the initial global model, and nothing remembered."""

from typing import TYPE_CHECKING

from skymask.logs import logged
from skymask.rounds.progress import Progress
from skymask.run_artifacts import read_federation, write_progress

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    federation = read_federation(snakemake.input)
    write_progress(federation, snakemake.output, Progress(federation.initial_parameters()))
