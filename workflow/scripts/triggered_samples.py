"""Test samples with the triggers of the study's backdoors."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.jobs.log import logged
from skymask.reporting.figures.triggers import triggered_samples
from skymask.study.load import read_study

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    study = read_study(snakemake.config, Path(snakemake.scriptdir).resolve().parents[1])
    tests = {Path(path).parent.name: Path(path) for path in snakemake.input.test}
    triggered_samples(study, tests, [Path(path) for path in snakemake.output])
