"""The conda environment, the pinned packages and the package's requirements."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec, Version, VersionSpec

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def conda_packages():
    """Parse environment.yml as conda does; return each package by its name on PyPI."""
    specs = [MatchSpec(item, strict=True) for item in ENVIRONMENT["dependencies"]]
    names = [spec.name.normalized for spec in specs]
    assert len(set(names)) == len(names)
    return {CONDA_NAMES.get(n, n): s for n, s in zip(names, specs, strict=True)}


def requirements():
    """Read what pyproject.toml requires to run the package and the workflow."""
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["workflow"]
    return {canonicalize_name(r.name): r for r in map(Requirement, wanted)}


def pins():
    """Read the version of each package that ``make`` installs."""
    text = "".join((ROOT / f"requirements{part}.txt").read_text("utf-8") for part in ("", "-torch"))
    lines = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


def admits(spec, version):
    return VersionSpec(str(spec.version)).matches(Version(version))


def test_environment_pins_and_requirements_agree():
    specs = conda_packages()
    assert set(specs) == {*requirements(), "python", "pip"}
    for name, requirement in requirements().items():
        version = pins()[name]
        assert admits(specs[name], version), f"{name} {version} is pinned"
        assert not admits(specs[name], f"{version}9"), f"{name} is not pinned in environment.yml"
        assert version in requirement.specifier


def test_the_environment_admits_the_same_pythons_as_the_package():
    wanted = SpecifierSet(PROJECT["requires-python"])
    for minor in (10, 11, 12, 13):
        admitted = admits(conda_packages()["python"], f"3.{minor}.1")
        assert admitted == (f"3.{minor}.1" in wanted)


def test_the_channels_are_in_the_order_that_bioconda_requires():
    # snakemake-minimal is on bioconda alone; nothing may come from the user's own channels
    assert ENVIRONMENT["channels"] == ["conda-forge", "bioconda", "nodefaults"]


@pytest.mark.parametrize("part", ["", "-dev", "-docs", "-slurm"])
def test_every_pinned_package_has_hashes(part):
    text = (ROOT / f"requirements{part}.txt").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [
        e.split()[0] for e in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", e)
    ] == []
    assert "://" not in text
    assert "make pins" in text.splitlines()[1]


def test_torch_is_pinned_without_hashes():
    # its files differ from platform to platform
    text = (ROOT / "requirements-torch.txt").read_text(encoding="utf-8")
    pinned = [f"{name}=={pins()[name]}" for name in ("torch", "torchvision")]
    assert re.findall(r"^\w.*", text, re.MULTILINE) == pinned


@pytest.mark.parametrize("path", sorted(ROOT.glob("workflow/rules/*.smk")), ids=lambda p: p.stem)
def test_every_rule_names_the_environment(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\nrule ") == text.count('conda:\n        "../../environment.yml"')
