"""The provenance of jobs: what changes it and what does not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from skymask.jobs.provenance import MODULES, Stages
from skymask.study.grid import read

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
STUDY = read(
    {
        "study": "s",
        "dataset": "digits",
        "model": "mlp",
        "clients": 12,
        "attack": "min_max",
        "defense": "krum",
        "rounds": 6,
        "local_lr": 0.1,
        "final_evaluations": 1,
    }
)
(CELL,) = STUDY.runs.values()
RUN = CELL.experiment


@pytest.fixture
def scripts(tmp_path):
    """A copy of the scripts; ``edited(name)`` is one of them after a change."""
    return shutil.copytree(SCRIPTS, tmp_path / "scripts")


def stages(folder, staged=False):
    return Stages(lambda name: folder / f"{name}.py", staged)


def jobs(folder, staged):
    """The provenance of all jobs of a run of two rounds or spans, by a name."""
    made = stages(folder, staged)
    found = {"data": made.data("digits"), "partition": made.partition(RUN)}
    if staged:
        found["initialise"] = made.stage(RUN, "initialise", 0)
        found |= {
            f"{name} {round_}": made.stage(RUN, name, round_)
            for round_ in (1, 2)
            for name in ("train", "attack", "aggregate", "evaluate")
        }
    else:
        found["span 1"] = made.span(RUN, 1, 3, [])
        found["span 2"] = made.span(RUN, 4, 6, [])
    found["collect"] = made.collected(RUN, 6)
    found["updates"] = made.collected_updates(RUN, [2])
    found["tables"] = made.of_study("tables", [found["collect"]], study="s")
    return found


def changed(folder, staged, script):
    before = jobs(folder, staged)
    path = folder / f"{script}.py"
    path.write_text(path.read_text().replace("with logged(", "x = 42\nwith logged("))
    edited = folder.parent / "edited"
    shutil.copytree(folder, edited)
    after = jobs(edited, staged)
    return {name for name in before if before[name] != after[name]}


LATER = {"collect", "updates", "tables"}
ROUND_2 = {"train 2", "attack 2", "aggregate 2", "evaluate 2"}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("partition", {"partition", "span 1", "span 2", *LATER}),
        ("span", {"span 1", "span 2", *LATER}),
        ("collect", {"collect", "tables"}),
        ("tables", {"tables"}),
        ("train", set()),
    ],
)
def test_an_edit_changes_what_comes_after(scripts, script, expected):
    assert changed(scripts, False, script) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("initialise", {"initialise", "train 1", "attack 1", "aggregate 1", "evaluate 1"}),
        ("train", {"train 1", "attack 1", "aggregate 1", "evaluate 1"}),
        ("attack", {"attack 1", "aggregate 1", "evaluate 1"}),
        ("aggregate", {"aggregate 1", "evaluate 1"}),
    ],
)
def test_an_edit_of_a_stage_changes_all_of_the_next_round(scripts, script, expected):
    assert changed(scripts, True, script) == expected | ROUND_2 | LATER


def test_an_edit_of_the_evaluation_changes_no_model(scripts):
    expected = {"evaluate 1", "evaluate 2", "collect", "tables"}
    assert changed(scripts, True, "evaluate") == expected


def test_comments_and_docstrings_change_nothing(scripts):
    before = jobs(scripts, False)
    edited = shutil.copytree(scripts, scripts.parent / "commented")
    for path in edited.glob("*.py"):
        path.write_text(f'"""Another text."""\n# why\n{path.read_text().partition(chr(10))[2]}')
    assert jobs(edited, False) == before


def test_a_longer_run_keeps_its_spans():
    made = stages(SCRIPTS)
    assert made.collected(RUN, 6) != made.collected(RUN, 7)
    assert made.span(RUN, 1, 3, []) == made.span(RUN, 1, 3, [])
    assert made.span(RUN, 1, 3, []) != made.span(RUN, 1, 3, [2])
    assert made.span(RUN, 1, 3, []) != made.span(RUN, 2, 3, [])


@pytest.mark.parametrize(
    "changes", [{"training_seed": 2}, {"data_seed": 2}, {"local_lr": 0.2}, {"clients": 13}]
)
def test_runs_differ(changes):
    made, other = stages(SCRIPTS), replace(RUN, **changes)
    assert made.span(RUN, 1, 3, []) != made.span(other, 1, 3, [])
    assert made.collected(RUN, 6) != made.collected(other, 6)


def test_every_script_has_its_modules():
    assert {path.stem for path in SCRIPTS.glob("*.py")} == set(MODULES)
