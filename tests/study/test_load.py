"""Reading of study files and of the values of --config."""

import math
from datetime import date
from textwrap import indent

import pytest
import yaml
from snakemake.cli import parse_config
from snakemake.utils import update_config

from skymask import cli
from skymask.study import load, strict_yaml
from skymask.study.grid import StudyError

STUDY = {
    "study": "s",
    "dataset": "digits",
    "model": "mlp",
    "clients": 10,
    "attack": "none",
    "defense": "krum",
    "rounds": 4,
    "evaluate_every": 1,
    "final_evaluations": 1,
    "local_lr": 0.1,
}


@pytest.mark.parametrize(
    "text",
    [
        "[1,2,3]",
        "[0.1, 0.5, null]",
        "null",
        "true",
        "[true, false]",
        "3",
        "0.25",
        "auto",
        "[min_max, none]",
        "{name: fang_trim, share: 0.2}",
        "[fedavg, {name: skymask, layers: [1, 2], noise: null}]",
        "[[norm_bound, krum]]",
        "[2020-01-01x, 2020-01-01, ~/data, 'a: b']",
        "[1:30, 1_000, 010, 0o10, 0x1F, 1e7, .5, no, off, ~, .inf]",
        "1:30",
        "no",
        "0o10",
    ],
)
def test_a_value_of_the_command_line_has_the_type_of_a_study_file(tmp_path, text):
    given = parse_config([f"key={text}"])
    (tmp_path / "s.yaml").write_text(f"key: {text}")
    assert load.typed(given) == strict_yaml.read(tmp_path / "s.yaml")[0]
    # as Snakemake passes it to a job
    again = parse_config([f"key={given['key']!r}"])
    assert load.typed(again) == load.typed(given)


def test_what_only_looks_like_yaml_stays_text():
    given = {"a": ["2020-01-01", "[unclosed", "a: b", "1:30", "1_000", "no"], "b": "x" * 9}
    assert load.typed(given) == given


REPEATED = """\
study: s
rounds: 4
attack: [none, {name: min_max, tolerance: 1.0e-3, tolerance: 1.0e-5}]
small:
  rounds: 2
  rounds: 3
rounds: 6
"""


