"""The tables of a study, from the collected rows of its runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.jobs import logged, read_study
from skymask.tables import write

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    write(read_study(snakemake.config, Path(snakemake.scriptdir).parents[1]), Path("results/runs"), Path(snakemake.output[0]).parent)
