"""Packages that each script loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skymask

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SOURCE = Path(skymask.__file__).parents[1]

# compilers, and what only some methods and figures use
HEAVY = {
    "jsonschema",
    "matplotlib",
    "numba",
    "pandas",
    "pyarrow.dataset",
    "scipy",
    "sklearn",
    "torch",
    "torch._dynamo",
    "torch._inductor",
    "torchvision",
    "triton",
}
STUDY = {"jsonschema"}  # reads the study's file again
FIGURE = {*STUDY, "matplotlib", "pandas"}
NEEDED = {
    "accuracy_curves": FIGURE,
    "aggregate": {"torch"},
    "attack": {"torch"},
    "collect": set(),
    "collect_updates": set(),
    "data": STUDY,
    "evaluate": {"torch"},
    "experiments": STUDY,
    "heat_map": FIGURE,
    "initialise": {"torch"},
    "mask_geometry": FIGURE,
    "mask_layers": FIGURE,
    "mask_scatter": FIGURE,
    "overview": STUDY,
    "partition": set(),
    "rates": FIGURE,
    "span": {"torch"},
    "tables": {*STUDY, "pandas"},
    "train": {"torch"},
    "triggered_samples": {*STUDY, "matplotlib", "torch"},
}


def loaded(code):
    """The modules that a fresh interpreter holds after ``code``."""
    shown = f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')"
    run = {"capture_output": True, "text": True, "check": True, "timeout": 120}
    done = subprocess.run([sys.executable, "-c", shown], env={"PYTHONPATH": str(SOURCE)}, **run)
    return set(done.stdout.split())


def imports_of(script):
    tree = ast.parse((SCRIPTS / f"{script}.py").read_text(encoding="utf-8"))
    return "\n".join(
        ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    )


def test_every_script_says_what_it_needs():
    assert set(NEEDED) == {path.stem for path in SCRIPTS.glob("*.py")}


@pytest.fixture(scope="module")
def of_torch():
    """What torch itself loads, in whatever version."""
    return loaded("import torch")


@pytest.mark.parametrize("script", NEEDED)
def test_a_script_loads_what_it_needs_and_no_more(script, of_torch):
    found = loaded(imports_of(script)) & HEAVY
    allowed = NEEDED[script] | (of_torch & HEAVY if "torch" in NEEDED[script] else set())
    # matplotlib's and pandas' own
    allowed |= {"pyarrow.dataset", "scipy"} if "pandas" in NEEDED[script] else set()
    assert found <= allowed
    assert NEEDED[script] <= found, "say in NEEDED that it needs less"


@pytest.mark.parametrize("stage", ["train", "attack", "initialise"])
def test_a_stage_loads_no_defense(stage):
    found = loaded(imports_of(stage))
    assert not {name for name in found if name.startswith("skymask.defenses")}
    assert "skymask.federation.rounds" not in found
