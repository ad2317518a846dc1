"""Registries and fingerprints that are read from the source of the package."""

import inspect
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

import skymask
from skymask.attacks import ATTACKS, DATA_ATTACKS, TRIGGERS
from skymask.attacks.coordinates import attacked_coordinates
from skymask.contracts import RequirementError, violation
from skymask.data.datasets import DATASETS
from skymask.data.partition import PARTITIONS
from skymask.defenses import DEFENSES, PRE_AGGREGATORS
from skymask.jobs import fingerprint
from skymask.models.architectures import MODELS
from skymask.study import registry
from skymask.study.attack_rounds import attacks_in
from skymask.study.registry import option_entry

PACKAGE = Path(skymask.__file__).parent
REGISTRIES = {
    ("skymask.attacks", "ATTACKS"): ATTACKS,
    ("skymask.attacks", "DATA_ATTACKS"): DATA_ATTACKS,
    ("skymask.attacks", "TRIGGERS"): TRIGGERS,
    ("skymask.defenses", "DEFENSES"): DEFENSES,
    ("skymask.defenses", "PRE_AGGREGATORS"): PRE_AGGREGATORS,
    ("skymask.data.datasets", "DATASETS"): DATASETS,
    ("skymask.models.architectures", "MODELS"): MODELS,
    ("skymask.data.partition", "PARTITIONS"): PARTITIONS,
}
ENTRIES = [
    pytest.param(registry.registry(*place).get(name), function, id=f"{place[1]}-{name}")
    for place, functions in REGISTRIES.items()
    for name, function in functions.items()
]
OPTIONS = {"coordinates": attacked_coordinates, "attack_rounds": attacks_in}
ENTRIES += [pytest.param(option_entry(k), function, id=k) for k, function in OPTIONS.items()]


@pytest.mark.parametrize("place", REGISTRIES, ids=lambda place: place[1])
def test_a_registry_has_the_names_it_has_when_imported(place):
    assert list(registry.registry(*place)) == list(REGISTRIES[place])


@pytest.mark.parametrize(("entry", "function"), ENTRIES)
def test_an_entry_is_the_function_that_is_imported(entry, function):
    inner = inspect.unwrap(function)
    assert entry.module == inner.__module__
    parameters = inspect.signature(inner).parameters.values()
    optional = {p.name: p.default for p in parameters if is_parameter(p)}
    asked = {p.name for p in parameters if not is_parameter(p)}
    assert {p.name: p.default for p in entry.parameters.values()} == optional
    assert list(entry.parameters) == list(optional)
    assert entry.asks == asked
    assert entry.summary == inspect.getdoc(inner).split("\n\n")[0].replace("\n", " ")
    assert entry.facts == getattr(function, "facts", {})
    assert (entry.leaves is None) == (getattr(function, "leaves", None) is None)


def is_parameter(parameter):
    return parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty


@pytest.mark.parametrize(("entry", "function"), ENTRIES)
def test_the_kinds_and_choices_of_parameters_are_those_of_the_annotations(entry, function):
    annotations = inspect.get_annotations(inspect.unwrap(function))
    for parameter in entry.parameters.values():
        shown = annotations[parameter.name]
        shown = shown if isinstance(shown, str) else str(shown).replace("typing.", "")
        # a parameter with neither could not be checked in a study file
        assert parameter.kinds or parameter.choices
        for choice in parameter.choices:
            assert repr(choice) in shown.replace('"', "'")
        for kind in parameter.kinds:
            assert kind in shown
        if parameter.choices:
            assert parameter.default in parameter.choices


def candidates(entry, name):
    """Values of an argument of a requirement, among which some break it."""
    if name == "layers":
        return (None, ["bias"], [])
    if name in entry.parameters:
        parameter = entry.parameters[name]
        if "bool" in parameter.kinds:
            return (False, True)
        numbers = (-1, 0, 1, 2) if "int" in parameter.kinds else (-1, 0.0, 0.5, 1.0, 1.5, 2.0)
        return parameter.choices or (*numbers, parameter.default)
    usual = {
        "n": range(1, 13),
        "f": range(13),
        "clients": range(13),
        "classes": (10, 0),
        "attacker": (0, -1),
    }
    return {**usual, "shape": ((1, 3, 8), (1, 8, 3), (1, 9, 28), (64,), (16,))}[name]


