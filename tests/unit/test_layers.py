"""The floors of the package: a module imports from strictly lower floors only."""

import ast
import sys
from pathlib import Path

import pytest

import skymask
from skymask import source

PACKAGE = Path(skymask.__file__).parent
SCRIPTS = sorted((Path(__file__).parents[2] / "workflow" / "scripts").glob("*.py"))

FLOORS = {
    "skymask": 0,
    # 1: what a run is, files, vectors, seeds
    "skymask.columns": 1,
    "skymask.contracts": 1,
    "skymask.density": 1,
    "skymask.compiled": 1,
    "skymask.experiment": 1,
    "skymask.background": 1,
    "skymask.files": 1,
    "skymask.blocks": 1.05,
    "skymask.device_memory": 1,
    "skymask.block_kernel": 1.04,
    "skymask.order_kernel": 1.1,
    "skymask.order_statistics": 1.2,
    "skymask.geometry": 1.1,
    "skymask.installed": 1,
    "skymask.parallel": 1,
    "skymask.parameters": 1,
    "skymask.seal": 1,
    "skymask.seeds": 1,
    "skymask.source": 1,
    "skymask.artifacts": 1.1,
    "skymask.backdoor": 1.1,
    "skymask.fine_grained": 1.1,
    "skymask.logs": 1,
    "skymask.round_log": 1,
    "skymask.terminal": 1.1,
    "skymask.objective": 1.1,
    "skymask.sample_artifacts": 1.2,
    "skymask.tensor_artifacts": 1.3,
    # 2: models, data, studies and what is made of their results
    "skymask.pooled_kernel": 1.1,
    "skymask.pooled_convolution": 1.2,
    "skymask.residual": 1.2,
    "skymask.models": 2,
    "skymask.partition": 2,
    "skymask.datasets.arrays": 2,
    "skymask.datasets.vision": 2,
    "skymask.datasets.*": 2.1,
    "skymask.datasets": 2.2,
    "skymask.study_values": 1.6,
    "skymask.study_methods": 1.7,
    "skymask.study_checks": 1.8,
    "skymask.study_scale": 1.7,
    "skymask.clusters": 1,
    "skymask.costs": 2,
    "skymask.study": 2.1,
    "skymask.plan": 2.2,
    "skymask.jobs": 2.2,
    "skymask.resources": 2.1,
    "skymask.slurm_jobs": 1,
    "skymask.resume": 2.3,
    "skymask.published": 2.15,
    "skymask.table_text": 2,
    "skymask.published_table": 2.25,
    "skymask.significance": 2.25,
    "skymask.captions": 2.27,
    "skymask.figures": 2.3,
    "skymask.figures.style": 2.3,
    "skymask.figures.curves": 2.4,
    "skymask.figures.heat_map": 2.6,
    "skymask.figures.masks": 2.4,
    "skymask.figures.rates": 2.6,
    "skymask.table_files": 2.25,
    "skymask.tables": 2.3,
    "skymask.summary": 2,
    "skymask.timings": 2.3,
    "skymask.job_graph": 2.6,
    "skymask.overview": 2.7,
    "skymask.overview_facts": 2.6,
    "skymask.closing": 2.65,
    "skymask.publish": 2.7,
    "skymask.status": 2.6,
    "skymask.trace": 2.7,
    "skymask.trace_files": 2.6,
    "skymask.cli": 2.8,
    # 3: training, mask learning, evaluation
    "skymask.evaluation": 3,
    "skymask.mask_kernel": 2.9,
    "skymask.mask_kernel_triton": 2.9,
    "skymask.mask_steps": 2.95,
    "skymask.masks": 3,
    "skymask.stacked_training": 2.9,
    "skymask.training": 3,
    "skymask.verdicts": 3.1,
    # 4: the methods
    "skymask.attacks.crafting": 4,
    "skymask.defenses.aggregation": 4,
    "skymask.defenses.clipping": 4.05,
    "skymask.defenses.memory": 4,
    "skymask.defenses.mixture": 4,
    "skymask.attacks.*": 4.1,
    "skymask.defenses.*": 4.1,
    "skymask.attacks": 4.2,
    "skymask.defenses": 4.2,
    "skymask.figures.triggers": 4.3,
    # 5: the stages of a round, and a run's files
    "skymask.rounds": 5,
    "skymask.rounds.federation": 5,
    "skymask.rounds.attack": 5.1,
    "skymask.rounds.train": 5.1,
    "skymask.rounds.defend": 5.05,
    "skymask.rounds.aggregate": 5.1,
    "skymask.rounds.evaluate": 5.1,
    "skymask.rounds.progress": 5,
    "skymask.rounds.records": 5.2,
    "skymask.rounds.timing": 5,
    "skymask.rounds.loop": 5.3,
    "skymask.run_artifacts": 5.4,
}
"""A ``*`` stands for the other modules of a folder: a new method needs no new line here."""

STAGES = ["train", "attack", "aggregate", "evaluate"]


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def floor(module):
    """The floor of a module, which somebody must have given it."""
    name = module if module in FLOORS else f"{module.rpartition('.')[0]}.*"
    assert name in FLOORS, f"{module} has no floor: enter it in FLOORS"
    return FLOORS[name]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_rests_on_lower_floors(module):
    own = floor(module)
    assert [other for other in source.imports(module) if floor(other) >= own] == []


def test_every_floor_is_of_a_module_that_exists():
    assert {name for name in FLOORS if not name.endswith(".*")} <= set(MODULES)
    assert len(MODULES) > 40


@pytest.mark.parametrize("stage", STAGES)
def test_the_stages_know_nothing_of_files_or_the_workflow(stage):
    rests_on = source.closure(f"skymask.rounds.{stage}")
    outside = (
        "artifacts",
        "sample_artifacts",
        "tensor_artifacts",
        "run_artifacts",
        "files",
        "study",
        "plan",
        "jobs",
    )
    assert not {f"skymask.{name}" for name in outside} & set(rests_on)
    others = {f"skymask.rounds.{other}" for other in STAGES if other != stage}
    assert not others & set(rests_on)


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_written_so_that_they_can_be_read(module):
    # source.imports, and so every fingerprint, would overlook the others
    for node in ast.walk(source.tree(module)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            assert all(alias.name != "*" for alias in node.names)
        if isinstance(node, ast.Name | ast.alias):
            name = node.id if isinstance(node, ast.Name) else node.name
            assert name not in {"__import__", "importlib", "import_module"}, module


@pytest.mark.parametrize("path", [*MODULES.values(), *SCRIPTS], ids=lambda path: path.stem)
def test_no_module_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def imported(node):
    """The packages that are imported below ``node``, not counting those for type checks."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return set()
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module.split(".")[0] if node.level == 0 else "."}
    return {name for child in ast.iter_child_nodes(node) for name in imported(child)}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_import_from_the_package_only(path):
    found = imported(ast.parse(path.read_text(encoding="utf-8")))
    assert found - set(sys.stdlib_module_names) <= {"skymask", "pyarrow"}
    assert "skymask" in found


def test_there_are_scripts():
    assert len(SCRIPTS) >= 10
