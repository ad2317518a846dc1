"""Test accuracy over rounds."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.figures import accuracy_curves
from skymask.jobs import logged, read_study

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    targets = [Path(path) for path in snakemake.output]
    accuracy_curves(read_study(snakemake.config, Path(snakemake.scriptdir).parents[1]), Path("results/runs"), targets)
