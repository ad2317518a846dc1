"""GPU slots: how many jobs that use a GPU run at the same time."""

import re

import pytest
import yaml


def planned_resources(project):
    """Read the resources of the jobs of a dry run, by rule."""
    output = project.snakemake("-n", "--quiet", "host").stdout
    rules = re.findall(r"^(?:local)?rule (\w+):\n((?: +.*\n)+)", output, re.MULTILINE)
    assert rules
    return {rule: re.findall(r"\b(gpu\w*)=(\d+)", text) for rule, text in rules}


STAGES = {1: {"train", "attack", "aggregate", "evaluate"}, 2: {"span"}}


@pytest.mark.parametrize("rounds_per_job", STAGES)
@pytest.mark.parametrize(("device", "slots"), [("cpu", "0"), ("cuda", "1"), ("cuda:1", "1")])
def test_jobs_that_use_a_gpu_ask_for_a_slot(bare, tmp_path, rounds_per_job, device, slots):
    project = bare.clone(tmp_path / "project")
    project.set_study(device=device, rounds_per_job=rounds_per_job)
    stages = STAGES[rounds_per_job]
    planned = planned_resources(project)
    for rule, resources in planned.items():
        assert resources == ([("gpu", slots), ("gpu_slots", slots)] if rule in stages else []), rule
    assert stages <= set(planned)


def test_the_default_profile_has_one_slot_and_does_not_count_gpus(bare):
    profile = yaml.safe_load((bare.folder / "profiles/default/config.yaml").read_text())
    assert profile["resources"] == ["gpu_slots=1"]


MARK = """
def mark(event):
    with open("events", "a") as events:
        events.write(event + " ")
"""
# with two slots, each of two jobs waits for the other to begin
TOGETHER = """
import time
end = time.monotonic() + 200
while open("events").read().count("begin") < 2 and time.monotonic() < end:
    time.sleep(0.02)
"""


@pytest.mark.parametrize("slots", [1, 2])
def test_as_many_jobs_run_at_the_same_time_as_there_are_slots(bare, tmp_path, slots):
    project = bare.clone(tmp_path / "project")
    # two runs of one job each, which do not really use a GPU
    project.edit("workflow/rules/common.smk", "GPUS = int(any(", "GPUS = int(bool(RUNS) or any(")
    script = project.folder / "workflow/scripts/span.py"
    begin = f"{MARK}\nmark('begin')\n{TOGETHER if slots == 2 else ''}"
    script.write_text(f"{begin}\n{script.read_text()}\nmark('end')\n")
    project.set_study(rounds=2, rounds_per_job=2)
    project.snakemake(*(["--resources", "gpu_slots=2"] if slots == 2 else []), cores=2)
    events = (project.folder / "events").read_text().split()
    assert events == (["begin", "end"] * 2 if slots == 1 else ["begin"] * 2 + ["end"] * 2)
