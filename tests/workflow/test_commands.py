"""What a user types, and what is said back."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from .harness import ROOT, Project


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A project that has not run."""
    return Project.create(tmp_path_factory.mktemp("bare") / "project")


def test_lint_is_clean(bare):
    assert "good condition" in bare.snakemake("--lint").stdout


@pytest.mark.parametrize("grain", [1, 50])
def test_a_chain_of_two_thousand_rounds_builds_its_dag(tmp_path, grain):
    project = Project.create(
        tmp_path / "project", defense="krum", rounds=2000, rounds_per_job=grain
    )
    planned = project.planned()
    if grain == 1:
        assert planned["train"] == planned["attack"] == planned["aggregate"] == 2000
        assert planned["evaluate"] == 1000
    else:
        assert planned["span"] == 40


def test_missing_data_is_one_sentence_that_says_what_to_do(tmp_path):
    project = Project.create(
        tmp_path / "project",
        dataset="fashion_mnist",
        model="logistic_regression",
        samples_per_client=10,
        data_folders=[str(tmp_path / "nowhere")],
    )
    # no network in tests: the name of the mirror leads nowhere
    project.edit(
        "src/skymask/data/datasets/fashion_mnist.py",
        "    try:\n        FashionMNIST(",
        '    FashionMNIST.mirrors = ["http://localhost:9/"]\n    try:\n        FashionMNIST(',
    )
    done = project.snakemake(check=False)
    assert done.returncode != 0
    # at once, and in the list at the end
    assert done.stdout.count("DataError: Fashion-MNIST was found in none of these folders") == 2
    assert "SKYMASK_DATA" in done.stdout
    assert "Traceback" not in done.stdout


def test_the_summary_names_tables_and_paths(finished):
    command = [sys.executable, "-m", "skymask.cli", "summary", "study.yaml"]
    environment = {**finished.environment, "PYTHONPATH": str(ROOT / "src")}
    run = {"cwd": finished.folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **run, check=True)
    assert "| skymask " in done.stdout
    assert "results/tables/tiny/" in done.stdout
    missing = subprocess.run([*command, "--results", "elsewhere"], **run, check=False)
    assert missing.returncode == 1
    assert "run snakemake" in missing.stderr
    assert "Traceback" not in missing.stderr


def skymask(project, *arguments):
    """Run the command in a project, with the project's own package."""
    environment = {**project.environment, "PYTHONPATH": str(project.folder / "src")}
    command = [sys.executable, "-m", "skymask.cli", *arguments]
    run = {"cwd": project.folder, "env": environment, "capture_output": True, "text": True}
    return subprocess.run(command, **run, check=False, timeout=120)


@pytest.mark.parametrize("table", ["accuracy", "detection", "got_through"])
def test_every_number_can_be_traced_to_its_files(finished, table):
    path = f"results/tables/tiny/{table}.csv"
    for defense in ("krum", "skymask"):
        done = skymask(finished, "trace", path, "--cell", f"fang_trim,{defense}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "they agree" in done.stdout
        assert f"-fang_trim-{defense}-1.1-" in done.stdout
        assert done.stdout.count(" sha256 ") == 12
        assert "spans/3-4/metrics.parquet" in done.stdout


def test_a_number_of_backdoors_can_be_traced(varied):
    path = "results/tables/tiny/attack_success.csv"
    cell = "lie_backdoor(patch=3, epochs=1),bucketing + centered_clipping"
    done = skymask(varied, "trace", path, "--cell", cell)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"attack_success_rate_mean: .* they agree", done.stdout)


def test_a_result_that_was_put_in_by_hand_is_found(project):
    run = next(run for run in project.runs() if "-krum-" in run.name)
    other = next(run for run in project.runs() if "-skymask-" in run.name)
    (run / "metrics.parquet").write_bytes((other / "metrics.parquet").read_bytes())
    table = "results/tables/tiny/accuracy.csv"
    done = skymask(project, "trace", table, "--cell", "krum,fang_trim")
    assert done.returncode == 1
    assert f"{run.name}/metrics.parquet says skymask.spec = {other.name}" in done.stdout
    assert skymask(project, "trace", table, "--cell", "skymask,fang_trim").returncode == 0


