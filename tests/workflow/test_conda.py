"""A study with ``--use-conda``.

A stand-in for ``conda`` answers the few calls that Snakemake makes, and creates a virtual
environment instead, so no channel is reached.  It tests paths and where the package is imported
from, not what conda installs.
"""

import stat
import sys
import sysconfig

import pandas as pd

from .harness import Project

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
    table = pd.read_csv(project.tables() / "accuracy.csv")
    assert len(table) == 1
    # without conda nothing runs again: the environment is not part of a result
    assert project.planned() == {}
