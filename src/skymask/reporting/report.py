"""One page on a study: what was run and on what, its tables and figures, and links to its runs.

Everything comes from the study's artifacts.  Two things are only known where and when the page is
made, and the page says so: the machine, and the commit that is checked out.
"""

import base64
import json
import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from skymask.artifacts.atomic import atomic
from skymask.artifacts.parquet import read_table
from skymask.reporting.job_graph import svg
from skymask.reporting.provenance import facts
from skymask.study.grid import Study


@dataclass(frozen=True)
class Place:
    """Where things are: the study's ``file``, the ``results`` folder, the code's ``base`` folder.

    ``report`` is the folder with the page's style sheet and the captions of figures.
    """

    file: str
    results: Path
    base: Path
    report: Path


def write(
    study: Study,
    place: Place,
    tables: Sequence[Path],
    figures: Sequence[Path],
    page: Path,
    parts: Path,
) -> None:
    """Write the overview as a ``page`` of its own, and the parts of a report below ``parts``.

    ``tables`` are Markdown files and ``figures`` PNG files; their other forms lie beside them.
    The parts are ``overview.html``, which the report begins with, and a page for each table and
    figure, ``tables/NAME.html`` and ``figures/NAME.html``.  All are whole in themselves but for the
    links to the runs: those of the page lead from where it lies, those of the report from the
    results folder, where it lies.  Raises ArtifactError for a run that cannot be read.
    """
    style = (place.report / "overview.css").read_text(encoding="utf-8")
    up = os.path.relpath(place.results, page.parent)
    whole = body(study, place, tables, figures, f"{up}/")
    _write(page, _page(f"Study {study.name}", style, whole))
    inner = body(study, place, tables, figures, "", '<a href="#rulegraph">rule graph</a>')
    _write(parts / "overview.html", f"<style>{style}</style>{inner}")
    for path in tables:
        shown = _alone(_table_part(path), path, (".csv", ".md", ".tex"))
        _write(parts / "tables" / f"{path.stem}.html", _page(path.stem, style, shown))
    for path in figures:
        shown = _alone(_figure(path, place.report), path, (".png", ".pdf"))
        _write(parts / "figures" / f"{path.stem}.html", _page(path.stem, style, shown))


def _page(title: str, style: str, inner: str) -> str:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{inner}</body></html>'


def _alone(inner: str, path: Path, suffixes: Sequence[str]) -> str:
    """A table or figure by itself, with its files inside the page."""
    files = [path.with_suffix(suffix) for suffix in suffixes]
    links = " ".join(
        f'<a download="{escape(file.name)}" href="{_uri(file)}">{escape(file.name)}</a>'
        for file in files
        if file.exists()
    )
    return f'<div class="overview">{inner}<p>Save as {links}</p></div>'


def _uri(path: Path) -> str:
    """A file as a data URI."""
    kind = mimetypes.guess_type(path.name)[0] or "text/plain"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def body(
    study: Study,
    place: Place,
    tables: Sequence[Path],
    figures: Sequence[Path],
    up: str,
    further: str = "",
) -> str:
    """The overview as one HTML element.

    ``up`` leads to the results folder; ``further`` are more links for its head.
    """
    named = [path for path in tables if path.stem != "runs"]
    parts = [
        f"<h1>Study {escape(study.name)}</h1>",
        '<nav><a href="#what">what was run</a><a href="#tables">tables</a>'
        f'<a href="#figures">figures</a><a href="#runs">runs</a>{further}</nav>',
        '<h2 id="what">What was run</h2>',
        _facts(study, place),
        _reduced(study),
        "<h3>Jobs</h3>",
        f'<div class="wide">{svg(study, place.results / "runs")}</div>',
        '<h2 id="tables">Tables</h2>',
        *map(_table_part, named),
        '<h2 id="figures">Figures</h2>',
        *(_figure(path, place.report) for path in figures),
        '<h2 id="runs">Runs</h2>',
        _runs(study, place.results, up),
    ]
    return f'<div class="overview not-prose">{"".join(parts)}</div>'


def _title(path: Path) -> str:
    return escape(path.stem.replace("_", " ").capitalize())


def _table_part(path: Path) -> str:
    return f"<h3>{_title(path)}</h3>{markdown(path.read_text(encoding='utf-8'))}"


def markdown(text: str) -> str:
    """The Markdown of a table file as HTML: all it holds is paragraphs, tables and bold text."""
    parts = []
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        if block.startswith("|"):
            rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
            parts.append(_table(rows[0], rows[2:], "figures"))
        else:
            parts.append(f"<p>{_text(' '.join(lines))}</p>")
    return "".join(parts)


def _text(text: str) -> str:
    """Text as HTML, bold where Markdown has it bold."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))


def _table(header: Iterable[str], rows: Iterable[Iterable[str]], kind: str) -> str:
    """A table from text."""
    heads = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    lines = ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    return _framed(heads, lines, kind)


def _framed(heads: str, lines: Iterable[str], kind: str) -> str:
    """A table from HTML, in a frame in which it scrolls where it is wide."""
    head = f"<thead><tr>{heads}</tr></thead>" if heads else ""
    inner = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table class="{kind}">{head}<tbody>{inner}</tbody></table></div>'


def _figure(path: Path, captions: Path) -> str:
    """A figure with its caption, if there is one, the image inside the page."""
    text = captions / f"{path.stem}.rst"
    caption = escape(text.read_text(encoding="utf-8").strip()) if text.exists() else ""
    return (
        f"<figure><h3>{_title(path)}</h3><p>{caption}</p>"
        f'<img alt="{escape(path.stem)}" src="{_uri(path)}"></figure>'
    )


def _facts(study: Study, place: Place) -> str:
    """What was run, as a table of two columns."""
    found = facts(study, place.file, place.results, place.base)
    lines = [f"<th>{escape(name)}</th><td>{escape(value)}</td>" for name, value in found.items()]
    return _framed("", lines, "facts")


def _reduced(study: Study) -> str:
    """What the small scale changed."""
    if not study.reduced:
        return ""
    rows = [[key, _shown(full), _shown(now)] for key, (full, now) in study.reduced.items()]
    return "<h3>Changed by the scale</h3>" + _table(["key", "in full", "here"], rows, "figures")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _runs(study: Study, results: Path, up: str) -> str:
    """The runs with their final accuracy and links to their files."""
    table = read_table(results / "tables" / study.name / "runs.parquet", "runs_table", study.name)
    lines = []
    for row in table.to_pylist():
        run = str(row["run"])
        files = sorted(path.name for path in (results / "runs" / run).iterdir() if path.is_file())
        links = [
            f'<a href="{escape(f"{up}runs/{run}/{name}")}">{escape(Path(name).stem)}</a>'
            for name in files
        ]
        seeds = f"{row['data_seed']}.{row['training_seed']}"
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.3f}"
        cells = (row["defense"], row["attack"], row["setting"], seeds, accuracy)
        lines.append(
            f'<td class="run">{escape(run)}</td>'
            + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
            + f"<td>{' '.join(links)}</td>"
        )
    heads = ("run", "defense", "attack", "setting", "seeds", "accuracy", "files")
    note = (
        "<p>Accuracy as in the table of accuracy, of one run. Links lead to the files in "
        "results/runs, where these still lie beside this page.</p>"
    )
    return note + _framed("".join(f"<th>{head}</th>" for head in heads), lines, "runs")
