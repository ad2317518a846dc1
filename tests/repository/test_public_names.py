"""Tests of the names that the package exports."""

import subprocess
import sys

import pytest

import skymask


@pytest.mark.parametrize("name", skymask.__all__)
def test_a_public_name_is_loaded_when_it_is_used(name):
    command = [sys.executable, "-c", f"import skymask; print(skymask.{name})"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_no_module_of_it():
    code = "import sys, skymask; print([m for m in sys.modules if m.startswith('skymask.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'krum'"):
        _ = skymask.krum