USUAL = {
    "n": 100,
    "f": 0,
    "round_": 1,
    "shape": (1, 28, 28),
    "classes": 10,
    "clients": 100,
    "attacker": 0,
}


def broken(entry, given):
    """The requirements that a call does not meet in which all else is usual, in order."""
    known = {**USUAL, **{p.name: p.default for p in entry.parameters.values()}, **given}
    return [
        (r, values)
        for r in entry.requirements
        for values in [{name: known[name] for name in r.names}]
        if not r.condition(**values)
    ]


def breaking(entry, requirement):
    """The first such arguments that break the requirement, and no other if there are any."""
    values = product(*(candidates(entry, name) for name in requirement.names))
    every = (dict(zip(requirement.names, some, strict=True)) for some in values)
    # the server may assume more malicious clients than there are
    assumes = "assumed_malicious" in entry.asks
    possible = [given for given in every if assumes or given.get("f", 0) <= given.get("n", 12)]
    found = [given for given in possible if not requirement.condition(**given)]
    return min(found, key=lambda given: len(broken(entry, given)))


def call_of(function, given):
    """Arguments of a call of ``function`` in which only ``given`` matters."""
    given = {**USUAL, **given}
    n, f, vector = given["n"], given["f"], torch.zeros(2)
    usual = {
        "updates": torch.zeros(n, 2),
        "malicious": torch.arange(n) < f,
        "assumed_malicious": f,
        "clients": torch.arange(n),
        "global_parameters": vector,
        "server_update": vector,
        "features": torch.zeros(2, *given["shape"]),
        "labels": torch.zeros(2, dtype=torch.int64),
    }
    parameters = inspect.signature(function).parameters.values()
    required = {p.name: usual.get(p.name) for p in parameters if p.default is p.empty}
    # a study's number of clients is a defense's tensor of their numbers
    numbers = {key: v for key, v in given.items() if key != "clients" or "updates" not in required}
    return {**required, **{p.name: numbers[p.name] for p in parameters if p.name in numbers}}


@pytest.mark.parametrize(
    ("entry", "function"), [case for case in ENTRIES if case.values[0].requirements]
)
def test_a_requirement_is_the_one_that_a_call_meets(entry, function):
    for requirement in entry.requirements:
        given = breaking(entry, requirement)
        first, values = broken(entry, given)[0]
        with pytest.raises(RequirementError) as caught:
            function(**call_of(function, given))
        assert str(caught.value) == f"{function.__name__}: {violation(first.sentence, values)}"


@pytest.mark.parametrize(("entry", "function"), ENTRIES)
def test_every_requirement_of_the_source_is_read(entry, function):
    assert len(entry.requirements) == inspect.getsource(inspect.unwrap(function)).count(
        "@requires("
    )


def test_the_facts_of_a_data_set_are_read():
    facts = registry.registry("skymask.data.datasets", "DATASETS")["digits"].facts
    assert facts == {"shape": (1, 8, 8), "classes": 10, "train": 1437, "test": 360}


def test_imports_are_found_in_functions_too():
    assert fingerprint.imports("skymask.jobs.spans") == {
        f"skymask.{name}" for name in ("jobs.costs", "jobs.paths", "study.grid")
    }
    assert "skymask.masks.rule" in fingerprint.imports("skymask.defenses.skymask")
    assert "skymask.data.datasets.vision" in fingerprint.imports(
        "skymask.data.datasets.fashion_mnist"
    )
    assert fingerprint.imports("skymask.study.experiment") == {
        "skymask.models.loss_names",
        "skymask.study.attack_rounds",
    }
    assert fingerprint.imports("skymask.models.loss_names") == set()


def test_unknown_modules_and_registries_are_errors():
    with pytest.raises(KeyError, match=r"skymask\.nothing"):
        registry.tree("skymask.nothing")
    with pytest.raises(KeyError, match="NOTHING"):
        registry.registry("skymask.defenses", "NOTHING")
    assert registry.path_of("os.path") is None
    assert registry.path_of("skymask.defenses") == PACKAGE / "defenses" / "__init__.py"


def test_a_closure_does_not_follow_registries():
    found = fingerprint.closure("skymask.federation.aggregate", "skymask.defenses.krum")
    assert "skymask.defenses.krum" in found
    assert "skymask.numerics.distances" in found
    assert "skymask.defenses.skymask" not in found
    assert "skymask.masks.learning" not in found
    assert found == sorted(set(found))


