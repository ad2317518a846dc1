"""JSON Schema of study files, as it is committed."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from skymask.study import schema, strict_yaml
from skymask.study.methods import UNSET
from skymask.study.model import StudyFile
from skymask.study.registry import entries

REPOSITORY = Path(__file__).parents[2]
COMMITTED = json.loads(schema.FILE.read_text(encoding="utf-8"))
SHIPPED = [
    REPOSITORY / "config" / "config.yaml",
    *sorted(REPOSITORY.glob("config/studies/*.yaml")),
    *sorted(REPOSITORY.glob(".test/**/*.yaml")),
]
WRONG = sorted((Path(__file__).parent / "wrong_studies").glob("*.yaml"))

# mistakes that no schema sees: between several values, in the YAML, or in how Python reads a value
BEYOND_A_SCHEMA = {
    "all_cells_undefined",
    "bucketing_before_a_rule_that_remembers_clients",
    "bucketing_leaves_too_few",
    "composition_ends_with_a_pre_aggregator",
    "composition_given_twice",
    "composition_of_defenses",
    "composition_with_a_long_name",
    "attack_rounds_after_the_last_round",
    "attack_rounds_last_before_first",
    "coordinates_both_ways",
    "coordinates_of_an_unknown_layer",
    "coordinates_pick_among_layers",
    "duplicate_method",
    "exclude_everything",
    "exclude_meets_nothing",
    "exclude_one_of_two_meets_nothing",
    "exclude_other_parameter",
    "fewer_clients_than_classes",
    "folder_with_a_long_name",
    "keep_updates_beyond_the_rounds",
    "key_twice_in_a_method",
    "key_twice_in_an_exclusion",
    "key_twice_in_small",
    "many_cells_one_mistake",
    "model_too_large_for_images",
    "natural_clients_of_another_number",
    "natural_clients_of_no_data_set",
    "never_evaluated",
    "oracle_composed",
    "paired_axis_in_two_groups",
    "paired_unequal_lengths",
    "root_share_leaves_too_few",
    "root_share_without_natural_clients",
    "scatter_round_beyond_the_rounds",
    "share_not_a_number",
    "share_of_nobody",
    "study_name_with_newline",
    "too_few_evaluations",
    "too_many_samples",
    "too_much_root_data",
    "trigger_too_large",
    "two_cell_mistakes",
}


def read(path):
    return strict_yaml.read(path)[0]


def test_the_committed_schema_is_the_generated_one():
    message = "run: make schema"
    assert schema.FILE.read_text(encoding="utf-8") == schema.text(), message
    Draft7Validator.check_schema(COMMITTED)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_study_names_the_schema_and_is_valid(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named, first
    assert (path.parent / named[1]).resolve() == schema.FILE.resolve()
    assert [error.message for error in Draft7Validator(COMMITTED).iter_errors(read(path))] == []


def test_a_mistake_in_one_value_is_a_mistake_by_the_schema():
    validator = Draft7Validator(COMMITTED)
    assert {path.stem for path in WRONG if validator.is_valid(read(path))} == BEYOND_A_SCHEMA


def test_every_key_has_a_sentence_that_describes_it():
    keys = COMMITTED["properties"]
    assert list(keys) == list(StudyFile.model_fields)
    assert all(value["description"].endswith(".") for value in keys.values())
    required = {key for key, field in StudyFile.model_fields.items() if field.is_required()}
    assert set(COMMITTED["required"]) == required
    assert {key for key in keys if "default" not in keys[key]} == required


@pytest.mark.parametrize("kind", ["attack", "defense", "partition", "pre-aggregator"])
def test_every_method_is_there_with_its_parameters(kind):
    options = COMMITTED["definitions"][kind]["anyOf"]
    names = {option["const"] for option in options if "const" in option}
    mappings = {o["properties"]["name"]["const"]: o for o in options if "properties" in o}
    assert names == set(mappings) == set(entries(kind))
    for name, entry in entries(kind).items():
        parameters = mappings[name]["properties"]
        assert set(parameters) - {"name"} - UNSET.keys() == set(entry.parameters) - UNSET.keys()
        for parameter in entry.parameters.values():
            assert parameters[parameter.name]["default"] == parameter.default


def test_ranges_are_those_of_the_requirements():
    def number(kind, name, parameter):
        options = COMMITTED["definitions"][kind]["anyOf"]
        (mapping,) = [o for o in options if o.get("properties", {}).get("name") == {"const": name}]
        one, *_, several = mapping["properties"][parameter]["anyOf"]
        assert one in (several["items"], *several["items"].get("anyOf", []))
        return {key: value for key, value in one.items() if key != "type"}

    assert number("defense", "skymask", "threshold") == {
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
    }
    assert number("attack", "scaling", "share") == {"exclusiveMinimum": 0, "maximum": 1}
    assert number("attack", "fang_trim", "b") == {"exclusiveMinimum": 1}
    assert number("partition", "label_bias", "bias") == {"minimum": 0, "maximum": 1}
    assert number("pre-aggregator", "norm_clip", "radius") == {"exclusiveMinimum": 0}
    # more than one parameter, or what is only known with a study
    assert number("attack", "dba", "target") == {"minimum": 0}
