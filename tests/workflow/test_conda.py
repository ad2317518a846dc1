"""The conda route: the environment file agrees with the pins, and the rules run inside it.

No channel is reached: a stand-in for ``conda`` answers the few calls that Snakemake makes and
creates a virtual environment instead.  It proves paths and the package's place, not the solving.
"""

import re
import stat
import sys
import sysconfig
import tomllib

import pandas as pd
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec, Version, VersionSpec

from .harness import ROOT, Project

CONDA_NAMES = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}

CONDA = """#!{python}
import json, pathlib, subprocess, sys

prefix = pathlib.Path({prefix!r})
call = sys.argv[1:]
with open(prefix / "calls", "a") as calls:
    calls.write(" ".join(call) + "\\n")
if call[:1] == ["info"]:
    facts = {{"conda_version": "26.7.0", "platform": "linux-64", "channels": [], "envs": []}}
    print(json.dumps({{**facts, "conda_prefix": str(prefix), "root_prefix": str(prefix)}}))
elif call == ["--version"]:
    print("conda 26.7.0")
elif call[:2] == ["config", "--get"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif call[:2] == ["env", "create"]:
    place = pathlib.Path(call[call.index("--prefix") + 1])
    subprocess.check_call([{python!r}, "-m", "venv", "--without-pip", str(place)])
    site = next(place.glob("lib/python*/site-packages"))
    (site / "packages.pth").write_text({packages!r} + "\\n")
"""

ACTIVATE = 'export CONDA_PREFIX="$1"\nexport PATH="$1/bin:$PATH"\n'


def environment():
    """Each package of the environment file by its name on PyPI, as conda's own grammar reads it."""
    given = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    specs = [MatchSpec(item, strict=True) for item in given["dependencies"]]
    names = [spec.name.normalized for spec in specs]
    assert len(set(names)) == len(names)
    return {CONDA_NAMES.get(n, n): s for n, s in zip(names, specs, strict=True)}, given["channels"]


def declared():
    """What pyproject.toml asks for, to run the package and the workflow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["workflow"]
    return {canonicalize_name(r.name): r for r in map(Requirement, wanted)}


def pins():
    """The version of each package that ``make`` installs, with that of torch."""
    text = "".join((ROOT / f"requirements{part}.txt").read_text("utf-8") for part in ("", "-torch"))
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def admits(spec, version):
    return VersionSpec(str(spec.version)).matches(Version(version))


def test_the_environment_the_pins_and_the_package_agree():
    specs, _ = environment()
    assert set(specs) == {*declared(), "python", "pip"}
    for name, requirement in declared().items():
        version = pins()[name]
        assert admits(specs[name], version), f"{name} {version} is pinned"
        assert not admits(specs[name], f"{version}9"), f"{name} is not pinned in environment.yml"
        assert version in requirement.specifier


def test_the_environment_has_the_pythons_of_the_package():
    specs, _ = environment()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = SpecifierSet(project["requires-python"])
    for minor in (10, 11, 12, 13):
        assert admits(specs["python"], f"3.{minor}.1") == (f"3.{minor}.1" in wanted)


def test_the_channels_have_all_packages_in_the_order_that_bioconda_wants():
    # snakemake-minimal is on bioconda alone; nothing may come from the user's own channels
    assert environment()[1] == ["conda-forge", "bioconda", "nodefaults"]


def test_every_package_but_torch_has_hashes_for_all_its_files():
    for part in ("", "-dev", "-docs", "-slurm"):
        text = (ROOT / f"requirements{part}.txt").read_text(encoding="utf-8")
        entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
        bare = [e.split()[0] for e in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", e)]
        assert entries
        assert bare == []
        assert "://" not in text
        assert "make pins" in text.splitlines()[1]
    torch = (ROOT / "requirements-torch.txt").read_text(encoding="utf-8")
    assert re.findall(r"^\w.*", torch, re.M) == [
        f"{n}=={pins()[n]}" for n in ("torch", "torchvision")
    ]


def test_a_study_runs_with_use_conda(tmp_path):
    prefix = tmp_path / "conda"
    (prefix / "bin").mkdir(parents=True)
    packages = sysconfig.get_paths()["purelib"]
    conda = prefix / "bin" / "conda"
    conda.write_text(CONDA.format(python=sys.executable, prefix=str(prefix), packages=packages))
    conda.chmod(conda.stat().st_mode | stat.S_IEXEC)
    (prefix / "bin" / "activate").write_text(ACTIVATE)
    project = Project.create(tmp_path / "project", defense="krum", rounds=2, rounds_per_job=2)
    path = f"{prefix / 'bin'}:{project.environment['PATH']}"
    done = project.snakemake("--use-conda", PATH=path)
    assert "env create" in (prefix / "calls").read_text(), done.stdout
    table = pd.read_csv(project.folder / "results" / "tables" / "tiny" / "accuracy.csv")
    assert len(table) == 1
    # without conda there is nothing to do: the environment is not part of a result
    assert project.planned() == {}
