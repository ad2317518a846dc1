"""Assignment of training samples to the root data and the clients."""

from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.artifacts.samples import read_groups, read_labels, write_partition
from skymask.data.partition import assign
from skymask.jobs.log import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    spec = dict(snakemake.params.spec)
    method = spec.pop("partition")
    train, dataset = Path(snakemake.input.train), spec.pop("dataset")
    labels, classes = read_labels(train, dataset)
    assignment = assign(
        labels,
        classes=classes,
        partition=method["name"],
        parameters=method["parameters"],
        groups=read_groups(train, dataset),
        **spec,
    )
    target = Path(snakemake.output[0])
    write_partition(target, target.stem, assignment)
