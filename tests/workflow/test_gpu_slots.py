"""Jobs that use the GPU share it as the profile, or --resources, allows."""

import re

import pyarrow.parquet as pq
import pytest
import yaml

from .harness import Project


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A project that has not run."""
    return Project.create(tmp_path_factory.mktemp("bare") / "project")


def planned_resources(project):
    """The resources of the jobs of a dry run, by rule."""
    output = project.snakemake("-n", "--quiet", "host").stdout
    found = re.findall(r"^(?:local)?rule (\w+):\n((?: +.*\n)+)", output, re.MULTILINE)
    assert found
    return {rule: re.findall(r"\b(gpu\w*)=(\d+)", text) for rule, text in found}


STAGES = {1: {"train", "attack", "aggregate", "evaluate"}, 2: {"span"}}


@pytest.mark.parametrize("grain", STAGES)
@pytest.mark.parametrize(("device", "slots"), [("cpu", "0"), ("cuda", "1"), ("cuda:1", "1")])
def test_the_jobs_that_use_the_gpu_say_so(bare, tmp_path, grain, device, slots):
    project = bare.clone(tmp_path / "project")
    project.set_study(device=device, rounds_per_job=grain)
    found = planned_resources(project)
    for rule, resources in found.items():
        expected = [("gpu", slots), ("gpu_slots", slots)] if rule in STAGES[grain] else []
        assert resources == expected, rule
    assert STAGES[grain] <= set(found)


def test_the_profile_has_one_slot_and_does_not_count_gpus(bare):
    profile = yaml.safe_load((bare.folder / "profiles/default/config.yaml").read_text())
    assert profile["resources"] == ["gpu_slots=1"]


def spans(project):
    """When each span began and ended, by its run and rounds, by the clock of its files."""
    found = []
    for file in sorted(project.folder.glob("results/runs/*/spans/*/timings.parquet")):
        ended = file.stat().st_mtime
        found.append((ended - sum(pq.read_table(file)["seconds"].to_pylist()), ended))
    return sorted(found)


@pytest.mark.parametrize(
    ("slots", "together"), [([], False), (["--resources", "gpu_slots=2"], True)]
)
def test_jobs_run_side_by_side_if_there_are_slots(bare, tmp_path, slots, together):
    project = bare.clone(tmp_path / "project")
    # two runs of one job each, that only say they use a GPU
    project.edit("workflow/rules/common.smk", "GPUS = int(any(", "GPUS = int(bool(RUNS) or any(")
    project.set_study(rounds=2, rounds_per_job=2)
    project.snakemake(*slots, cores=2)
    (_, first_ended), (second_began, _) = spans(project)
    assert (second_began < first_ended) == together
