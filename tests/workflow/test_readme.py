"""What the README tells a reader to do works as it stands."""

import re
import shutil

import pandas as pd
import pytest

from .harness import ROOT, Project

README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_after(mark):
    """The first Python block after a comment of the README."""
    return re.search(rf"<!-- {mark} -->\n```python\n(.*?)```", README, re.DOTALL)[1]


def code_in(section):
    """The indented Python block of a section."""
    text = README.split(f"### {section}\n")[1]
    block = re.search(r"   ```python\n(.*?)   ```", text, re.DOTALL)[1]
    return re.sub(r"^   ", "", block, flags=re.MULTILINE)


def test_the_library_example_runs_and_does_what_it_says(capsys):
    names = {}
    exec(code_after("test: library example"), names)
    assert names["result"].accepted.tolist() == (~names["malicious"]).tolist()
    assert names["result"].update.shape == (1000,)
    assert capsys.readouterr().out


def test_the_queries_run_on_a_study(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished.folder / "results", tmp_path / "results")
    (tmp_path / "results" / "tables" / "tiny").rename(tmp_path / "results" / "tables" / "digits")
    monkeypatch.chdir(tmp_path)
    exec(code_after("test: queries"), {})
    assert "skymask" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "kind", "name"),
    [("Add an attack", "attack", "overshoot"), ("Add a defense", "defense", "norm_filter")],
)
def test_a_new_method_is_one_file_and_its_entry(tmp_path, section, kind, name):
    project = Project.create(tmp_path / "project")
    package = f"src/skymask/{kind}s"
    (project.folder / package / f"{name}.py").write_text(code_in(section), encoding="utf-8")
    registry = f"{package}/__init__.py"
    first = {"attack": "from skymask.attacks.fang_trim", "defense": "from skymask.defenses.fedavg"}
    project.edit(registry, first[kind], f"from skymask.{kind}s.{name} import {name}\n{first[kind]}")
    opening = {"attack": '    "none": none,\n', "defense": '    "fedavg": fedavg,\n'}
    project.edit(registry, opening[kind], f'{opening[kind]}    "{name}": {name},\n')
    others = {"attack": {"defense": "fedavg"}, "defense": {"attack": "min_max"}}
    project.set_study(**{kind: [name]}, **others[kind])
    project.snakemake()
    table = pd.read_csv(project.folder / "results" / "tables" / "tiny" / "accuracy.csv")
    assert table[kind].tolist() == [name]
    assert table["accuracy_mean"].between(0, 1).all()


def test_every_method_of_the_registries_is_in_the_table():
    from skymask.attacks import ATTACKS, DATA_ATTACKS
    from skymask.data.partition import PARTITIONS
    from skymask.defenses import DEFENSES, PRE_AGGREGATORS

    table = README.split("## Methods")[1].split("### Add")[0]
    for name in (*ATTACKS, *DATA_ATTACKS, *DEFENSES, *PRE_AGGREGATORS, *PARTITIONS):
        assert f"`{name}`" in table
