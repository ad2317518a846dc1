"""What determines a run, beside its files."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.files import atomic
from skymask.jobs import logged

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    with atomic(Path(snakemake.output[0])) as temporary:
        temporary.write_text(snakemake.params.text, encoding="utf-8")
