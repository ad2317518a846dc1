"""Specification of each run of the study."""

from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.atomic import atomic
from skymask.artifacts.provenance_file import recorded
from skymask.jobs.log import logged
from skymask.study import load

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    study = load.from_config(snakemake.config)
    for path in map(Path, snakemake.output.runs):
        with atomic(path) as temporary:
            text = study.runs[path.parent.name].experiment.to_json()
            temporary.write_text(text, encoding="utf-8")
