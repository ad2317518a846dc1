"""Test accuracy over rounds."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.figures.curves import accuracy_curves
from skymask.jobs import read_study
from skymask.logs import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    study = read_study(snakemake.config, Path(snakemake.scriptdir).resolve().parents[1])
    targets = [Path(path) for path in snakemake.output]
    accuracy_curves(study, Path(snakemake.output[0]).parents[2] / "runs", targets)
