"""A model that is a line, and root data for it."""

import torch

from skymask.models.samples import Samples


class Line(torch.nn.Module):
    """Two classes; the parameters are the weight of one feature and the two biases."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.bias = torch.nn.Parameter(torch.zeros(2))

    def forward(self, features):
        return torch.cat([features * self.weight, 0 * features], dim=1) + self.bias


ROOT_DATA = Samples(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]))
