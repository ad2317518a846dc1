"""Tiers of the tests: their markers, and what make runs."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import TESTS, pytest_collection_modifyitems

ROOT = Path(__file__).parents[2]
PYTEST = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]
TIERS = ("workflow", "slurm", "slow")


class Item:
    """A test in a file of the folder with the tests."""

    def __init__(self, path):
        self.path, self.marks = TESTS / path, []
        self.add_marker = self.marks.append


@pytest.mark.parametrize(
    ("path", "marks"),
    [
        ("workflow/test_cache.py", ["workflow"]),
        ("slurm/test_slurm.py", ["slurm"]),
        ("jobs/test_slurm.py", []),
        ("test_end_to_end.py", []),
    ],
)
def test_the_folder_of_a_test_gives_its_marker(path, marks):
    item = Item(path)
    assert item.path.exists()
    pytest_collection_modifyitems([item])
    assert item.marks == marks


def test_make_test_leaves_out_the_marked_tests_and_test_all_runs_all():
    names = {line.partition(":")[0] for line in PYTEST["ini_options"]["markers"]}
    assert names == {*TIERS, "xdist_group"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = dict(re.findall(r"^(test|test-all): .*\n\t(.*)$", makefile, re.MULTILINE))
    left_out = " and ".join(f"not {tier}" for tier in TIERS)
    assert recipes["test"] == f'{recipes["test-all"]} -m "{left_out}"'
    assert recipes["test-all"].endswith("pytest -n 2 --dist loadgroup")
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"make lint", "make docs", "make test-all"} <= {*commands}
