"""Test samples with the triggers of the study's backdoors."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.jobs.log import logged
from skymask.reporting.figures.triggers import triggered_samples
from skymask.study import load

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    study = load.from_config(snakemake.config)
    tests = {Path(path).parent.name: Path(path) for path in snakemake.input.test}
    triggered_samples(study, tests, [Path(path) for path in snakemake.output])
