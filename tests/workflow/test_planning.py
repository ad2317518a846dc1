"""Dry runs and calls that end before the first job."""

import re
import subprocess

import pytest

from skymask.jobs import spans
from skymask.study import load

from .harness import Project


def test_snakemakes_linter_has_no_complaint(bare):
    assert "good condition" in bare.snakemake("--lint").stdout


@pytest.mark.parametrize("rounds_per_job", [1, 50])
def test_a_chain_of_two_thousand_rounds_is_planned(bare, tmp_path, rounds_per_job):
    project = bare.clone(tmp_path / "project")
    project.set_study(defense="krum", rounds=2000, rounds_per_job=rounds_per_job)
    planned = project.planned()
    if rounds_per_job == 1:
        assert planned["train"] == planned["attack"] == planned["aggregate"] == 2000
        assert planned["evaluate"] == 1000
    else:
        assert planned["span"] == 40
    of_runs = ("initialise", *spans.STAGES, "span", "collect", "collect_updates")
    study = load.from_files([project.folder / "study.yaml"])
    assert sum(planned.get(rule, 0) for rule in of_runs) == spans.count_jobs(study)


def test_a_key_written_twice_is_refused(bare, tmp_path):
    project = bare.clone(tmp_path / "project")
    with (project.folder / "study.yaml").open("a") as study:
        study.write("rounds: 6\n")
    done = project.snakemake("-n", check=False)
    assert done.returncode != 0
    assert "study.yaml: a mistake, nothing was started" in done.stdout
    assert re.search(r"rounds: is written twice, in lines \d+ and \d+ of study.yaml", done.stdout)


@pytest.mark.parametrize(
    ("lines", "mistake"),
    [
        ("small: {rounds: 2, rounds: 3}\n", "small.rounds: is written twice, in line"),
        ("global_lr: 1:30\n", "global_lr: '1:30' must be a number"),
        ("most_jobs: 5\n", "most_jobs: the study has about 6 jobs, and 5 are allowed"),
        ("__use_yte__: true\n", "__use_yte__: is for templates"),
        ("? [1]\n: 2\n", ""),
    ],
)
def test_what_snakemake_would_accept_is_refused(bare, tmp_path, lines, mistake):
    project = bare.clone(tmp_path / "project")
    with (project.folder / "study.yaml").open("a") as study:
        study.write(lines)
    done = project.snakemake("-n", check=False)
    assert done.returncode != 0
    assert mistake in done.stdout
    assert "Traceback" not in done.stdout


def test_the_default_study_is_planned_without_a_configfile(bare):
    command = bare.command("-n")
    command = command[: command.index("--configfile")]
    run = {"cwd": bare.folder, "env": bare.environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **run, check=True)
    # 2 losses × 4 attacks × 6 defenses × 3 seeds, each a job of 60 rounds
    assert re.search(r"^span +144$", done.stdout, re.MULTILINE)


def test_lists_of_numbers_can_be_given_on_the_command_line(bare):
    seeds = ["data_seed=[1,2]", "scatter_round=null"]
    planned = bare.planned("--config", "attack=[none,min_max]", "defense=krum", *seeds)
    assert planned["partition"] == 2
    assert planned["collect"] == 4


def test_missing_data_is_one_message_with_what_to_do(tmp_path):
    project = Project.create(
        tmp_path / "project",
        dataset="fashion_mnist",
        model="logistic_regression",
        samples_per_client=10,
        data_folders=[str(tmp_path / "nowhere")],
    )
    # tests use no network: the address of the mirror has no server
    project.edit(
        "src/skymask/data/datasets/fashion_mnist.py",
        "    try:\n        FashionMNIST(",
        '    FashionMNIST.mirrors = ["http://localhost:9/"]\n    try:\n        FashionMNIST(',
    )
    done = project.snakemake(check=False)
    assert done.returncode != 0
    # when the job fails, and in the list at the end
    assert done.stdout.count("DataError: Fashion-MNIST was found in none of these folders") == 2
    assert "SKYMASK_DATA" in done.stdout
    assert "Traceback" not in done.stdout
