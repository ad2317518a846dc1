"""The overview of a study: what it says, from artifacts written by hand."""

import base64
import html
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from skymask.artifacts.parquet import ArtifactError, write_table
from skymask.artifacts.records import write_rows
from skymask.reporting import job_graph, provenance, report
from skymask.reporting import tables as reporting_tables
from skymask.reporting.report import Place
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
        read_study = read(**changes)
        results, name = Path("results"), read_study.name
        rows = []
        for run, cell in read_study.runs.items():
            folder = results / "runs" / run
            metrics = [{"round": 4, "accuracy": 0.5, "model_updated": True}]
            write_rows(folder / "metrics.parquet", "metrics", run, metrics)
            # the sixth round is of another study
            timings = [
                {"round": r, "stage": "train", "seconds": 90.0, "device": "cpu"} for r in (2, 4, 6)
            ]
            write_rows(folder / "timings.parquet", "timings", run, timings)
            labels = {"defense": cell.defense, "attack": cell.attack, "setting": cell.setting}
            rows.append({"run": run, **labels, "data_seed": 1, "training_seed": 1, "accuracy": 0.5})
        tables, figures = results / "tables" / name, results / "figures" / name
        write_table(tables / "runs.parquet", "runs_table", name, pa.Table.from_pylist(rows))
        caption = "Study s: a < b & **bold**."
        (tables / "accuracy.md").write_text(
            f"{caption}\n\n| attack | fedavg |\n|--------|--------|\n| none   | **0.5** |\n"
        )
        (tables / "accuracy.csv").write_text("attack,fedavg\nnone,0.5\n")
        (tables / "runs.md").write_text("Runs.\n\n| run |\n|-----|\n| a   |\n")
        figures.mkdir(parents=True)
        (figures / "accuracy_curves.png").write_bytes(PIXEL)
        (figures / "accuracy_curves.pdf").write_bytes(b"%PDF-1.4")
        place = Place("my/study.yaml", results, tmp_path, ROOT / "workflow" / "report")
        report.write(
            read_study,
            place,
            [tables / "accuracy.md", tables / "runs.md"],
            [figures / "accuracy_curves.png"],
            tables / "overview.html",
            results / "report" / name,
        )
        return read_study, results

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


def test_all_pages_are_well_formed_and_whole_in_themselves(made):
    made()
    pages = sorted(Path("results").rglob("*.html"))
    assert [str(page.relative_to("results")) for page in pages] == [
        "report/s/figures/accuracy_curves.html",
        "report/s/overview.html",
        "report/s/tables/accuracy.html",
        "report/s/tables/runs.html",
        "tables/s/overview.html",
    ]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        parsed = Parsed(text)
        assert all(image.startswith("data:image/png;base64,") for image in parsed.images)
        # nothing is loaded from elsewhere, and no script may end the report's own
        assert "<script" not in text
        assert "<link" not in text
        assert "url(http" not in text
        assert "</script" not in text


def test_what_was_run_is_said(made):
    made()
    facts = facts_of(Path("results/tables/s/overview.html").read_text("utf-8"))
    assert facts["study"] == "s"
    assert facts["file"] == "my/study.yaml"
    assert facts["scale"] == "full"
    assert facts["attacks"] == "none, min_max, min_max(perturbation=std)"
    assert facts["defenses"] == "fedavg, bulyan"
    assert facts["settings"] == "malicious_share=0.25; malicious_share=0.5"
    assert facts["seeds (data.training)"] == "1.1"
    # without an attack the share changes nothing for fedavg, and 12 clients are too few for 6 f
    assert facts["runs"] == "5"
    assert facts["undefined cells"].startswith("6: bulyan")
    assert facts["rounds"] == "20 in all, 4 a run"
    # 5 runs × 2 rows × 90 s × 2 threads
    assert facts["core hours"] == "0.5 (from the timings of the runs)"
    assert "pyarrow" in facts["versions"]
    assert f"python {'.'.join(map(str, __import__('sys').version_info[:3]))}" in facts["versions"]
    assert facts["commit"].startswith("none: not a git checkout")
    assert f"{os.cpu_count()} cores" in facts["machine"]
    assert "where this page was made" in facts["machine"]


def test_the_small_scale_says_what_it_changed(made):
    made(scale="small")
    text = Path("results/tables/s_small/overview.html").read_text("utf-8")
    assert facts_of(text)["scale"] == "small"
    assert "<td>rounds</td><td>4</td><td>2</td>" in text
    assert "<td>defense</td><td>[&quot;fedavg&quot;, &quot;bulyan&quot;]</td>" in text


