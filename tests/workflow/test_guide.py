"""Examples of the guide that need a study or change the project."""

import re
import shutil
import textwrap

import pandas as pd
import pytest

from tests.repository.test_examples import example

from .harness import ROOT, Project


def test_the_queries_run_on_a_study(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished.folder / "results", tmp_path / "results")
    (tmp_path / "results" / "tables" / "tiny").rename(tmp_path / "results" / "tables" / "digits")
    monkeypatch.chdir(tmp_path)
    exec(example("docs/reference/artifacts.rst", "test: queries"), {})
    assert "skymask" in capsys.readouterr().out


def code_in(section):
    """Return the indented block of Python in a section of the page about extensions."""
    text = (ROOT / "docs/guide/extending.md").read_text(encoding="utf-8")
    block = re.search(r"   ```python\n(.*?)   ```", text.split(f"## {section}\n")[1], re.DOTALL)
    return textwrap.dedent(block[1])


EXTENSIONS = {
    "attack": ("Add an attack", "attacks", "overshoot", "none", {"defense": "fedavg"}),
    "defense": ("Add a defense", "defenses", "norm_filter", "fedavg", {"attack": "min_max"}),
    "dataset": ("Add a data set", "data/datasets", "blobs", "digits", {"defense": "krum"}),
}


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_an_extension_is_one_file_and_its_entry(tmp_path, kind):
    section, folder, name, first, others = EXTENSIONS[kind]
    project = Project.create(tmp_path / "project")
    package, module = f"src/skymask/{folder}", f"skymask.{folder.replace('/', '.')}"
    (project.folder / package / f"{name}.py").write_text(code_in(section), encoding="utf-8")
    for old in (f"from {module}.{first} import {first}\n", f'    "{first}": {first},\n'):
        project.edit(f"{package}/__init__.py", old, old + old.replace(first, name))
    project.set_study(**{kind: [name]}, **others)
    project.snakemake()
    table = pd.read_csv(project.tables() / "accuracy.csv")
    assert table["accuracy_mean"].between(0, 1).all()
    if kind != "dataset":
        assert table[kind].tolist() == [name]
