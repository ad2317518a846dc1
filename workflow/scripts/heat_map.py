"""Final accuracy at a glance, defense × attack."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.figures.heat_map import heat_map
from skymask.jobs import read_study
from skymask.logs import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    study = read_study(snakemake.config, Path(snakemake.scriptdir).resolve().parents[1])
    targets = [Path(path) for path in snakemake.output]
    heat_map(study, Path(snakemake.output[0]).parents[2] / "runs", targets)
