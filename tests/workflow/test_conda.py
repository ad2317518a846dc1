"""The conda route: the environment file agrees with the pins, and the rules run inside it.

No channel is reached: a stand-in for ``conda`` answers the few calls that Snakemake makes and
creates a virtual environment instead.  It proves paths and the package's place, not the solving.
"""

import re
import stat
import sys
import sysconfig

import pandas as pd
import yaml

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


def test_the_environment_and_the_pins_agree():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M))
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    exact = dict(item.split("=") for item in environment["dependencies"] if item.count("=") == 1)
    exact = {
        CONDA_NAMES.get(name, name): version
        for name, version in exact.items()
        if "<" not in version
    }
    for name in ("PyYAML", "Pygments"):
        exact[name] = exact.pop(name.lower())
    assert {name: pins[name] for name in exact} == exact
    wanted = re.findall(r'^    "([\w-]+)[>"]', (ROOT / "pyproject.toml").read_text(), re.M)
    declared = {name.lower() for name in exact}
    needed = wanted[: wanted.index("torchvision") + 1]
    assert {name.lower() for name in needed} <= declared


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
