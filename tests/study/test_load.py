"""Reading of study files and of the values of --config."""

import pytest
import yaml
from snakemake.cli import parse_config

from skymask import cli
from skymask.study import load
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
        "[2020-01-01x, ~/data, 'a: b']",
    ],
)
def test_a_value_of_the_command_line_has_the_type_of_a_study_file(text):
    given = parse_config([f"key={text}"])
    assert load.typed(given) == {"key": yaml.safe_load(text)}
    # as Snakemake passes it to a job
    again = parse_config([f"key={given['key']!r}"])
    assert load.typed(again) == load.typed(given)


def test_what_only_looks_like_yaml_stays_text():
    given = {"a": ["2020-01-01", "[unclosed", "a: b", "1e-3"], "b": "x" * 9}
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
        f"attack.tolerance: is written twice, in lines 3 and 3 of {file}: remove one",
        f"small.rounds: is written twice, in lines 5 and 6 of {file}: remove one",
        f"rounds: is written twice, in lines 2 and 7 of {file}: remove one",
    ]


def test_an_alias_is_not_a_key_written_twice(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("a: &x {b: 1, c: 2}\nd: *x\ne: &y [*y, *x]\nf: {b: 1, g: {b: 1}}\n")
    assert load.repeated_keys(file) == []


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
