"""The overview page of a study, from hand-written artifacts."""

import base64
import html
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.records import write_rows
from skymask.reporting import outputs, provenance, report, table_files, table_layout
from skymask.study import grid

ROOT = Path(__file__).parents[2]
STUDY = {
    "study": "s",
    "dataset": "digits",
    "model": "mlp",
    "clients": 12,
    "malicious_share": [0.25, 0.5],
    "attack": ["none", {"name": "min_max", "perturbation": ["unit", "std"]}],
    "defense": ["fedavg", "bulyan"],
    "rounds": 4,
    "rounds_per_job": 2,
    "evaluate_every": 2,
    "final_evaluations": 1,
    "local_lr": 0.1,
    "threads": 2,
    "small": {"rounds": 2, "defense": ["fedavg"]},
}
# the smallest PNG: one pixel
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


def read(**changes):
    return grid.read({**STUDY, **changes})


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that makes the artifacts of a study and its overview."""
    monkeypatch.chdir(tmp_path)

    def make(**changes):
        study, results = read(**changes), Path("results")
        for run in study.runs:
            folder = results / "runs" / run
            metrics = [{"round": r, "accuracy": 0.5} for r in (2, 4)]
            write_rows(folder / "metrics.parquet", "metrics", run, metrics)
            rounds = [{"round": r, "fpr": 0.25, "model_updated": True} for r in range(1, 5)]
            write_rows(folder / "aggregates.parquet", "aggregates", run, rounds)
            # the sixth round belongs to another study
            timings = [
                {"round": r, "stage": "train", "seconds": 90.0, "device": "cpu"} for r in (2, 4, 6)
            ]
            write_rows(folder / "timings.parquet", "timings", run, timings)
        table_files.write(study, results / "runs", results / "tables" / study.name)
        figures = results / "figures" / study.name
        figures.mkdir(parents=True)
        for name in outputs.figures(study):
            (figures / f"{name}.png").write_bytes(PIXEL)
            (figures / f"{name}.pdf").write_bytes(b"%PDF-1.4")
        report.write(study, "my/study<1>.yaml", results, ROOT)
        return study, results

    return make


class Parsed(HTMLParser):
    """The links and images of a page, and whether its elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.images = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.links.append(dict(attrs)["href"])
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def facts_of(text):
    found = re.findall(r"<th>([^<]*)</th><td>([^<]*)</td>", text)
    return {html.unescape(name): html.unescape(value) for name, value in found}


def test_all_pages_are_well_formed_and_self_contained(made):
    study, _ = made()
    pages = sorted(Path("results").rglob("*.html"))
    items = {"tables": outputs.tables(study), "figures": outputs.figures(study)}
    assert {str(page.relative_to("results")) for page in pages} == {
        "tables/s/overview.html",
        "report/s/overview.html",
        *(f"report/s/{kind}/{name}.html" for kind, names in items.items() for name in names),
    }
    for page in pages:
        text = page.read_text(encoding="utf-8")
        identifiers = re.findall(r' id="([^"]+)"', text)
        assert len(identifiers) == len(set(identifiers))
        parsed = Parsed(text)
        assert all(image.startswith("data:image/png;base64,") for image in parsed.images)
        # nothing is loaded from elsewhere, and no text may end the report's own script
        assert "<script" not in text
        assert "<link" not in text
        assert "url(http" not in text
        assert "</script" not in text


def test_the_page_describes_what_was_run(made):
    made()
    facts = facts_of(Path("results/tables/s/overview.html").read_text("utf-8"))
    assert facts["study"] == "s"
    assert facts["file"] == "my/study<1>.yaml"
    assert facts["scale"] == "full"
    assert facts["attacks"] == "none, min_max, min_max(perturbation=std)"
    assert facts["defenses"] == "fedavg, bulyan"
    assert facts["settings"] == "malicious_share=0.25; malicious_share=0.5"
    assert facts["seeds (data.training)"] == "1.1"
    # without an attack the share changes nothing for fedavg, and 12 clients are too few for 6 f
    assert facts["runs"] == "5"
    assert facts["undefined cells"].startswith("6: bulyan")
    assert facts["rounds"] == "20 in total, 4 per run"
    # 5 runs × 2 rows × 90 s × 2 threads
    assert facts["core hours"] == "0.5 (from the timings of the runs)"
    assert "pyarrow" in facts["versions"]
    assert f"python {'.'.join(map(str, __import__('sys').version_info[:3]))}" in facts["versions"]
    assert facts["commit"].endswith("(when this page was made)")
    assert f"{os.cpu_count()} cores" in facts["machine"]
    assert "where this page was made" in facts["machine"]


