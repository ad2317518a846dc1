"""Overview page of a study, and the parts of its report."""

from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.jobs.log import logged
from skymask.reporting.report import write
from skymask.study import load

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    base = Path(snakemake.scriptdir).resolve().parents[1]
    study = load.from_config(snakemake.config)
    write(study, snakemake.params.file, Path(snakemake.output.page).parents[2], base)
