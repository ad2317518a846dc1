"""Where the time of a job went, and how it is shown."""

import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

import skymask
from skymask import cli
from skymask.artifacts.parquet import write_table
from skymask.artifacts.records import read_rows, write_rows
from skymask.artifacts.schemas import SCHEMAS
from skymask.federation.timing import Clock, process_age, timed
from skymask.reporting import timings

PARTS = ["start", "read", "write", "other"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not say")
def test_the_age_of_a_process_counts_from_before_its_first_import():
    code = (
        "import time; time.sleep(0.5); begin = time.perf_counter()\n"
        "from skymask.federation.timing import process_age\n"
        "print(process_age(), time.perf_counter() - begin)"
    )
    environment = {"PYTHONPATH": str(Path(skymask.__file__).parents[1])}
    before = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    whole = time.perf_counter() - before
    age, imports = map(float, done.stdout.split())
    assert imports + 0.5 <= age + 0.02
    assert age <= whole + 0.02


STUDY = """
study: s
dataset: digits
model: mlp
clients: 12
attack: none
defense: fedavg
rounds: 10
local_lr: 0.1
evaluate_every: 1
"""


def test_a_name_with_brackets_and_blanks_does_not_confuse_it(tmp_path):
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2]
    (tmp_path / "stat").write_text(f"7 (a (strange) 1 2 3) name){fields}")
    assert process_age(tmp_path / "stat") == pytest.approx(process_age(), abs=0.05)


@pytest.mark.parametrize("content", [None, "", "1 (python) S 1 2"])
def test_without_information_from_the_system_the_age_is_zero(tmp_path, content):
    if content is not None:
        (tmp_path / "stat").write_text(content)
    assert process_age(tmp_path / "stat") == 0.0


def test_the_parts_of_a_job_and_its_stages_are_its_whole_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("skymask.federation.timing.process_age", lambda: 3.0)
    stages, clock = [], Clock()

    def passes(seconds):
        now[0] += seconds

    with clock.part("read"):
        passes(1.0)
    with timed(stages, 7, "train", "cpu"):
        passes(10.0)
    passes(0.25)
    with clock.part("write"):
        passes(2.0)
    clock.add("write", 0.0)
    with clock.part("read"):
        passes(0.5)
    rows = clock.rows(stages, 9, "cpu")
    assert [row["stage"] for row in rows] == PARTS
    assert [row["seconds"] for row in rows] == [3.0, 1.5, 2.0, 0.25]
    assert {row["round"] for row in rows} == {9}
    assert {row["device"] for row in rows} == {"cpu"}
    assert all(row["peak_memory_mib"] > 1 for row in rows)
    assert set(rows[0]) == set(SCHEMAS["timings"].names)


def study(folder, runs):
    """Results of a study: the names of its runs, and the timings of each."""
    names = pa.table({"run": [*runs]})
    write_table(folder / "tables" / "s" / "runs.parquet", "runs_table", "s", names)
    for run, rows in runs.items():
        found = [
            {"round": 1, "stage": stage, "seconds": seconds, "device": "cpu"}
            for stage, seconds in rows
        ]
        write_rows(folder / "runs" / run / "timings.parquet", "timings", run, found)
    (folder / "s.yaml").write_text(STUDY)
    return folder / "s.yaml"


def test_the_wall_time_of_a_study_is_shown_by_stage(tmp_path, capsys):
    one = [("start", 2.0), ("read", 0.5), ("train", 10.0), ("train", 20.0), ("write", 0.5)]
    two = [("aggregate", 15.0), ("start", 1.0), ("other", 1.0)]
    file = study(tmp_path, {"a": one, "b": two})
    assert cli.main(["timings", str(file), "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "| train     |      30.0 |       60.0 |" in text
    assert "| aggregate |      15.0 |       30.0 |" in text
    assert "| start     |       3.0 |        6.0 |" in text
    assert "evaluate" not in text
    assert "2 jobs of 25.0 seconds on average, 10.0% of it outside the four stages." in text
    assert timings.by_stage("s", tmp_path).loc["train"].tolist() == [2, 30.0]


def test_for_jobs_of_one_stage_the_time_outside_is_not_recorded(tmp_path):
    study(tmp_path, {"a": [("train", 1.0), ("aggregate", 3.0)]})
    text = timings.text("s", tmp_path)
    assert "| aggregate |       3.0 |       75.0 |" in text
    assert "is not recorded" in text
    assert "four stages" not in text


def test_a_study_that_has_not_run_is_named(tmp_path, capsys):
    file = study(tmp_path, {"a": []})
    (tmp_path / "tables" / "s" / "runs.parquet").unlink()
    assert cli.main(["timings", str(file), "--results", str(tmp_path)]) == 1
    assert f"run snakemake --configfile {file}" in capsys.readouterr().err
    study(tmp_path, {"a": []})
    (tmp_path / "runs" / "a" / "timings.parquet").unlink()
    assert cli.main(["timings", str(file), "--results", str(tmp_path)]) == 1
    assert "timings.parquet: it is missing" in capsys.readouterr().err


def test_collected_timings_keep_the_parts_of_every_job(tmp_path):
    from skymask.artifacts.records import collect_rows

    for last in (2, 4):
        rows = [{"round": r, "stage": "train", "seconds": 1.0} for r in (last - 1, last)]
        rows += [{"round": last, "stage": part, "seconds": 0.5} for part in PARTS]
        write_rows(tmp_path / str(last), "timings", "r", rows)
    collect_rows([tmp_path / "2", tmp_path / "4"], tmp_path / "all", "timings", "r")
    found = read_rows(tmp_path / "all", "timings", "r").to_pylist()
    assert [row["round"] for row in found] == [1, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4]
    assert [row["stage"] for row in found].count("start") == 2
