"""One tiny study, from an empty folder to tables, figures and a report page."""

import csv
import re

import pytest

from .workflow.harness import ROOT, Project

CHECKOUT = ("--snakefile", str(ROOT / "Snakefile"))
STUDY = {"defense": ["krum", "skymask"], "rounds": 4, "rounds_per_job": 4}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study that has run in a folder of its own, and what was printed."""
    project = Project(tmp_path_factory.mktemp("study"))
    project.set_study(**STUDY)
    return project, project.snakemake(*CHECKOUT).stdout


def test_a_study_runs_in_an_empty_folder(study):
    project, printed = study
    assert "(2 of 2 runs)" in printed
    assert re.search(r"^cost +[\d.e-]+ core hours for 2 runs with 8 rounds", printed, re.MULTILINE)
    assert len(project.rows()) == 8
    tables = project.folder / "results" / "tables" / "tiny"
    with (tables / "accuracy.csv").open() as file:
        accuracy = {row["defense"]: float(row["accuracy_mean"]) for row in csv.DictReader(file)}
    assert set(accuracy) == {"krum", "skymask"}
    # under the attack the model learns with skymask alone
    assert accuracy["krum"] < 0.3 < accuracy["skymask"] < 1
    for suffix in ("csv", "md", "tex", "parquet"):
        names = {path.stem for path in tables.glob(f"*.{suffix}")}
        assert {"accuracy", "detection", "got_through", "runs"} <= names
    figures = sorted((project.folder / "results" / "figures" / "tiny").glob("*.*"))
    assert {path.stem for path in figures} >= {"accuracy_curves", "mask_scatter"}
    for path in figures:
        start = {".png": b"\x89PNG", ".pdf": b"%PDF"}[path.suffix]
        assert path.read_bytes().startswith(start)


def test_the_summary_and_the_status_are_printed(study):
    project, printed = study
    assert "| skymask " in printed
    status = project.skymask("status", "study.yaml")
    assert (status.returncode, status.stderr) == (0, "")
    assert "2 runs: 2 done, 0 running" in status.stdout
    assert "rounds: 8 of 8 done, 100%" in status.stdout


def test_the_report_is_one_page(study):
    project, _ = study
    project.snakemake(*CHECKOUT, "--report", "results/report.html")
    page = (project.folder / "results" / "report.html").read_text(encoding="utf-8")
    assert "Study tiny" in page
    overview = project.folder / "results" / "tables" / "tiny" / "overview.html"
    assert "<h1>Study tiny</h1>" in overview.read_text(encoding="utf-8")
