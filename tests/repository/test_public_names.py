"""The names that ``skymask`` itself offers."""

import subprocess
import sys

import pytest
import torch

import skymask

# each name in its own copy of an interpreter that has only loaded torch
EACH = """
import os, torch, skymask
for name in skymask.__all__:
    if os.fork() == 0:
        exec(f"from skymask import {name} as value")
        assert value.__name__.split(".")[-1] == name
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


def test_each_public_name_is_loaded_when_it_is_used():
    subprocess.run([sys.executable, "-c", EACH], check=True)
    assert set(skymask.__all__) <= set(dir(skymask))
    assert skymask.__all__


def test_importing_the_package_loads_no_module_of_it_and_no_library():
    code = """
import sys, skymask
assert "learn_masks" in dir(skymask)
assert not [name for name in sys.modules if name.startswith("skymask.")]
heavy = {"torch", "numpy", "pandas", "pyarrow", "numba", "sklearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_masks_are_learned_with_public_names_alone():
    from skymask import Samples, attacks, binarise, defenses, learn_masks, root_loss

    samples = Samples(torch.eye(4), torch.tensor([0, 1, 0, 1]))
    loss = root_loss(torch.nn.Linear(4, 2), samples)
    updates = torch.randn(3, 10, generator=torch.Generator().manual_seed(1))
    masks = binarise(learn_masks(updates, loss, steps=2))
    assert masks.shape == updates.shape
    attacked = attacks.sign_flip(updates, torch.tensor([True, False, False]))
    assert defenses.median(attacked).update.shape == (10,)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'skymask' has no attribute 'krum'"):
        _ = skymask.krum
