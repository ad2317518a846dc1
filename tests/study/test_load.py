"""What --config gives, as a study file would have it."""

import pytest
import yaml
from snakemake.cli import parse_config

from skymask.study import load


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
def test_a_value_of_the_command_line_is_what_it_is_in_a_study_file(text):
    given = parse_config([f"key={text}"])
    assert load.overrides(given) == {"key": yaml.safe_load(text)}
    # as Snakemake hands it to a job
    again = parse_config([f"key={given['key']!r}"])
    assert load.overrides(again) == load.overrides(given)


def test_what_only_looks_like_yaml_stays_text():
    given = {"a": ["2020-01-01", "[unclosed", "a: b", "1e-3"], "b": "x" * 9}
    assert load.overrides(given) == given