# --- fingerprints, on a copy of the package ----------------------------------------------------

CACHES = [
    f
    for module in (registry, fingerprint)
    for f in vars(module).values()
    if hasattr(f, "cache_clear")
]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that :mod:`skymask.study.registry` reads instead of the real one."""
    copy = tmp_path / "skymask"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(registry, "ROOT", copy)
    forget()
    yield copy
    forget()


KINDS = ("dataset", "model", "partition", "attack", "defense", "pre-aggregator")


def forget():
    for cached in CACHES:
        cached.cache_clear()


def edit(package, path, old, new):
    text = (package / path).read_text(encoding="utf-8")
    assert text.count(old) >= 1
    (package / path).write_text(text.replace(old, new, 1), encoding="utf-8")
    forget()


AGGREGATE = {
    name: ("skymask.federation.aggregate", entry.module)
    for name, entry in registry.registry("skymask.defenses", "DEFENSES").items()
}


def aggregate_fingerprints():
    return {name: fingerprint.fingerprint(*modules) for name, modules in AGGREGATE.items()}


def changed_by_edit(package, path, old, new):
    before = aggregate_fingerprints()
    edit(package, path, old, new)
    after = aggregate_fingerprints()
    return {name for name in before if before[name] != after[name]}


def test_the_copy_has_the_fingerprint_of_the_original(package):
    copied = aggregate_fingerprints()
    registry.ROOT = PACKAGE  # undone by the fixture's monkeypatch
    forget()
    assert aggregate_fingerprints() == copied
    assert len(set(copied.values())) == len(copied)
    assert all(len(digits) == 12 and int(digits, 16) >= 0 for digits in copied.values())


def test_an_edit_of_one_defense_changes_that_defense_only(package):
    changed = changed_by_edit(package, "defenses/krum.py", "len(updates) -", "len(updates) - 0 -")
    assert changed == {"krum", "gas"}


def test_an_edit_of_a_constant_changes_all_that_depends_on_it(package):
    changed = changed_by_edit(package, "numerics/distances.py", "1e-300", "1e-299")
    assert {"krum", "fltrust", "skymask"} <= changed
    changed = changed_by_edit(
        package, "federation/aggregate.py", "def aggregate(", "def aggregate_("
    )
    assert changed == set(AGGREGATE)


def test_an_edit_of_a_decorator_changes_the_fingerprint(package):
    old = "@requires(lambda n, f: n >= f + 3"
    assert changed_by_edit(package, "defenses/krum.py", old, old[:-1] + "4") == {"krum", "gas"}


def test_a_new_entry_in_a_registry_changes_no_other(package):
    (package / "defenses/median.py").write_text("def median(updates):\n    return updates\n")
    old = "from skymask.defenses.krum import krum\n"
    edit(package, "defenses/__init__.py", old, old + "from skymask.defenses.median import median\n")
    before = aggregate_fingerprints()
    edit(
        package,
        "defenses/__init__.py",
        '    "krum": krum,\n',
        '    "krum": krum,\n    "median": median,\n',
    )
    assert list(registry.registry("skymask.defenses", "DEFENSES")).count("median") == 1
    assert aggregate_fingerprints() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Krum."""', '"""Another text."""'),
        ('"""Krum."""', "# a comment\n\n\n"),
        ("@requires(", "\n\n# a comment\n@requires("),
        ("    scores = ", "\n    # what it means\n    scores = "),
        (
            "updates: Tensor, assumed_malicious: int)",
            "\n    updates: Tensor,\n    assumed_malicious: int,\n)",
        ),
        ("Keep the update", "Retain the update"),
    ],
)
def test_comments_docstrings_and_layout_do_not_matter(package, old, new):
    assert changed_by_edit(package, "defenses/krum.py", old, new) == set()


def test_a_docstring_as_the_only_statement_does_not_matter(package):
    path = "data/datasets/arrays.py"
    before = fingerprint.fingerprint("skymask.data.datasets.arrays")
    edit(package, path, "is missing or damaged", "is not there")
    assert fingerprint.fingerprint("skymask.data.datasets.arrays") == before
    edit(package, path, "class DataError(ValueError)", "class DataError(OSError)")
    assert fingerprint.fingerprint("skymask.data.datasets.arrays") != before


