"""A study's tables and figures as a page that can be read beside the code, without artifacts."""

import shlex
import shutil
from datetime import date
from pathlib import Path

from skymask.artifacts.atomic import atomic
from skymask.reporting import table_files
from skymask.reporting.provenance import facts
from skymask.study.grid import Study

TABLES = (
    "accuracy",
    "published",
    "significance",
    "detection",
    "attack_success",
    "got_through",
    "mask_layers",
)
"""The tables of a page, in its order; of the runs' own only the CSV is kept."""

FIGURES = (
    "accuracy_curves",
    "heat_map",
    "rates",
    "mask_geometry",
    "mask_layers",
    "triggered_samples",
)

MARK = "Computed with `"
"""What every page says."""

SHOWN = ("accuracy", "significance", "detection", "attack_success")
"""Tables that the page shows whole; the others it links to."""


def write(study: Study, file: str, results: Path, base: Path, target: Path, day: date) -> Path:
    """Copy what ``study`` shows to ``target``/NAME, with a page over it; return the page's path.

    Tables go as Markdown, CSV and LaTeX, figures as PNG; what the folder held before is replaced.
    ``file`` is the study's, ``results`` holds its artifacts, ``base`` the code, ``day`` is written
    on the page.  Raises FileNotFoundError when the study has not been run, ArtifactError for a run
    that cannot be read or a table that is not as it was written, ValueError where the folder is no
    page of before or lies in the results.
    """
    tables, figures = results / "tables" / study.name, results / "figures" / study.name
    if not (tables / "accuracy.md").exists():
        raise FileNotFoundError(2, "no such file", str(tables / "accuracy.md"))
    folder = target / study.name
    _check(folder, results)
    for name in (*TABLES, "runs"):
        if (tables / f"{name}.md").exists():
            table_files.check(tables, name, study.name)
    page = _page(study, file, facts(study, file, results, base), tables, figures, day)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    kept = [f"{name}.{suffix}" for name in TABLES for suffix in ("md", "csv", "tex")]
    for name in [*kept, "runs.csv"]:
        if (tables / name).exists():
            shutil.copyfile(tables / name, folder / name)
    for name in FIGURES:
        if (figures / f"{name}.png").exists():
            shutil.copyfile(figures / f"{name}.png", folder / f"{name}.png")
    with atomic(folder / "README.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "README.md"


def _check(folder: Path, results: Path) -> None:
    """Only a page that was written here before may be replaced.  Raises ValueError."""
    if folder.resolve().is_relative_to(results.resolve()):
        raise ValueError(f"{folder} lies in the results: name a folder outside {results} with --to")
    page = folder / "README.md"
    ours = page.is_file() and MARK in page.read_text(encoding="utf-8")
    if folder.exists() and not ours:
        raise ValueError(
            f"{folder} is there and is no page of a study: remove it, or name another folder "
            "with --to"
        )


def command(study: Study, file: str) -> str:
    """The command that runs the study."""
    scale = " --config scale=small" if study.scale == "small" else ""
    return f"snakemake --cores all --configfile {shlex.quote(file)}{scale}"


def _page(
    study: Study, file: str, known: dict[str, str], tables: Path, figures: Path, day: date
) -> str:
    wanted = ("runs", "undefined cells", "rounds", "core hours", "GPU hours", "machine", "versions")
    rows = [f"| {name} | {known[name].replace('|', '/')} |" for name in wanted if name in known]
    parts = [
        f"# {study.name}",
        f"{MARK}{command(study, file)}`; this page was written on {day.isoformat()}.",
        "\n".join(["| | |", "| --- | --- |", *rows]),
    ]
    shown = [name for name in SHOWN if (tables / f"{name}.md").exists()]
    parts += [(tables / f"{name}.md").read_text(encoding="utf-8").strip() for name in shown]
    parts += [
        f"![{name.replace('_', ' ')}]({name}.png)"
        for name in FIGURES
        if (figures / f"{name}.png").exists()
    ]
    others = [name for name in TABLES if name not in shown and (tables / f"{name}.md").exists()]
    links = [f"[{name}]({name}.md)" for name in others] + ["[runs](runs.csv)"]
    parts.append(f"More: {', '.join(links)}. Each table lies here as Markdown, CSV and LaTeX.")
    return "\n\n".join(parts) + "\n"
