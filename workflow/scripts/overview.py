"""The overview of a study: a page of its own, and the first thing in the report."""

from pathlib import Path
from typing import TYPE_CHECKING

from skymask.jobs.log import logged
from skymask.reporting.report import Place, write
from skymask.study import load

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    snakemake: Snakemake

with logged(snakemake.log[0]):
    base = Path(snakemake.scriptdir).resolve().parents[1]
    page, parts = Path(snakemake.output.page), Path(snakemake.output.part).parent
    results = page.parents[2]
    place = Place(snakemake.params.file, results, base, base / "workflow" / "report")
    tables = [Path(path) for path in snakemake.input.tables if path.endswith(".md")]
    figures = [Path(path) for path in snakemake.input.figures if path.endswith(".png")]
    write(load.from_config(snakemake.config), place, tables, figures, page, parts)
