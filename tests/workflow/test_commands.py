"""Commands of ``skymask`` on studies that have run, are running, or have failed."""

import os
import re
import signal
import subprocess
import sys

import pytest

from .harness import ROOT, Project, wait_until


def test_the_summary_prints_tables_and_paths(finished):
    done = finished.skymask("summary", "study.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "| skymask " in done.stdout
    assert "results/tables/tiny/" in done.stdout
    missing = finished.skymask("summary", "study.yaml", "--results", "elsewhere")
    assert missing.returncode == 1
    assert "run snakemake" in missing.stderr
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize("table", ["accuracy", "detection", "got_through"])
def test_every_number_can_be_traced_to_its_files(finished, table):
    path = f"results/tables/tiny/{table}.csv"
    for defense in ("krum", "skymask"):
        done = finished.skymask("trace", path, "--cell", f"fang_trim,{defense}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "they agree" in done.stdout
        assert f"-fang_trim-{defense}-1.1-" in done.stdout
        assert done.stdout.count(" sha256 ") == 12
        assert "spans/3-4/metrics.parquet" in done.stdout


def test_a_success_rate_of_a_backdoor_can_be_traced(varied):
    path = "results/tables/tiny/attack_success.csv"
    attack = "neurotoxin(patch=3, epochs=1)[first=2, every=2]"
    cell = f"{attack},bucketing + centered_clipping(per=layer)"
    done = varied.skymask("trace", path, "--cell", cell)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"attack_success_rate_mean: .* they agree", done.stdout)


def test_trace_detects_the_file_of_another_run(project):
    krum, other = project.run("krum"), project.run("skymask")
    (krum / "metrics.parquet").write_bytes((other / "metrics.parquet").read_bytes())
    table = "results/tables/tiny/accuracy.csv"
    done = project.skymask("trace", table, "--cell", "krum,fang_trim")
    assert done.returncode == 1
    assert (
        f"{krum.name}/metrics.parquet: expected spec={krum.name}, found {other.name}" in done.stdout
    )
    assert project.skymask("trace", table, "--cell", "skymask,fang_trim").returncode == 0


def test_publish_writes_a_page_with_all_it_shows(finished, tmp_path):
    publish = ("publish", "study.yaml", "--to", str(tmp_path))
    done = finished.skymask(*publish)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "tiny" / "README.md")
    page = (tmp_path / "tiny" / "README.md").read_text(encoding="utf-8")
    assert "`snakemake --cores all --configfile study.yaml`" in page
    assert (finished.tables() / "accuracy.md").read_text().strip() in page
    for name in re.findall(r"\]\((\S+?)\)", page):
        assert (tmp_path / "tiny" / name).stat().st_size > 0
    missing = finished.skymask(*publish, "--results", "none")
    assert missing.returncode == 1
    assert "none/tables/tiny/accuracy.md is missing: run snakemake" in missing.stderr


def test_the_status_of_a_finished_study(finished):
    done = finished.skymask("status", "study.yaml")
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 done, 0 running" in done.stdout
    assert "rounds: 8 of 8 done, 100%" in done.stdout
    assert "tables: results/tables/tiny" in done.stdout
    longer = finished.skymask("status", "study.yaml", "--config", "rounds=6")
    assert "2 runs: 0 done, 0 running, 0 failed, 0 stopped, 2 waiting" in longer.stdout
    assert "rounds: 8 of 12 done, 67%" in longer.stdout
    assert re.search(r"about \d:\d\d:\d\d \(h:mm:ss\) left with a job at a time", longer.stdout)


def test_the_status_of_a_study_that_runs_is_killed_and_fails(tmp_path):
    project = Project.create(
        tmp_path / "project", defense="krum", rounds=100_000, rounds_per_job=50_000
    )

    def status():
        return project.skymask("status", "study.yaml").stdout

    process = re.compile(r"1-50000\.log, process (\d+) on ")
    running = project.start()
    try:
        wait_until(lambda: process.search(status()), failed=lambda: running.poll() is not None)
        printed = status()
        os.kill(int(process.search(printed)[1]), 0)
        assert "1 run: 0 done, 1 running, 0 failed" in printed
        assert "rounds: 0 of 100,000 done, 0%" in printed
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    wait_until(lambda: "1 stopped" in status())
    assert "interrupted or killed: run the same command again to continue" in status()
    project.edit("workflow/scripts/span.py", "    clock = Clock()", "    raise ValueError('x')")
    assert project.snakemake(check=False).returncode != 0
    printed = status()
    assert "1 failed, 0 stopped" in printed
    assert re.search(r"span/.*/1-50000\.log\n    ValueError: x", printed)


def test_a_reader_that_stops_early_causes_no_traceback(bare):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "skymask.cli", "status", "study.yaml"],
            cwd=bare.folder,
            env={**bare.environment, "PYTHONPATH": str(ROOT / "src")},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "")
