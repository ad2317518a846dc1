"""Small synthetic problems with all that a defense or an attack can ask for."""

import inspect
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor, nn

from skymask.contracts import call
from skymask.defenses import DEFENSES
from skymask.models.flat_parameters import Layout
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.seeds import generator

SEED = 20241


def cases(registry, slow=()):
    """List every entry with its defaults, and with each other choice of its ``Literal`` parameters.

    Entries whose name is in ``slow`` have the mark ``slow``.
    """
    listed = []
    for name, function in registry.items():
        marks = [pytest.mark.slow] if name in slow else []
        listed.append(pytest.param(name, {}, id=name, marks=marks))
        hints = get_type_hints(function)
        for key, parameter in inspect.signature(function).parameters.items():
            if get_origin(hints.get(key)) is Literal:
                for choice in get_args(hints[key]):
                    if choice != parameter.default:
                        parameters = {key: choice}
                        case = label(name, parameters)
                        listed.append(pytest.param(name, parameters, id=case, marks=marks))
    return listed


def label(name, parameters):
    """The name of a case, as ``skymask(clusters=2)``."""
    chosen = ", ".join(f"{key}={choice}" for key, choice in parameters.items())
    return f"{name}({chosen})" if chosen else name


SHAPE = (1, 16, 16)


class Linear(nn.Module):
    """A linear layer with any number d of parameters on the last entries of a sample."""

    def __init__(self, d):
        super().__init__()
        self.classes = next((c for c in range(2, d + 1) if d % c == 0), d)
        self.inputs = d // self.classes - 1
        self.weight = nn.Parameter(torch.zeros(self.classes, self.inputs))
        self.bias = nn.Parameter(torch.zeros(self.classes))

    def forward(self, features):
        return (
            features.flatten(1)[:, features[0].numel() - self.inputs :] @ self.weight.T + self.bias
        )


@dataclass(frozen=True)
class Problem:
    """One round: benign updates lead a part of the way from w to ``target``, with noise."""

    updates: Tensor
    malicious: Tensor
    global_parameters: Tensor
    server_update: Tensor
    target: Tensor
    clients: Tensor
    samples: Tensor

    @classmethod
    def draw(cls, n, f, d, seed=0, dtype=torch.float32):
        """Draw n clients, f of them at random places flagged malicious, but all still honest."""
        source = generator(SEED, "problem", n, f, d, seed)
        malicious = torch.zeros(n, dtype=torch.bool)
        malicious[torch.randperm(n, generator=source)[:f]] = True
        start, target = torch.randn(2, d, generator=source, dtype=torch.float64)
        noise = 0.02 * torch.randn(n + 1, d, generator=source, dtype=torch.float64)
        rows = 0.1 * (target - start) + noise
        samples = torch.randint(1, 50, (n,), generator=source)
        problem = cls(rows[:-1], malicious, start, rows[-1], target, torch.arange(n), samples)
        return problem.to(dtype=dtype)

    @property
    def benign_mean(self):
        return self.updates[~self.malicious].mean(dim=0)

    @property
    def tensors(self):
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def attacked(self):
        """The flagged clients all send −50 times the benign mean."""
        updates = self.updates.clone()
        updates[self.malicious] = -50 * self.benign_mean
        return self.sending(updates)

    def sending(self, updates):
        return replace(self, updates=updates)

    def reordered(self, order):
        names = ("updates", "malicious", "clients", "samples")
        return replace(self, **{name: getattr(self, name)[order] for name in names})

    def to(self, *, dtype=None, device=None):
        def moved(tensor):
            return tensor.to(device, dtype if tensor.is_floating_point() else None)

        return replace(self, **{name: moved(tensor) for name, tensor in self.tensors.items()})

    def copied(self):
        return replace(self, **{name: tensor.clone() for name, tensor in self.tensors.items()})

    def loss(self, parameters):
        return (parameters - self.target).square().sum()

    @property
    def model(self):
        """A model with d parameters."""
        module = Linear(self.updates.shape[1]).to(self.updates.device)
        return FunctionalModel(module, SHAPE)

    @property
    def layout(self):
        """The model's layers; of one with biases only, these."""
        named = zip(self.model.layout.names, self.model.layout.shapes, strict=True)
        named = [(name, shape) for name, shape in named if 0 not in shape]
        return Layout(*map(tuple, zip(*named, strict=True)))

    @property
    def own_data(self):
        """What the attackers hold for it."""
        module = self.model.module
        source = generator(SEED, "own data")
        features = torch.rand(40, *SHAPE, generator=source)
        labels = torch.randint(0, module.classes, (40,), generator=source)
        updates = self.updates
        return Samples(features.to(updates), labels.to(updates.device))

    def offers(self):
        """The offers of the server, by the names that a defense may ask for."""
        return {
            "updates": lambda: self.updates,
            "global_parameters": lambda: self.global_parameters,
            "server_update": lambda: self.server_update,
            "loss": lambda: self.loss,
            "model": lambda: self.model,
            "layout": lambda: self.layout,
            "assumed_malicious": lambda: int(self.malicious.sum()),
            "clients": lambda: self.clients,
            "samples": lambda: self.samples,
            "generator": lambda: generator(SEED, "defense"),
            "state": dict,
            "malicious": lambda: self.malicious,
        }

    def aggregate(self, name, parameters):
        """What the defense ``name`` makes of this round."""
        return call(DEFENSES[name], self.offers(), parameters)


def bits(tensor):
    """The tensor's bits, so that NaN equals NaN and 0 differs from −0."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor.dtype, tuple(tensor.shape), tensor.numpy().tobytes()
