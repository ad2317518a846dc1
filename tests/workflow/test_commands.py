"""What a user types, and what is said back."""

import re
import subprocess
import sys

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
        "src/skymask/datasets/fashion_mnist.py",
        "    try:\n        FashionMNIST(",
        '    FashionMNIST.mirrors = ["http://localhost:9/"]\n    try:\n        FashionMNIST(',
    )
    done = project.snakemake(check=False)
    assert done.returncode != 0
    assert done.stdout.count("DataError: Fashion-MNIST was found in none of these folders") == 1
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
    assert "rounds: is written twice" in done.stdout


def test_the_default_study_is_the_one_without_a_configfile(bare):
    command = [argument for argument in bare.command("-n") if "study.yaml" not in argument]
    command.remove("--configfile")
    run = {"cwd": bare.folder, "env": bare.environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **run, check=True)
    # 4 attacks × 6 defenses × 2 seeds, each a job of 60 rounds
    assert re.search(r"^span +48$", done.stdout, re.MULTILINE)
