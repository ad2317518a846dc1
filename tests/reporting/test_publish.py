"""The published page of a study."""

from datetime import date

import pyarrow as pa
import pytest

from skymask.artifacts.errors import ArtifactError
from skymask.reporting import publish, table_files
from skymask.study.grid import Study

FACTS = {
    "study": "tiny_small",
    "runs": "3",
    "rounds": "30 in all, 10 a run",
    "core hours": "0.1",
    "machine": "a|b",
    "commit": "not on the page",
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "facts", lambda study, file, results, base: FACTS)
    tables = tmp_path / "results" / "tables" / "tiny_small"
    figures = tmp_path / "results" / "figures" / "tiny_small"
    tables.mkdir(parents=True)
    figures.mkdir(parents=True)
    for name in ("accuracy", "detection", "got_through", "runs"):
        texts = {suffix: f"{name} as {suffix}\n" for suffix in ("md", "csv", "tex")}
        table_files.write_files(tables, name, "tiny_small", pa.table({"x": [1.0]}), texts)
    for suffix in ("png", "pdf"):
        (figures / f"heat_map.{suffix}").write_bytes(b"image")
    return tmp_path / "results"


def written(results, scale="small"):
    study = Study("tiny_small", [], 1, frozenset(), 1, None, [], scale)
    target = results.parent / "docs"
    return publish.write(study, "my study.yaml", results, results, target, date(2026, 3, 4))


def test_a_page_shows_the_tables_and_figures_and_what_was_run(results):
    page = written(results)
    assert page == results.parent / "docs" / "tiny_small" / "README.md"
    lines = page.read_text().splitlines()
    assert lines[0] == "# tiny_small"
    assert lines[2] == (
        "Computed with `snakemake --cores all --configfile 'my study.yaml' --config scale=small`; "
        "this page was written on 2026-03-04."
    )
    assert "| core hours | 0.1 |" in lines
    assert "| machine | a/b |" in lines
    assert "not on the page" not in page.read_text()
    assert lines.index("accuracy as md") < lines.index("detection as md")
    assert "![heat map](heat_map.png)" in lines
    assert "accuracy_curves" not in page.read_text()
    assert lines[-1].startswith("More: [got_through](got_through.md), [runs](runs.csv).")
    assert "got_through as md" not in lines


def test_the_command_of_a_full_study_has_no_scale(results):
    assert "scale=small" not in written(results, "full").read_text()


def test_the_folder_contains_markdown_csv_and_png_of_this_study_only(results):
    old = results.parent / "docs" / "tiny_small" / "old.png"
    written(results)
    old.write_bytes(b"")
    page = written(results)
    names = {path.name for path in page.parent.iterdir()}
    tables = {f"{t}.{s}" for t in ("accuracy", "detection", "got_through") for s in ("md", "csv")}
    assert names == {*tables, "runs.csv", "heat_map.png", "README.md"}
    assert (page.parent / "accuracy.csv").read_text() == "accuracy as csv\n"


def test_a_huge_image_is_left_out(results):
    image = results / "figures" / "tiny_small" / "heat_map.png"
    image.write_bytes(bytes(publish.LARGEST_IMAGE))
    assert "heat_map" in written(results).read_text()
    image.write_bytes(bytes(publish.LARGEST_IMAGE + 1))
    page = written(results)
    assert "heat_map" not in page.read_text()
    assert not (page.parent / "heat_map.png").exists()


def test_only_an_earlier_page_is_replaced(results):
    notes = results.parent / "docs" / "tiny_small" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    with pytest.raises(ValueError, match="is not the page of a study: remove it, or choose"):
        written(results)
    assert notes.read_text() == "mine"


def test_the_results_are_not_replaced_by_their_page(results):
    study = Study("tiny_small", [], 1, frozenset(), 1, None, [], "full")
    tables = results / "tables"
    with pytest.raises(ValueError, match="is within the results: choose a folder outside"):
        publish.write(study, "s.yaml", results, results, tables, date(2026, 3, 4))
    assert (tables / "tiny_small" / "accuracy.csv").exists()


def test_a_study_that_has_not_run_leaves_the_old_page(results):
    page = written(results)
    (results / "tables" / "tiny_small" / "accuracy.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"accuracy\.md"):
        written(results)
    assert page.exists()


@pytest.mark.parametrize("suffix", ["md", "csv", "tex", "parquet"])
@pytest.mark.parametrize("name", ["accuracy", "got_through", "runs"])
def test_a_changed_table_is_not_published(results, name, suffix):
    written(results)
    page = results.parent / "docs" / "tiny_small" / "README.md"
    before = page.read_bytes()
    file = results / "tables" / "tiny_small" / f"{name}.{suffix}"
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name}.{suffix}.* delete it and rerun snakemake"):
        written(results)
    assert page.read_bytes() == before
    file.unlink()
    if suffix != "md":
        with pytest.raises(
            ArtifactError, match=rf"{name}.{suffix}: it is missing; rerun snakemake"
        ):
            written(results)
