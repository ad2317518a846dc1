"""Files for contributors and indexes agree with the project."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import skymask

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINS = dict(
    re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
)


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_names_the_version():
    citation = read("CITATION.cff")
    assert citation["version"] == skymask.__version__
    assert "arXiv:2312.12484" in str(citation["preferred-citation"])


def test_the_changelog_begins_with_unreleased_changes_then_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[:2] == ["Unreleased", skymask.__version__]


def test_pre_commit_uses_the_pinned_versions():
    revisions = {
        repo["repo"].rpartition("/")[2].removesuffix("-pre-commit"): repo["rev"].removeprefix("v")
        for repo in read(".pre-commit-config.yaml")["repos"]
    }
    assert set(revisions) == {"ruff", "snakefmt", "codespell", "pre-commit-hooks"}
    del revisions["pre-commit-hooks"]
    assert revisions == {name: PINS[name] for name in revisions}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_make_targets_only(path):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert [command.split()[0] for command in commands] == ["make"] * len(commands)
        assert {target for command in commands for target in command.split()[1:]} <= {*targets}
        versions = job.get("strategy", {}).get("matrix", {}).get("python", [])
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert all(SpecifierSet(project["requires-python"]).contains(v) for v in versions)


def test_there_are_workflows():
    assert {path.stem for path in WORKFLOWS} == {"docs", "lint", "tests"}


def test_the_workflow_catalog_finds_what_it_needs():
    usage = read(".snakemake-workflow-catalog.yml")["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert (ROOT / "workflow" / "Snakefile").exists()
    assert (ROOT / "config" / "README.md").exists()
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme
    assert "workflow" in readme