def test_keys_that_are_written_twice_are_named_with_their_lines(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(REPEATED)
    with pytest.raises(StudyError) as caught:
        load.from_files([file])
    assert caught.value.problems == [
        f"attack.tolerance: is written twice, in line 3 of {file}: remove one",
        f"small.rounds: is written twice, in lines 5 and 6 of {file}: remove one",
        f"rounds: is written twice, in lines 2 and 7 of {file}: remove one",
    ]


def test_an_alias_is_not_a_key_written_twice(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("a: &x {b: 1, c: 2}\nd: *x\ne: [*x, *x]\nf: {b: 1, g: {b: 1}}\n")
    assert strict_yaml.read(file)[1] == []


@pytest.mark.parametrize("command", ["status", "summary", "timings"])
def test_a_command_refuses_a_key_written_twice(tmp_path, capsys, command):
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(STUDY) + "rounds: 6\n")
    assert cli.main([command, str(file), "--results", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert f"{file}: a mistake, nothing was started" in shown
    assert "rounds: is written twice" in shown


def test_files_and_overrides_are_merged_as_snakemake_does(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(yaml.safe_dump({**STUDY, "small": {"rounds": 2, "clients": 11}}))
    second.write_text("study: other\nsmall: {clients: 12}\ndefense: {name: skymask}\n")
    study = load.from_files([first, second], parse_config(["data_seed=[1,2]", "scale=small"]))
    assert (study.name, len(study.runs)) == ("other_small", 2)
    (cell, _) = study.cells
    assert (cell.rounds, cell.experiment.clients, cell.defense) == (2, 12, "skymask")
    # a method with parameters in place of a name, and the other way round
    (cell,) = load.from_files([second, first], {"attack": {"name": "min_max"}}).cells
    assert (cell.attack, cell.defense) == ("min_max", "krum")


def test_a_configuration_that_snakemake_has_merged_gets_the_types_of_a_file(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    given = parse_config(["samples_per_client=[10,null]", "of_another_workflow=1"])
    config = {**STUDY, "samples_per_client": given["samples_per_client"]}
    study = load.from_files([file], given, config)
    assert config["samples_per_client"] == [10, None]
    assert len(study.runs) == 2


# how YAML 1.1 reads them, and YAML 1.2
NUMBERS = {
    "010": (8, 10),
    "0o10": ("0o10", 8),
    "1_000": (1000, "1_000"),
    "1:30": (90, "1:30"),
    "0b11": (3, "0b11"),
    "1e7": ("1e7", 1e7),
    "1.5e3": ("1.5e3", 1500.0),
    ".5": (0.5, 0.5),
    "+.5": ("+.5", 0.5),
    "0x1F": (31, 31),
    "-.INF": (-math.inf, -math.inf),
    "+12": (12, 12),
    "yes": (True, "yes"),
    "no": (False, "no"),
    "On": (True, "On"),
    "off": (False, "off"),
    "y": ("y", "y"),
    "True": (True, True),
    "~": (None, None),
    "Null": (None, None),
    "": (None, None),
    "2024-01-01": (date(2024, 1, 1), "2024-01-01"),
    "'010'": ("010", "010"),
    "!!str 010": ("010", "010"),
}


@pytest.mark.parametrize("text", NUMBERS)
def test_values_mean_what_they_mean_in_yaml_1_2(tmp_path, text):
    old, new = NUMBERS[text]
    file = tmp_path / "s.yaml"
    file.write_text(f"a: {text}\nb: [1, {{c: {text} }}]\n")
    assert yaml.safe_load(file.read_text())["a"] == old
    value, problems = strict_yaml.read(file)
    assert problems == []
    assert (value, type(value["a"])) == ({"a": new, "b": [1, {"c": new}]}, type(new))


def test_nan_is_a_number_that_is_none(tmp_path):
    (tmp_path / "s.yaml").write_text("a: .nan\n")
    assert math.isnan(strict_yaml.read(tmp_path / "s.yaml")[0]["a"])


def test_merged_keys_are_those_of_yaml(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(
        "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {z: 4, <<: [*b, *a]}\nd: {'<<': 5}\n"
    )
    value, problems = strict_yaml.read(file)
    assert (value, problems) == (yaml.safe_load(file.read_text()), [])
    assert value["c"] == {"x": 1, "y": 3, "z": 4}
    # a bomb of merges is as large as it is written
    lines = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(1000)) + "}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 30)]
    file.write_text("\n".join(lines))
    assert "more than 100000 values" in strict_yaml.read(file)[1][0]


TWICE = {
    "quoted": "a: {b: 1, 'b': 2}",
    "in a list of lists": "a: [[{b: 1}, {b: 1, b: 2}]]",
    "below an anchor": "a: &x {b: 1, b: 2}\nc: [*x, *x]",
    "numbers": "a: {2: 1, 0x2: 2}",
    "a number and text": "a: {2: 1, '2': 2}",
    "explicit": "a:\n  ? b\n  : 1\n  ? b\n  : 2",
    "merges": "b: &b {c: 1}\na: {<<: *b, <<: *b}",
    "json": '{"a": {"b": 1, "b": 2}}',
}


@pytest.mark.parametrize("text", TWICE.values(), ids=TWICE)
def test_a_key_is_written_once_wherever_it_is(tmp_path, text):
    file = tmp_path / "s.yaml"
    file.write_text(text)
    (problem,) = strict_yaml.read(file)[1]
    assert "is written twice, in line" in problem


STRICT = """\
study: s
dataset: digits
model: mlp
clients: 0o14
attack: {name: min_max, tolerance: 1e-3}
defense: krum
rounds: 010
evaluate_every: 1
final_evaluations: 1
local_lr: 1e-1
paired: &none []
exclude: *none
data_folders: [2024-01-01, "010", no]
small: {rounds: 011, clients: 12}
"""


def test_jobs_see_the_values_that_the_snakefile_checks(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(STRICT)
    config = yaml.safe_load(STRICT)
    assert (config["rounds"], config["small"]["rounds"]) == (8, 9)
    given = parse_config(["data_seed=[1,2]", "small={batch_size: 010, clients: 13}", "threads=2"])
    update_config(config, given)
    study = load.from_files([file], given, config)
    assert config == {
        **strict_yaml.read(file)[0],
        "data_seed": [1, 2],
        "threads": 2,
        "small": {"rounds": 11, "clients": 13, "batch_size": 10},
    }
    # scripts read the study from it
    assert load.from_config(config, str(file)) == study
    (cell, _) = study.cells
    assert (cell.rounds, cell.experiment.clients) == (10, 12)
    assert study.data_folders == ["2024-01-01", "010", "no"]
    assert load.from_files([file], given) == study


def test_a_module_sees_the_values_of_the_file_too(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("other: no\nworkflows:\n- skymask:\n" + indent(STRICT, "    "))
    read = yaml.safe_load(file.read_text())
    # the other workflow has its own name and defense
    config = {**read["workflows"][0]["skymask"], "study": "part", "defense": "fedavg"}
    study = load.from_files([file], {}, config)
    assert (config["rounds"], config["clients"], config["small"]["rounds"]) == (10, 12, 11)
    assert (study.name, study.cells[0].defense, study.cells[0].rounds) == ("part", "fedavg", 10)
    assert read["other"] is False


def test_a_template_is_no_study(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(STRICT + "__use_yte__: true\n")
    config = yaml.safe_load(STRICT)
    with pytest.raises(StudyError, match="__use_yte__: is for templates"):
        load.from_files([file], {}, config)
