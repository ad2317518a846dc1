"""The report of a study in a browser without a network."""

import json
import re
import shutil
from pathlib import Path

import pytest

from .harness import DEADLINE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on PATH")

TABLES = {"accuracy", "detection", "got through", "mask layers", "runs"}
WIDTHS = (1280, 800)

# an element is cut if its content is wider than itself and neither it nor a parent scrolls
CUT = """root => [...root.querySelectorAll('*')].filter(element => {
    if (element.scrollWidth <= element.clientWidth + 1 || !element.clientWidth) return false;
    for (let at = element; at; at = at.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(at).overflowX)) return false;
    return true;
}).map(element => element.outerHTML.slice(0, 120))"""
ABOVE = "element => element.getBoundingClientRect().top"
DRAWN = """canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    .data.filter((value, i) => i % 4 == 3 && value).length"""


@pytest.fixture(scope="module")
def report(finished):
    """The report of the tiny study."""
    finished.snakemake("--report", "results/report.html")
    return finished.folder / "results" / "report.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=1000 * DEADLINE
        )
        yield opened
        opened.close()


class Visit:
    """A page in the browser, with its requests and errors."""

    def __init__(self, browser, path, width=1280):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, accept_downloads=True
        )
        self.context.set_default_timeout(1000 * DEADLINE)
        self.page = self.context.new_page()
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.errors.append(line.text) if line.type == "error" else None,
        )
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_function("document.readyState == 'complete'")

    def shown(self, category, name):
        """Open one of the report's results; return its frame."""
        self.page.locator("nav").get_by_text(category, exact=True).click()
        row = self.page.locator("nav tr").filter(has=self.page.get_by_text(name, exact=True))
        row.locator("a").first.click()
        frame = self.page.frame_locator("iframe").first
        frame.locator(".overview h3").wait_for()
        return frame

    def names(self, category):
        """Read the names of the results in a category."""
        self.page.locator("nav").get_by_text(category, exact=True).click()
        cells = self.page.locator("nav tbody tr td:first-child").all_inner_texts()
        self.home()
        return set(cells)

    def home(self):
        self.page.locator("nav").get_by_text("Results", exact=True).first.click()

    def check(self):
        """Check that the page requested nothing from a network and had no error."""
        outside = [url for url in self.requests if not re.match("(file|data|blob):", url)]
        assert self.requests
        assert outside == []
        assert self.errors == []
        self.context.close()


@pytest.fixture(params=WIDTHS)
def visit(browser, report, request):
    opened = Visit(browser, report, request.param)
    yield opened
    opened.context.close()


def images_of(place):
    """Read the natural sizes of the images of a page or frame."""
    images = place.locator("img")
    images.first.wait_for(state="attached")
    return images.evaluate_all("all => all.map(one => [one.naturalWidth, one.naturalHeight])")


def rows_of(table):
    return [row.locator("td, th").all_inner_texts() for row in table.locator("tr").all()]


def test_the_report_begins_with_an_overview_and_uses_no_network(visit, finished):
    page = visit.page
    overview = page.locator(".overview")
    overview.wait_for()
    assert page.locator(".overview h1").inner_text() == "Study tiny"
    # the top is visible
    assert page.locator(".overview h1").evaluate(ABOVE) >= 0
    assert overview.evaluate(CUT) == []
    assert all(width > 100 and height > 100 for width, height in images_of(overview))
    facts = dict(rows_of(overview.locator("table.facts")))
    assert facts["file"] == "study.yaml"
    assert facts["runs"] == "2"
    assert facts["rounds"] == "8 in total, 4 per run"
    assert float(facts["core hours"].split()[0]) > 0
    assert "torch 2" in facts["versions"]
    assert "where this page was made" in facts["machine"]
    tables = overview.locator("table.metrics")
    assert tables.count() == len(TABLES) - 1
    for table in tables.all():
        rows = rows_of(table)
        assert len(rows) > 1
        assert all(any(cell.strip() for cell in row) for row in rows)
    assert overview.locator("figure img").count() == len(figures(finished))
    visit.check()


def figures(finished):
    folder = finished.folder / "results" / "figures" / "tiny"
    return {path.stem.replace("_", " ") for path in folder.glob("*.png")}


def test_the_numbers_of_the_overview_are_those_of_the_tables(visit, finished):
    table = visit.page.locator(".overview table.metrics").first
    shown = " ".join(table.all_inner_texts())
    lines = (finished.tables() / "accuracy.csv").read_text().splitlines()[1:]
    means = [f"{float(line.split(',')[5]):.3f}" for line in lines]
    assert len(means) == 2
    assert all(mean in shown for mean in means)


def test_every_run_has_links_to_its_files(visit, report, finished):
    links = visit.page.locator(".overview table.runs a")
    found = links.evaluate_all("all => all.map(one => one.getAttribute('href'))")
    for run in finished.runs():
        names = {path.name for path in run.iterdir() if path.is_file()}
        assert {Path(link).name for link in found if f"/{run.name}/" in link} == names
        assert {"metrics.parquet", "experiment.json"} <= names
    assert all((report.parent / link).is_file() for link in found)
    json_link = next(link for link in found if link.endswith("experiment.json"))
    assert json.loads((report.parent / json_link).read_text())["dataset"] == "digits"


def test_the_rule_graph_of_snakemake_is_drawn(visit):
    canvas = visit.page.locator("#rulegraph canvas, #rulegraph svg").first
    canvas.wait_for()
    assert canvas.evaluate(DRAWN) > 1000


@pytest.mark.parametrize("category", ["Tables", "Figures"])
def test_every_table_and_figure_can_be_opened_and_is_not_cut(visit, finished, category):
    names = visit.names(category)
    assert names == (TABLES if category == "Tables" else figures(finished))
    for name in sorted(names):
        frame = visit.shown(category, name)
        page = frame.locator(".overview")
        assert page.locator("h3").inner_text().lower() == name
        assert page.evaluate(CUT) == []
        if category == "Tables":
            rows = rows_of(frame.locator("table"))
            assert len(rows) > 1
            assert page.locator("p").first.inner_text().strip() != ""
        else:
            ((width, height),) = images_of(frame)
            assert min(width, height) > 100
            assert frame.locator("img").evaluate("i => i.clientWidth <= innerWidth")
        visit.home()
    visit.check()


def test_a_table_can_be_saved_from_the_report(browser, report, finished):
    visit = Visit(browser, report)
    frame = visit.shown("Tables", "accuracy")
    with visit.page.expect_download() as saved:
        frame.get_by_text("accuracy.csv").click()
    table = finished.tables() / "accuracy.csv"
    assert Path(saved.value.path()).read_bytes() == table.read_bytes()
    visit.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_overview_is_a_page_of_its_own(browser, finished, width):
    visit = Visit(browser, finished.tables() / "overview.html", width)
    page = visit.page
    assert page.locator("h1").inner_text() == "Study tiny"
    assert page.locator("body").evaluate(CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert all(w > 100 for w, _ in images_of(page))
    links = page.locator("table.runs a").evaluate_all("all => all.map(one => one.href)")
    assert links
    assert all(Path(link.removeprefix("file://")).is_file() for link in links)
    visit.check()


def test_a_report_before_the_study_has_run_is_refused(project):
    shutil.rmtree(project.folder / "results" / "report")
    done = project.snakemake("--report", "results/report.html", check=False)
    assert done.returncode != 0
    assert "marked for report but does not exist" in done.stdout
