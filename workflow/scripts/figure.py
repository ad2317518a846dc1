"""One figure of a study."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.jobs.log import logged
from skymask.study import load

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    study = load.from_config(snakemake.config)
    targets = [Path(path) for path in snakemake.output.figures]
    module = import_module(f"skymask.reporting.figures.{snakemake.wildcards.figure}")
    module.draw(study, targets[0].parents[2], targets)
