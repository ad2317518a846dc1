"""Rows of a run, joined from its rounds or spans."""

from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.artifacts.records import collect_rows
from skymask.jobs.log import logged
from skymask.jobs.paths import COLLECTED

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    run = Path(snakemake.output.metrics).parent.name
    for kind in COLLECTED:
        sources = [Path(path) for path in getattr(snakemake.input, kind)]
        collect_rows(sources, Path(getattr(snakemake.output, kind)), kind, run)