def test_tables_are_readable_and_can_be_saved(made):
    made()
    for page in (
        "tables/s/overview.html",
        "report/s/overview.html",
        "report/s/tables/accuracy.html",
    ):
        text = (Path("results") / page).read_text("utf-8")
        assert "<p>Study s: a &lt; b &amp; <strong>bold</strong>.</p>" in text
        assert "<th>attack</th><th>fedavg</th>" in text
        assert "<td>none</td><td><strong>0.5</strong></td>" in text
    links = Parsed(text).links
    saved = [base64.b64decode(link.partition("base64,")[2]) for link in links]
    assert saved[0] == b"attack,fedavg\nnone,0.5\n"
    assert len(saved) == 2  # there is no LaTeX


def test_figures_have_their_captions_and_files(made):
    made()
    text = Path("results/report/s/figures/accuracy_curves.html").read_text("utf-8")
    caption = (ROOT / "workflow/report/accuracy_curves.rst").read_text("utf-8").strip()
    assert f"<p>{caption}</p>" in text
    parsed = Parsed(text)
    assert [base64.b64decode(i.partition("base64,")[2]) for i in parsed.images] == [PIXEL]
    assert (
        parsed.links[1] == "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4").decode()
    )


@pytest.mark.parametrize(
    ("page", "base"), [("tables/s/overview.html", "tables/s"), ("report/s/overview.html", ".")]
)
def test_links_to_runs_lead_there_from_where_the_page_is_shown(made, page, base):
    read_study, results = made()
    links = [link for link in Parsed((results / page).read_text("utf-8")).links if "#" not in link]
    found = {(results / base / link).resolve() for link in links}
    files = {path.resolve() for path in (results / "runs").rglob("*.parquet")}
    assert found == files
    assert len(files) == 2 * len(read_study.runs)


def test_timings_that_are_missing_are_named(made):
    read_study, results = made()
    run = next(iter(read_study.runs))
    (results / "runs" / run / "timings.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"timings\.parquet is missing"):
        provenance.facts(read_study, "f", results, Path())


def test_time_on_a_gpu_counts_apart(made):
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


@pytest.mark.parametrize(
    ("grain", "wanted"),
    [
        # 5 runs of 4 rounds, evaluated every second
        (2, {"span": 10}),
        (4, {"span": 5}),
        (1, {"train": 20, "attack": 20, "aggregate": 20, "evaluate": 10}),
    ],
)
def test_the_graph_has_every_rule_with_its_jobs(tmp_path, grain, wanted):
    boxes, arrows = job_graph.boxes(read(rounds_per_job=grain), tmp_path)
    jobs = {box.rule: box.jobs for box in boxes}
    counted = {"data": 1, "partition": 1, "experiments": 1, "collect": 5, **wanted}
    assert {rule: jobs[rule] for rule in counted} == counted
    assert set(jobs) == {*counted, "study_tables", "figures", "overview"}
    assert {rule for pair in arrows for rule in pair} == set(jobs)
    # every rule but the last feeds another one, further to the right
    column = {box.rule: box.column for box in boxes}
    assert {source for source, _ in arrows} == set(jobs) - {"overview"}
    assert all(column[source] < column[target] for source, target in arrows)


def test_spans_that_an_earlier_study_left_count(tmp_path):
    read_study = read(rounds_per_job=4, attack="none", defense="fedavg", malicious_share=0.25)
    (run,) = read_study.runs
    folder = tmp_path / run / "spans" / "1-1"
    folder.mkdir(parents=True)
    (folder / "model.parquet").write_text("")
    boxes, _ = job_graph.boxes(read_study, tmp_path)
    assert {box.rule: box.jobs for box in boxes}["span"] == 2


def test_boxes_of_the_graph_do_not_overlap_and_lie_inside(tmp_path):
    picture = job_graph.svg(read(rounds_per_job=1), tmp_path)
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', picture).groups())
    corners = [tuple(map(int, c)) for c in re.findall(r'<rect x="(\d+)" y="(\d+)"', picture)]
    assert len(corners) == 11
    for x, y in corners:
        assert 0 <= x <= width - job_graph.WIDTH
        assert 0 <= y <= height - job_graph.HEIGHT
    for i, (x, y) in enumerate(corners):
        for other_x, other_y in corners[:i]:
            apart = abs(x - other_x) >= job_graph.WIDTH or abs(y - other_y) >= job_graph.HEIGHT
            assert apart


def test_every_table_and_figure_has_a_caption():
    rules = (ROOT / "workflow/rules/figures.smk").read_text("utf-8")
    names = set(re.findall(r'^    "(\w+)": ', rules, re.MULTILINE))
    assert "accuracy_curves" in names
    names |= {"runs", "mask_layers", *reporting_tables.LAYOUTS, *reporting_tables.COMPARISONS}
    found = {path.stem for path in (ROOT / "workflow" / "report").glob("*.rst")}
    assert found == names | {"workflow"}
