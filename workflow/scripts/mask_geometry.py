"""Where the updates and the masks of one round lie."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.jobs.log import logged
from skymask.reporting.figures.masks import mask_geometry
from skymask.study import load

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    study = load.from_config(snakemake.config)
    targets = [Path(path) for path in snakemake.output]
    mask_geometry(study, Path(snakemake.output[0]).parents[2] / "runs", targets)
