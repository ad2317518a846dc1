"""Text in the terminal at the end of a run and of a study."""

import pytest

from skymask.artifacts.records import write_rows
from skymask.reporting import console
from skymask.study import grid

STUDY = {
    "study": "s",
    "dataset": "digits",
    "model": "mlp",
    "clients": 12,
    "attack": "none",
    "defense": "fedavg",
    "rounds": 4,
    "final_evaluations": 1,
    "evaluate_every": 2,
    "local_lr": 0.1,
    "threads": 2,
}


@pytest.fixture
def study(tmp_path):
    """A study of one run, with a round and timings of another study."""
    study = grid.read(STUDY)
    (run,) = study.runs
    folder = tmp_path / "runs" / run
    metrics = [{"round": r, "accuracy": r / 8} for r in (2, 4, 6)]
    rounds = [{"round": r, "model_updated": True} for r in range(1, 7)]
    timings = [{"round": r, "stage": "train", "seconds": 1800.0} for r in (2, 4, 6)]
    write_rows(folder / "metrics.parquet", "metrics", run, metrics)
    write_rows(folder / "aggregates.parquet", "aggregates", run, rounds)
    write_rows(folder / "timings.parquet", "timings", run, timings)
    return study


def test_the_line_of_a_run_has_accuracy_rounds_and_time_of_this_study(study, tmp_path):
    (run,) = study.runs
    line = console.run_line(study, run, tmp_path)
    assert line == f"{run}: accuracy 0.500 after 4 rounds, 1:00:00"


def test_the_cost_of_a_study_is_in_core_hours(study, tmp_path):
    # 2 timings × 0.5 hours × 2 threads
    line = console.cost_line(study, 61.2, tmp_path)
    assert line == (
        "cost     2 core hours for 1 run with 4 rounds in total; this call took 0:01:01"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "0:01:00"), (90_061, "25:01:01")],
)
def test_seconds_are_shown_as_a_clock(seconds, text):
    assert console.clock(seconds) == text


@pytest.fixture
def folder(tmp_path):
    """The Markdown files of a study's tables."""
    folder = tmp_path / "tables" / "tiny"
    folder.mkdir(parents=True)
    for name in ("accuracy", "detection", "got_through", "runs", "significance"):
        (folder / f"{name}.md").write_text(f"Table {name}\n")
    return folder


def test_the_summary_shows_tables_and_paths(folder, tmp_path):
    text = console.summary("tiny", tmp_path)
    assert "Table accuracy\n\nTable detection\n" in text
    assert "Table got_through" not in text
    assert f"{folder}/{{accuracy,detection,got_through,runs,significance}}" in text
    assert f"intervals: {folder}/significance.md" in text
    assert "published" not in text
    assert f"{tmp_path}/figures/tiny/*.{{png,pdf}}" in text


def test_the_summary_shows_attack_success_if_there_is_such_a_table(folder, tmp_path):
    (folder / "attack_success.md").write_text("Table attack_success\n")
    assert "Table detection\n\nTable attack_success\n" in console.summary("tiny", tmp_path)


def test_the_summary_of_a_study_that_was_not_run_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"never_run/accuracy\.md"):
        console.summary("never_run", tmp_path)