def test_the_page_lists_what_the_small_scale_changed(made):
    made(scale="small")
    text = Path("results/tables/s_small/overview.html").read_text("utf-8")
    assert facts_of(text)["scale"] == "small"
    assert "<td>rounds</td><td>4</td><td>2</td>" in text
    assert "<td>defense</td><td>[&#34;fedavg&#34;, &#34;bulyan&#34;]</td>" in text


def test_tables_are_readable_and_can_be_saved(made):
    made()
    for page in (
        "tables/s/overview.html",
        "report/s/overview.html",
        "report/s/tables/accuracy.html",
    ):
        text = (Path("results") / page).read_text("utf-8")
        assert "<p>Study s: final test accuracy after 4 rounds" in text
        rows = re.findall(
            r"<tr>(.*?)</tr>", text[text.index('<table id="T_accuracy"') :], re.DOTALL
        )
        cells = [re.findall(r"<t[hd] [^>]*?(best)?\" >(.*?)</t[hd]>", row) for row in rows[:2]]
        assert cells[0] == [("", "setting"), ("", "attack"), ("", "fedavg"), ("", "bulyan")]
        assert [cell[1] for cell in cells[1]][1:] == ["none", "0.500", "undefined"]
        assert [cell[0] for cell in cells[1]][2:] == ["best", ""]
    links = Parsed(text).links
    saved = [base64.b64decode(link.partition("base64,")[2]) for link in links]
    files = [Path(f"results/tables/s/accuracy.{suffix}") for suffix in ("csv", "md", "tex")]
    assert saved == [file.read_bytes() for file in files]


def test_labels_are_escaped():
    table = pd.DataFrame({"attack": ["<b>"], "<i>": ["&"]})
    text = table_layout.html("accuracy", table)
    assert "&lt;b&gt;" in text
    assert "&lt;i&gt;" in text
    assert "&amp;" in text
    assert "<b>" not in text


def test_figures_have_their_captions_and_files(made):
    made()
    text = Path("results/report/s/figures/accuracy_curves.html").read_text("utf-8")
    caption = (
        (ROOT / "src/skymask/reporting/templates/accuracy_curves.rst").read_text("utf-8").strip()
    )
    assert f"<p>{caption}</p>" in text
    parsed = Parsed(text)
    assert [base64.b64decode(i.partition("base64,")[2]) for i in parsed.images] == [PIXEL]
    assert (
        parsed.links[1] == "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4").decode()
    )


@pytest.mark.parametrize(
    ("page", "base"), [("tables/s/overview.html", "tables/s"), ("report/s/overview.html", ".")]
)
def test_links_to_runs_are_relative_to_where_the_page_is_shown(made, page, base):
    read_study, results = made()
    links = [link for link in Parsed((results / page).read_text("utf-8")).links if "#" not in link]
    found = {(results / base / link).resolve() for link in links}
    files = {path.resolve() for path in (results / "runs").rglob("*.parquet")}
    assert found == files
    assert len(files) == 3 * len(read_study.runs)


def test_missing_timings_are_named(made):
    read_study, results = made()
    run = next(iter(read_study.runs))
    (results / "runs" / run / "timings.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"timings\.parquet: it is missing"):
        provenance.facts(read_study, "f", results, Path())


def test_time_on_a_gpu_is_counted_separately(made):
    read_study, results = made()
    run = next(iter(read_study.runs))
    rows = [{"round": 1, "stage": "train", "seconds": 7200.0, "device": "cuda:0"}]
    write_rows(results / "runs" / run / "timings.parquet", "timings", run, rows)
    found = provenance.facts(read_study, "f", results, Path())
    assert found["core hours"].startswith("0.4 ")
    assert found["GPU hours"].startswith("2 ")


def test_the_commit_is_that_of_the_code_and_not_of_a_folder_above(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()

    def git(*arguments):
        names = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *names, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert provenance.commit(tmp_path) == ""
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert provenance.commit(tmp_path) == head
    assert provenance.commit(inner) == ""
    (tmp_path / "file").write_text("2")
    assert provenance.commit(tmp_path) == f"{head}, with uncommitted changes"


def test_figures_of_accuracies_over_batches_state_the_measure(made):
    sentence = "log-softmax over batches of 250 test samples"
    study, results = made(loss="batch_softmax")
    captions = {item.name: item.caption for item in report._figures(study, results)}
    assert {name for name, text in captions.items() if sentence in text} == {
        "accuracy_curves",
        "rates",
    }


def test_every_table_and_figure_has_a_caption():
    attacks = ["none", "min_max", "scaling"]
    figures = outputs.figures(read(attack=attacks, defense=["fedavg", "skymask"]))
    assert len(figures) == 7
    tables = [
        "runs",
        "mask_layers",
        "layer_verdicts",
        "published",
        "significance",
        *table_layout.LAYOUTS,
    ]
    captions = {path.stem for path in (ROOT / "src/skymask/reporting/templates").glob("*.rst")}
    assert captions == {*figures, *tables}
