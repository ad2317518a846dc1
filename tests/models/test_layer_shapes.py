"""The description of each network's layers, compared with the networks."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import skymask
from skymask.models import layer_shapes
from skymask.models.architectures import MODELS, build
from skymask.models.flat_parameters import Layout


def counted_by_torch(module, shape):
    """Multiply-adds of a forward pass on one sample."""
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def test_every_model_has_a_description():
    assert set(layer_shapes.LAYERS) == set(MODELS)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 11, 14)])
@pytest.mark.parametrize("model", MODELS)
def test_counts_are_those_of_the_network(model, shape):
    module = build(model, shape, 7, 1)
    assert layer_shapes.parameters(model, shape, 7) == Layout.of(module).dimension
    assert layer_shapes.multiply_adds(model, shape, 7) == counted_by_torch(module, shape)


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 16, 12)])
@pytest.mark.parametrize("model", MODELS)
def test_tensor_names_are_those_of_the_network_whatever_the_shape(model, shape):
    assert layer_shapes.tensor_names(model) == Layout.of(MODELS[model](shape, 5)).names


def test_a_model_without_description_counts_as_mlp():
    shape = (1, 8, 8)
    for count in (layer_shapes.parameters, layer_shapes.multiply_adds):
        assert count("of a user", shape, 10) == count("mlp", shape, 10)


def test_the_module_loads_neither_torch_nor_numpy():
    heavy = "{'torch', 'numpy'} & {*sys.modules}"
    code = f"import sys, skymask.models.layer_shapes; sys.exit(bool({heavy}))"
    source = {"PYTHONPATH": str(Path(skymask.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=source, check=False).returncode == 0
