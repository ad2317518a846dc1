"""The tables of a study, from the collected rows of its runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.jobs import read_study
from skymask.logs import logged
from skymask.tables import write

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    study = read_study(snakemake.config, Path(snakemake.scriptdir).resolve().parents[1])
    write(study, Path(snakemake.output[0]).parents[2] / "runs", Path(snakemake.output[0]).parent)
