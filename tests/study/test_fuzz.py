"""Study files with random content: each gives a study or a StudyError, within seconds.

SKYMASK_EXAMPLES=20000 tries more.
"""

from datetime import date, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skymask import cli
from skymask.study import grid, load
from skymask.study.experiment import Experiment
from skymask.study.model import StudyFile
from skymask.study.registry import entries

SCHEMA = list(StudyFile.model_fields)
KINDS = ("attack", "defense", "partition", "pre-aggregator")
VALID = {
    "study": "fuzz",
    "dataset": "digits",
    "model": "mlp",
    "clients": 12,
    "malicious_share": 0.25,
    "attack": "min_max",
    "defense": "krum",
    "rounds": 10,
    "final_evaluations": 1,
    "local_lr": 0.3,
}

NAMES = sorted(
    {"label_bias", "attack", "defense", *VALID, *SCHEMA}
    | {name for kind in (*KINDS, "dataset", "model") for name in entries(kind)}
)
PARAMETERS = sorted(
    {"name", "coordinates", "share", "pick", "layers", "bias", "alpha"}
    | {p for kind in KINDS for e in entries(kind).values() for p in e.parameters}
)

texts = st.sampled_from(NAMES) | st.text(max_size=8) | st.sampled_from(["1e7", "nan", "auto", "-"])
numbers = (
    st.integers(-3, 30)
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 0.5, 1e308, -0.0])
    | st.floats()
)
# what YAML can say without a type of Python's own
scalars = (
    st.none()
    | st.booleans()
    | numbers
    | texts
    | st.binary(max_size=3)
    | st.dates(date(1, 1, 1))
    | st.datetimes(datetime(1, 1, 1))
    | st.sets(st.integers(0, 3), max_size=2)
)
keys = st.sampled_from(PARAMETERS) | texts | st.integers() | st.none() | st.booleans() | st.dates()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(st.sampled_from(PARAMETERS), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def methods(draw, key):
    """A method of that kind as a study could write it, its parameters more or less right."""
    name, entry = draw(st.sampled_from(sorted(entries(key).items())))
    known = sorted(entry.parameters)
    chosen = st.dictionaries(st.sampled_from(known or ["x"]), numbers | texts | values, max_size=2)
    method = {"name": name, **draw(chosen)}
    if draw(st.integers(0, 3)) == 0:
        method["coordinates"] = draw(
            values | st.fixed_dictionaries({}, optional={"share": numbers, "layers": values})
        )
    return draw(st.just(method) | st.just(name))


of_keys = {
    "attack": methods("attack"),
    "partition": methods("partition"),
    "defense": methods("defense")
    | st.lists(methods("pre-aggregator") | methods("defense"), min_size=1, max_size=3),
    "paired": st.lists(st.lists(st.sampled_from(sorted(SCHEMA)), max_size=3), max_size=3),
    "exclude": st.lists(st.dictionaries(st.sampled_from(sorted(SCHEMA)), values, max_size=2)),
    "small": st.dictionaries(st.sampled_from(sorted(SCHEMA)), values, max_size=3),
    "scale": st.sampled_from(["full", "small"]),
}
axes = {key: st.lists(value, max_size=3) | value for key, value in of_keys.items()}
changes = st.fixed_dictionaries(
    {},
    optional={key: axes.get(key, numbers) | values for key in SCHEMA},
)


def check_message(refused):
    assert refused.problems
    assert str(refused).startswith("fuzz.yaml: ")
    assert all(isinstance(problem, str) and problem.strip() for problem in refused.problems)


def read(config):
    """Read ``config``: a study that holds together, or None with a message that can be acted on."""
    try:
        found = load.from_config(config, "fuzz.yaml")
    except grid.StudyError as refused:
        check_message(refused)
        return None
    assert found.cells
    for cell in found.cells:
        # an accepted experiment can be written, and read back as the same run
        assert Experiment.from_json(cell.experiment.to_json()).run == cell.experiment.run
    assert found.runs
    return found


further = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@further
@given(changes)
def test_valid_keys_with_any_values(change):
    read({**VALID, **change})


@further
@given(st.sampled_from(sorted(SCHEMA)), st.data())
def test_one_key_changed(key, data):
    read({**VALID, key: data.draw(axes.get(key, numbers) | values)})


@further
@given(st.dictionaries(keys, values, max_size=6))
def test_any_mapping(config):
    assert read(config) is None


def nested(depth, make):
    value = 1
    for _ in range(depth):
        value = make(value)
    return value


def endless():
    value: list = []
    value.append(value)
    return value


MANY = list(range(3000))
MORE = list(range(1, 3001))
TOO_MANY = {
    "a million cells": (
        {"data_seed": [*range(1000)], "training_seed": [*range(1000)]},
        "the grid: its lists have 1000000 combinations, more than the 50000 cells of a grid",
    ),
    "parameters": (
        {"attack": {"name": "min_max", "tolerance": MANY, "perturbation": MANY}},
        "attack min_max: its lists have 9000000 combinations",
    ),
    "coordinates": (
        {"attack": {"name": "min_max", "coordinates": {"share": MANY, "pick": MANY}}},
        "attack min_max.coordinates: its lists have 9000000 combinations",
    ),
    "a composition": (
        {"defense": [[{"name": "norm_clip", "radius": MORE}, {"name": "multi_krum", "m": MORE}]]},
        "defense: its lists have 9000000 combinations",
    ),
    "a list in itself": ({"attack": endless()}, "does an alias (*name) of YAML contain itself?"),
    "a small scale in itself": (
        {"scale": "small", "small": {"attack": endless()}},
        "does an alias (*name) of YAML contain itself?",
    ),
    "aliases of aliases": (
        {"rounds": nested(9, lambda value: [value] * 10)},
        "the file has more than 100000 values",
    ),
    "deep lists": ({"exclude": nested(5000, lambda value: [value])}, "lists nested 30 deep"),
    "deep mappings": ({"small": nested(5000, lambda v: {"name": v})}, "lists nested 30 deep"),
    "thousands of digits": (
        {"rounds": 10**5000},
        "rounds: a value of thousands of digits must fit into 64 bits",
    ),
    "a parameter of thousands of digits": (
        {"defense": {"name": "dnc", "iterations": 10**5000}},
        "defense dnc.iterations: a value of thousands of digits must fit into 64 bits",
    ),
    "a number of thousands of digits": (
        {"local_lr": 10**5000},
        "local_lr: a value of thousands of digits must fit into 64 bits",
    ),
}


@pytest.mark.parametrize(("change", "expected"), TOO_MANY.values(), ids=TOO_MANY)
def test_too_many_values_are_refused_before_they_are_combined(change, expected):
    with pytest.raises(grid.StudyError) as error:
        load.from_config({**VALID, **change}, "fuzz.yaml")
    assert expected in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_study_of_many_values_is_read():
    found = read({**VALID, "data_seed": [*range(2000)]})
    assert len(found.cells) == 2000


def test_a_value_given_twice_is_refused():
    with pytest.raises(grid.StudyError, match=r"attack: 'min_max' is given twice"):
        load.from_config({**VALID, "attack": ["min_max", "none", {"name": "min_max"}]})
    with pytest.raises(grid.StudyError, match=r"local_lr: 1.0 is given twice"):
        load.from_config({**VALID, "local_lr": [1, "1.0"]})


NOT_YAML = [
    b"",
    b"\xff\xfe",
    b"study: x\n\trounds: 1",
    b"study: x\nrounds: [1",
    b"study: x\n---\nrounds: 1",
    b"study: \x01",
    b"a: *b",
    b"study: x " + b"#" * (2 << 20),
]


@pytest.mark.parametrize("content", NOT_YAML, ids=range(len(NOT_YAML)))
def test_a_file_that_is_no_study_is_named_in_the_message(tmp_path, capsys, content):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert cli.main(["status", str(path)]) == 1
    assert f"{path} is not a study file" in capsys.readouterr().err


NOT_A_STUDY = {
    b"[" * 100_000: "or lists nested 30 deep",
    b"study: [" + b"1," * 120_000 + b"]": "the file has more than 100000 values",
    b"study: x\na: &a {<<: *a}": "a.<<: contains itself, by an alias,",
    b"study: 2020-99-99": "study: '2020-99-99' must match pattern",
    b"study: !!python/none": "study: has the tag !!python/none in line 1",
    b"study: 1\nrounds: " + b"1" * 5000: "rounds: is a number of 5000 digits in line 2",
}


@pytest.mark.parametrize("content", NOT_A_STUDY, ids=range(len(NOT_A_STUDY)))
def test_odd_values_are_named(tmp_path, capsys, content):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert cli.main(["status", str(path)]) == 1
    error = capsys.readouterr().err
    assert f"{path}: " in error
    assert NOT_A_STUDY[content] in error


def test_a_folder_is_no_study_file(tmp_path, capsys):
    assert cli.main(["status", str(tmp_path)]) == 1
    assert "Is a directory; name a file that can be read" in capsys.readouterr().err
