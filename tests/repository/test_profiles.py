"""The profiles of Snakemake."""

import re
from pathlib import Path

import pytest
import yaml

PROFILES = Path(__file__).parents[2] / "profiles"


def profile(name):
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text(encoding="utf-8"))


def test_the_default_profile_overrides_no_key_of_the_slurm_profile():
    # Snakemake also reads the default profile, and its keys win
    slurm, default = profile("slurm"), profile("default")
    # processes of one machine, which SLURM does not count
    added = {"cores": "all", "resources": ["gpu_slots=1"]}
    assert {key: value for key, value in default.items() if slurm.get(key) != value} == added
    assert slurm["set-resource-scopes"] == ["gpu_slots=local"]


def test_slurm_may_be_out_of_reach_for_minutes():
    slurm = profile("slurm")
    tries, a_second = slurm["slurm-status-attempts"], slurm["max-status-checks-per-second"]
    assert tries / a_second >= 180
    # the plugin falls back on sacct unless SLURM remembers a job for three times this
    assert 3 * slurm["slurm-init-seconds-before-status-checks"] >= 180


def test_jobs_of_slurm_are_long_and_bounded():
    slurm = profile("slurm")
    (setting,) = slurm["config"]
    assert 20 <= float(setting.removeprefix("minutes_per_job=")) <= 60
    assert slurm["jobs"] <= 1000
    assert "cpus_per_task" not in slurm["default-resources"]


def test_there_is_a_partition_for_each_kind_of_job():
    partitions = yaml.safe_load((PROFILES / "slurm" / "partitions.yaml").read_text())["partitions"]
    kinds = [limits.get("max_gpu", 0) > 0 for limits in partitions.values()]
    assert sorted(kinds) == [False, True]


@pytest.mark.parametrize("name", ["slurm", "default"])
def test_no_rule_retries_by_itself(name):
    # within a job of SLURM it would be tried again, in the memory that was too little
    rules = (PROFILES.parent / "workflow" / "rules").glob("*.smk")
    assert not [path for path in rules if re.search(r"\n +retries:", path.read_text())]
    assert profile(name)["retries"] == 1
