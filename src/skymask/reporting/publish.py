"""Published pages: tables and figures of a study without its artifacts."""

import shlex
import shutil
from datetime import date
from pathlib import Path

from skymask.artifacts.atomic import atomic
from skymask.jobs import paths
from skymask.reporting import table_files
from skymask.reporting.provenance import facts
from skymask.reporting.report import ENVIRONMENT
from skymask.study.grid import Study

SHOWN = ("accuracy", "argmax_accuracy", "significance", "detection", "attack_success")
"""Tables that the page shows."""

LINKED = ("published", "got_through", "mask_layers", "layer_verdicts")
"""Tables that the page links to."""

FIGURES = (
    "accuracy_curves",
    "heat_map",
    "rates",
    "mask_geometry",
    "mask_layers",
    "triggered_samples",
)

LARGEST_IMAGE = 1_000_000
"""Most bytes of an image on a page; a figure with dozens of panels has more and is left out."""

FACTS = ("runs", "undefined cells", "rounds", "core hours", "GPU hours", "machine", "versions")

MARK = "Computed with `"
"""Text by which a page is recognized."""


def write(study: Study, file: str, results: Path, base: Path, target: Path, day: date) -> Path:
    """Copy the tables (Markdown, CSV) and figures (PNG) of a study, with a page that shows them.

    Args:
        study: the study.
        file: its study file.
        results: the results folder.
        base: folder of the repository.
        target: the page goes to the folder ``target``/STUDY, whose contents are replaced.
        day: date that the page shows.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: the study has not been run.
        ArtifactError: a file of a run cannot be read, or a table has changed since it was written.
        ValueError: the folder is within the results or is not a page of a study.
    """
    tables = paths.tables(study.name, results)
    if not (tables / "accuracy.md").exists():
        raise FileNotFoundError(2, "no such file", str(tables / "accuracy.md"))
    folder = target / study.name
    _check(folder, results)
    names = [name for name in (*SHOWN, *LINKED, "runs") if (tables / f"{name}.md").exists()]
    for name in names:
        table_files.check(tables, name, study.name)
    known = facts(study, file, results, base)
    images = {name: paths.figure(study.name, name, "png", results) for name in FIGURES}
    images = {name: path for name, path in images.items() if _shown(path)}
    copied = [*images.values(), tables / "runs.csv"]
    copied += [tables / f"{name}.{s}" for name in names if name != "runs" for s in ("md", "csv")]
    page = ENVIRONMENT.get_template("published.md").render(
        study=study,
        mark=MARK,
        command=command(study, file),
        day=day,
        facts={name: known[name] for name in FACTS if name in known},
        shown=[(tables / f"{n}.md").read_text("utf-8").strip() for n in SHOWN if n in names],
        figures=list(images),
        others=[name for name in LINKED if name in names],
    )
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for path in copied:
        shutil.copyfile(path, folder / path.name)
    with atomic(folder / "README.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "README.md"


def _shown(path: Path) -> bool:
    """Whether a figure exists and is small enough for a page."""
    return path.exists() and path.stat().st_size <= LARGEST_IMAGE


def _check(folder: Path, results: Path) -> None:
    """Only an earlier page may be replaced.  Raises ValueError."""
    if folder.resolve().is_relative_to(results.resolve()):
        raise ValueError(f"{folder} is within the results: choose a folder outside {results}")
    page = folder / "README.md"
    ours = page.is_file() and MARK in page.read_text(encoding="utf-8")
    if folder.exists() and not ours:
        raise ValueError(
            f"{folder} exists and is not the page of a study: remove it, or choose another folder "
            "with --to"
        )


def command(study: Study, file: str) -> str:
    """Return the command that runs the study."""
    scale = " --config scale=small" if study.scale == "small" else ""
    return f"snakemake --cores all --configfile {shlex.quote(file)}{scale}"