def test_a_finished_study_becomes_a_page_to_keep(finished, tmp_path):
    done = skymask(finished, "publish", "study.yaml", "--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "tiny" / "README.md")
    page = (tmp_path / "tiny" / "README.md").read_text(encoding="utf-8")
    assert "`snakemake --cores all --configfile study.yaml`" in page
    assert (finished.folder / "results/tables/tiny/accuracy.md").read_text().strip() in page
    for name in re.findall(r"\]\((\S+?)\)", page):
        assert (tmp_path / "tiny" / name).stat().st_size > 0
    absent = skymask(finished, "publish", "study.yaml", "--to", str(tmp_path), "--results", "none")
    assert absent.returncode == 1
    assert "none/tables/tiny/accuracy.md is missing: run snakemake" in absent.stderr


def test_the_status_of_a_finished_study(finished):
    done = skymask(finished, "status", "study.yaml")
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 done, 0 running" in done.stdout
    assert "rounds: 8 of 8 done, 100%" in done.stdout
    assert "tables: results/tables/tiny" in done.stdout
    longer = skymask(finished, "status", "study.yaml", "--config", "rounds=6")
    assert "2 runs: 0 done, 0 running, 0 failed, 0 stopped, 2 waiting" in longer.stdout
    assert "rounds: 8 of 12 done, 67%" in longer.stdout
    assert re.search(r"about \d:\d\d:\d\d \(h:mm:ss\) left with a job at a time", longer.stdout)


def test_the_status_of_a_study_that_runs_is_killed_and_fails(tmp_path):
    project = Project.create(
        tmp_path / "project", defense="krum", rounds=100_000, rounds_per_job=50_000
    )

    def status():
        return skymask(project, "status", "study.yaml").stdout

    running = project.start()
    try:
        deadline = time.monotonic() + 120
        pattern = r"1-50000\.log, process (\d+) on "
        while not (found := re.search(pattern, said := status())):
            assert time.monotonic() < deadline, said
            time.sleep(0.3)
        os.kill(int(found[1]), 0)
        assert "1 run: 0 done, 1 running, 0 failed" in said
        assert "rounds: 0 of 100,000 done, 0%" in said
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    deadline = time.monotonic() + 20
    while "1 stopped" not in (said := status()):
        assert time.monotonic() < deadline, said
        time.sleep(0.3)
    assert "ended without a word: the same command goes on" in said
    project.edit("workflow/scripts/span.py", "    clock = Clock()", "    raise ValueError('x')")
    assert project.snakemake(check=False).returncode != 0
    said = status()
    assert "1 failed, 0 stopped" in said
    assert re.search(r"span/.*/1-50000\.log\n    ValueError: x", said)


def test_every_rule_names_the_environment(bare):
    rules = (bare.folder / "workflow" / "rules").glob("*.smk")
    for file in rules:
        text = file.read_text()
        assert text.count("\nrule ") == text.count('conda:\n        "../../environment.yml"'), file


def test_a_key_written_twice_is_refused(bare, tmp_path):
    project = bare.clone(tmp_path / "project")
    with (project.folder / "study.yaml").open("a") as study:
        study.write("rounds: 6\n")
    done = project.snakemake("-n", check=False)
    assert done.returncode != 0
    assert "study.yaml: a mistake, nothing was started" in done.stdout
    assert re.search(r"rounds: is written twice, in lines \d+ and \d+ of study.yaml", done.stdout)


def test_the_default_study_is_the_one_without_a_configfile(bare):
    command = [argument for argument in bare.command("-n") if "study.yaml" not in argument]
    command.remove("--configfile")
    run = {"cwd": bare.folder, "env": bare.environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **run, check=True)
    # 4 attacks × 6 defenses × 3 seeds, each a job of 60 rounds
    assert re.search(r"^span +72$", done.stdout, re.MULTILINE)


def test_lists_of_numbers_can_be_given_on_the_command_line(bare):
    seeds = ["data_seed=[1,2]", "scatter_round=null"]
    planned = bare.planned("--config", "attack=[none,min_max]", "defense=krum", *seeds)
    assert planned["partition"] == 2
    assert planned["collect"] == 4


def test_a_reader_that_stops_early_is_no_error(bare):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "skymask.cli", "status", "study.yaml"]
    with open(writing, "w") as output:
        environment = {**bare.environment, "PYTHONPATH": str(ROOT / "src")}
        run = {"cwd": bare.folder, "env": environment, "stdout": output}
        done = subprocess.run(command, **run, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
