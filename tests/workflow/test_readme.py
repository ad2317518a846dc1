"""Tests of the examples in the README and the guide."""

import re
import shutil
import textwrap

import pandas as pd
import pytest

from .harness import ROOT, Project


def block_after(file, mark, language="python"):
    """The first block of code after a comment."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith(".rst"):
        block = re.search(
            rf"\.\. {mark}\n\n\.\. code-block:: {language}\n\n((?:   .*\n|\n)*)", text
        )
        return textwrap.dedent(block[1])
    return re.search(rf"<!-- {mark} -->\n```{language}\n(.*?)```", text, re.DOTALL)[1]


def code_in(section):
    """The indented Python block of a section of the guide."""
    text = (
        (ROOT / "docs/guide/extending.md").read_text(encoding="utf-8").split(f"## {section}\n")[1]
    )
    block = re.search(r"   ```python\n(.*?)   ```", text, re.DOTALL)[1]
    return textwrap.dedent(block)


def test_the_library_example_runs_and_does_what_it_says(capsys):
    names = {}
    exec(block_after("README.md", "test: library example"), names)
    assert names["result"].accepted.tolist() == (~names["malicious"]).tolist()
    assert names["result"].update.shape == (1000,)
    assert capsys.readouterr().out


def test_the_example_of_several_rounds_runs(capsys):
    names = {}
    exec(block_after("docs/guide/python.md", "test: rounds example"), names)
    assert names["result"].accepted.shape == (20,)
    assert names["parameters"].isfinite().all()
    assert capsys.readouterr().out


def test_the_queries_run_on_a_study(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished.folder / "results", tmp_path / "results")
    (tmp_path / "results" / "tables" / "tiny").rename(tmp_path / "results" / "tables" / "digits")
    monkeypatch.chdir(tmp_path)
    exec(block_after("docs/reference/artifacts.rst", "test: queries"), {})
    assert "skymask" in capsys.readouterr().out


EXTENSIONS = {
    "attack": ("Add an attack", "attacks", "overshoot", "none", {"defense": "fedavg"}),
    "defense": ("Add a defense", "defenses", "norm_filter", "fedavg", {"attack": "min_max"}),
    "dataset": ("Add a data set", "data/datasets", "blobs", "digits", {"defense": "krum"}),
}


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_an_extension_is_one_file_and_its_entry(tmp_path, kind):
    section, folder, name, first, others = EXTENSIONS[kind]
    project = Project.create(tmp_path / "project")
    package = f"src/skymask/{folder}"
    (project.folder / package / f"{name}.py").write_text(code_in(section), encoding="utf-8")
    registry, module = f"{package}/__init__.py", f"skymask.{folder.replace('/', '.')}"
    neighbour = f"from {module}.{first} import {first}\n"
    project.edit(registry, neighbour, f"{neighbour}from {module}.{name} import {name}\n")
    project.edit(
        registry, f'    "{first}": {first},\n', f'    "{first}": {first},\n    "{name}": {name},\n'
    )
    project.set_study(**{kind: [name]}, **others)
    project.snakemake()
    table = pd.read_csv(project.folder / "results" / "tables" / "tiny" / "accuracy.csv")
    assert table["accuracy_mean"].between(0, 1).all()
    if kind != "dataset":
        assert table[kind].tolist() == [name]
