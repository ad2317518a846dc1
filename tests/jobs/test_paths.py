"""Paths below the results folder."""

import re
from pathlib import Path

import pytest

from skymask.jobs import paths

ROOT = Path(__file__).parents[2]
RUN = paths.run("a-krum-1")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (paths.dataset("digits", "train"), "results/data/digits/train.parquet"),
        (paths.partition("digits-iid"), "results/partitions/digits-iid.parquet"),
        (RUN, "results/runs/a-krum-1"),
        (paths.run("a", Path("old")), "old/runs/a"),
        (paths.round_(RUN, 3), "results/runs/a-krum-1/rounds/3"),
        (
            paths.stage_timings(RUN, 3, "train"),
            "results/runs/a-krum-1/rounds/3/timings/train.parquet",
        ),
        (paths.span(RUN, 1, 20), "results/runs/a-krum-1/spans/1-20"),
        (
            paths.span(paths.run("{run}"), "{first}", "{last}"),
            "results/runs/{run}/spans/{first}-{last}",
        ),
        (
            paths.provenance(paths.span(RUN, 1, 20), "span"),
            "results/runs/a-krum-1/spans/1-20/provenance/span.json",
        ),
        (paths.tables("s"), "results/tables/s"),
        (paths.table("s", "accuracy", "csv"), "results/tables/s/accuracy.csv"),
        (paths.figure("s", "rates", "png"), "results/figures/s/rates.png"),
        (paths.report("s"), "results/report/s"),
        (paths.study_file("s"), "results/studies/s.yaml"),
        (paths.log("span", "a", "1-20"), "results/logs/span/a/1-20.log"),
        (paths.log("data", "digits", results=Path("old")), "old/logs/data/digits.log"),
        (paths.benchmark("collect", "a"), "results/benchmarks/collect/a.tsv"),
    ],
)
def test_paths_are_as_documented(path, expected):
    assert str(path) == expected


def test_finished_spans_are_those_with_a_model(tmp_path):
    for name in ("1-20", "21-40", "one-two", "1-", "²-3", "1-2-3"):
        (tmp_path / "spans" / name).mkdir(parents=True)
        (tmp_path / "spans" / name / "model.parquet").touch()
    (tmp_path / "spans" / "41-60").mkdir()
    assert sorted(paths.finished_spans(tmp_path)) == [(1, 20), (21, 40)]


SOURCES = [*ROOT.glob("src/skymask/**/*.py"), *ROOT.glob("workflow/rules/*.smk")]
SPELLED = re.compile(
    r"""["']results/.*|/ ["'](?:runs|spans|rounds|tables|figures|logs|benchmarks)["'].*"""
)


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.name != "paths.py"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_other_file_spells_paths_below_results(path):
    assert SPELLED.findall(path.read_text("utf-8")) == []