def test_a_text_that_is_no_docstring_matters(package):
    changed = changed_by_edit(package, "defenses/krum.py", "krum needs n", "Krum needs n")
    assert changed == {"krum", "gas"}


def test_an_entry_that_cannot_be_read_says_how_to_write_it(package):
    edit(package, "defenses/__init__.py", '"krum": krum', '"krum": lambda updates: updates')
    with pytest.raises(ValueError, match="DEFENSES") as caught:
        registry.registry("skymask.defenses", "DEFENSES")
    assert 'as "name": function' in str(caught.value)
    assert "__init__.py, line " in str(caught.value)


def test_a_new_method_is_read_from_its_source_alone(package):
    (package / "defenses/clipped.py").write_text(
        "import a_module_that_nobody_has\n"
        "from skymask.contracts import requires\n"
        "@requires(lambda n, f: n > f, 'clipped needs n > f')\n"
        "@requires(lambda radius: radius > 0, 'radius must be positive')\n"
        "def clip(updates, server_update=None, *, loss, radius: float | None = 1.5):\n"
        '    """Clip and\n    average.\n\n    More."""\n',
        encoding="utf-8",
    )
    old = "from skymask.defenses.krum import krum\n"
    edit(
        package,
        "defenses/__init__.py",
        old,
        old + "from skymask.defenses.clipped import clip as cut\n",
    )
    edit(package, "defenses/__init__.py", '    "krum": krum,\n', '    "clipped": cut,\n')
    entry = registry.registry("skymask.defenses", "DEFENSES")["clipped"]
    assert (entry.name, entry.module) == ("clipped", "skymask.defenses.clipped")
    assert entry.asks == {"updates", "server_update", "loss"}
    radius = entry.parameters["radius"]
    assert (radius.default, radius.kinds, radius.choices) == (1.5, {"float", "None"}, ())
    assert [r.sentence for r in entry.requirements] == [
        "clipped needs n > f",
        "radius must be positive",
    ]
    assert entry.summary == "Clip and average."


# --- what the Snakefile imports -----------------------------------------------------------------

HEAVY = ("torch", "torchvision", "pandas", "pyarrow", "sklearn", "matplotlib", "numpy", "scipy")


def test_the_snakefile_imports_nothing_slow():
    light = [
        "contracts",
        "artifacts.atomic",
        "jobs.costs",
        "jobs.fingerprint",
        "jobs.locks",
        "jobs.resources",
        "jobs.resume",
        "jobs.slurm",
        "jobs.spans",
        "reporting.console",
        "reporting.outputs",
        "reporting.published",
        "study.constraints",
        "study.experiment",
        "study.grid",
        "study.load",
        "study.methods",
        "study.registry",
        "study.validation",
    ]
    code = (
        "import sys\n"
        + "".join(f"import skymask.{module}\n" for module in light)
        + "from skymask.study.methods import parameters_model\n"
        + "from skymask.study.registry import OPTIONS, entries, option_entry\n"
        + "assert all(option_entry(option).parameters for option in OPTIONS)\n"
        + f"for kind in {KINDS}: assert [parameters_model(kind, name) for name in entries(kind)]\n"
        + f"print(*[name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


# what changed between versions of Python: f-strings, patterns, groups of exceptions
SYNTAX = '''
"""A module."""
import os as o
from a.b import (c, d as e)
X: int = 0x10_00
def f(a, /, b: str = "é\\u2028", *args, c=1.5e300, **kw) -> None:
    """Docstring."""
    async def g():
        """Only this."""
    return f"{a!r:>{b}} {a=} {{}}" "tail" rf"\\d{c:.{2}f}" if (n := len(a)) else -1j
class C(B, metaclass=M):
    """Text."""
    x = [i for i in range(3) if i for j in i]
    def m(self): return lambda *a: (yield)
match o:
    case {"k": [1, *rest], **more} | C(x=1) if rest: pass
    case _: ...
try:
    with a as b, c: del b[1:2, ::3]
except* ValueError as error: raise X from error
assert a @ b < c is not None, b"bytes"
'''


def test_every_version_of_python_gives_the_same_fingerprint(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SYNTAX, encoding="utf-8")
    # computed with Python 3.11.7, 3.12.1 and 3.13.0
    assert fingerprint.fingerprint(script=path) == "33f88129ccd7"
