"""Tables of a study, from the collected rows of its runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.jobs.log import logged
from skymask.reporting.table_files import write
from skymask.study import load

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    study = load.from_config(snakemake.config)
    write(study, Path(snakemake.output[0]).parents[2] / "runs", Path(snakemake.output[0]).parent)
