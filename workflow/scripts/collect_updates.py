"""Join the kept updates of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from pyarrow import concat_tables

from skymask.artifacts import read_table, write_table
from skymask.jobs import logged
from skymask.tensor_artifacts import RAW

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    target = Path(snakemake.output[0])
    tables = [read_table(Path(path), "updates", target.parent.name) for path in snakemake.input]
    write_table(target, "updates", target.parent.name, concat_tables(tables), **RAW)
