"""Packages that each script loads."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import skymask

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SOURCE = Path(skymask.__file__).parents[1]

# slow to load, and needed by some methods and figures only
HEAVY = {
    "matplotlib",
    "numba",
    "pandas",
    "pyarrow.dataset",
    "pydantic",
    "scipy",
    "sklearn",
    "torch",
    "torch._dynamo",
    "torch._inductor",
    "torchvision",
    "triton",
}
STUDY = {"pydantic"}  # checks the study again
NEEDED = {
    "aggregate": {"torch"},
    "attack": {"torch"},
    "collect": set(),
    "collect_updates": set(),
    "data": STUDY,
    "evaluate": {"torch"},
    "experiments": STUDY,
    "figure": STUDY,
    "initialise": {"torch"},
    "overview": {*STUDY, "pandas"},
    "partition": set(),
    "span": {"torch"},
    "tables": {*STUDY, "pandas"},
    "train": {"torch"},
}
FIGURE = {*STUDY, "matplotlib", "pandas"}
# the script imports the module of its figure
FIGURES = {
    "accuracy_curves": FIGURE,
    "heat_map": FIGURE,
    "mask_geometry": FIGURE,
    "mask_layers": FIGURE,
    "mask_scatter": FIGURE,
    "rates": FIGURE,
    "triggered_samples": {*STUDY, "matplotlib", "torch"},
}


@cache
def loaded(code):
    """List the modules that a fresh interpreter has loaded after ``code``."""
    shown = f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')"
    run = {"capture_output": True, "text": True, "check": True, "timeout": 600}
    done = subprocess.run([sys.executable, "-c", shown], env={"PYTHONPATH": str(SOURCE)}, **run)
    return set(done.stdout.split())


def imports_of(script):
    tree = ast.parse((SCRIPTS / f"{script}.py").read_text(encoding="utf-8"))
    return "\n".join(
        ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    )


def test_every_script_is_listed():
    assert set(NEEDED) == {path.stem for path in SCRIPTS.glob("*.py")}


def check_loaded(code, needed):
    found = loaded(code) & HEAVY
    # what torch itself loads differs from version to version
    allowed = needed | (loaded("import torch") & HEAVY if "torch" in needed else set())
    # matplotlib and pandas load these
    allowed |= {"pyarrow.dataset", "scipy"} if "pandas" in needed else set()
    assert found <= allowed
    assert needed <= found, "remove from the list what is no longer loaded"


@pytest.mark.parametrize("script", NEEDED)
def test_a_script_loads_what_it_needs_and_no_more(script):
    check_loaded(imports_of(script), NEEDED[script])


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_loads_what_it_needs_and_no_more(figure):
    check_loaded(f"import skymask.reporting.figures.{figure}", FIGURES[figure])


@pytest.mark.parametrize("stage", ["train", "attack", "initialise"])
def test_a_stage_loads_no_defense(stage):
    found = loaded(imports_of(stage))
    assert not {name for name in found if name.startswith("skymask.defenses")}
    assert "skymask.federation.rounds" not in found
