"""Overview page of a study, and the parts of Snakemake's report."""

import base64
import json
import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from skymask.artifacts.atomic import atomic
from skymask.artifacts.parquet import read_table
from skymask.jobs import paths
from skymask.reporting import outputs, table_layout
from skymask.reporting.captions import captions, measured
from skymask.reporting.provenance import facts
from skymask.reporting.table_files import readable
from skymask.reporting.tables import read_runs
from skymask.study.grid import Study

ENVIRONMENT = Environment(
    loader=PackageLoader("skymask.reporting"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
"""The templates of pages."""


@dataclass(frozen=True)
class Item:
    """A table or a figure of a page; ``files`` maps names to data URIs."""

    name: str
    caption: str
    files: dict[str, str]
    table: str = ""
    image: str = ""

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ").capitalize()


def write(study: Study, file: str, results: Path, base: Path) -> None:
    """Write the overview page of a study and the parts of its report, from its artifacts.

    The page is results/tables/STUDY/overview.html.  The parts are in results/report/STUDY:
    ``overview.html``, which the report begins with, and ``tables/NAME.html`` and
    ``figures/NAME.html``.  All contain their images and files; only the links to runs lead
    elsewhere, in the report relative to the results folder.

    Args:
        study: the study.
        file: its study file, as the page names it.
        results: the results folder.
        base: folder of the repository.

    Raises:
        ArtifactError: a table or a file of a run cannot be read.
    """
    tables, figures = _tables(study, results), _figures(study, results)
    runs = read_runs(paths.tables(study.name, results)).to_dict("records")
    for run in runs:
        folder = paths.run(run["run"], results)
        run["files"] = sorted(path.name for path in folder.iterdir() if path.is_file())
    page = paths.table(study.name, "overview", "html", results)
    parts = paths.report(study.name, results)
    context = {
        "title": f"Study {study.name}",
        "study": study,
        "facts": facts(study, file, results, base),
        "reduced": [(key, *map(_value, values)) for key, values in study.reduced.items()],
        "tables": tables,
        "figures": figures,
        "runs": runs,
    }
    up = f"{os.path.relpath(results, page.parent)}/"
    _render(page, "page.html", **context, content="overview.html", up=up, in_report=False)
    _render(parts / "overview.html", "report.html", **context, up="", in_report=True)
    for kind, items in (("tables", tables), ("figures", figures)):
        for item in items:
            target = parts / kind / f"{item.name}.html"
            _render(target, "page.html", title=item.name, content="result.html", item=item)


def _render(path: Path, template: str, **context: Any) -> None:
    with atomic(path) as temporary:
        text = ENVIRONMENT.get_template(template).render(**context)
        temporary.write_text(text, encoding="utf-8")


def _tables(study: Study, results: Path) -> list[Item]:
    """Return the tables of a study, rendered from their rows."""
    items = []
    for name, caption in captions(study).items():
        path = paths.table(study.name, name, "parquet", results)
        plain = read_table(path, f"{name}_table", study.name).to_pandas()
        table = table_layout.html(name, *readable(name, plain, study))
        items.append(Item(name, caption, _uris(path, ".csv", ".md", ".tex"), table))
    return items


def _figures(study: Study, results: Path) -> list[Item]:
    """Return the figures of a study with their captions."""
    items = []
    for name in outputs.figures(study):
        path = paths.figure(study.name, name, "png", results)
        caption = ENVIRONMENT.get_template(f"{name}.rst").render()
        files = _uris(path, ".png", ".pdf")
        caption = " ".join([caption.strip(), *measured(study, name)])
        items.append(Item(name, caption, files, image=files[path.name]))
    return items


def _uris(path: Path, *suffixes: str) -> dict[str, str]:
    """Return the files of a table or figure as data URIs, by name."""
    uris = {}
    for file in map(path.with_suffix, suffixes):
        kind = mimetypes.guess_type(file.name)[0] or "text/plain"
        uris[file.name] = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
    return uris


def _value(value: Any) -> str:
    """Return a value of a study file as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
