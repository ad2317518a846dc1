"""Kept updates of a run, joined from its rounds or spans."""

from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.artifacts.records import collect_updates
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    target = Path(snakemake.output[0])
    collect_updates(map(Path, snakemake.input), target, target.parent.name)
