"""A data set as Parquet."""

from pathlib import Path
from typing import TYPE_CHECKING

import skymask.jobs.script  # noqa: F401
from skymask.artifacts.provenance_file import recorded
from skymask.artifacts.samples import write_samples
from skymask.data.datasets import DATASETS
from skymask.data.datasets.arrays import search_path
from skymask.jobs.log import logged
from skymask.study import load

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]), recorded(snakemake):
    dataset = snakemake.wildcards.dataset
    study = load.from_config(snakemake.config)
    arrays = DATASETS[dataset](search_path(study.data_folders))
    facts = {"classes": arrays.classes, "scale": arrays.scale}
    train, test = Path(snakemake.output.train), Path(snakemake.output.test)
    groups = arrays.train_groups
    write_samples(
        train, dataset, arrays.train_features, arrays.train_labels, groups=groups, **facts
    )
    write_samples(test, dataset, arrays.test_features, arrays.test_labels, **facts)
