"""Baselines: the usual ways to write local training and mask learning.

Both are written from their descriptions, with torch's own tools and no tricks.
"""

import copy

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from skymask.models.functional import Loss
from skymask.models.samples import Samples


def paper_cnn() -> nn.Sequential:
    """Build the paper's network for Fashion-MNIST as published."""
    return nn.Sequential(
        nn.Conv2d(1, 30, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(30, 50, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1250, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


class DataLoaderLoop:
    """A round of local training as the released code has it.

    A DataLoader over a TensorDataset per client, a deep copy of the global state for each, torch's
    SGD, gradients kept in their graph and clamped parameter by parameter.
    """

    def __init__(
        self, net: nn.Module, clients: list[Samples], batch_size: int, rate: float, clip: float
    ) -> None:
        self.net, self.rate, self.clip = net, rate, clip
        self.device = next(net.parameters()).device
        self.state = copy.deepcopy(net.state_dict())
        self.loaders = [
            DataLoader(
                TensorDataset(data.features, data.labels), batch_size=batch_size, shuffle=True
            )
            for data in clients
        ]
        self.criterion = nn.CrossEntropyLoss()

    def __call__(self) -> list[list[Tensor]]:
        """Return the updates of all clients, tensor by tensor."""
        return [self._client(loader) for loader in self.loaders]

    def _client(self, loader: DataLoader) -> list[Tensor]:
        self.net.load_state_dict(copy.deepcopy(self.state))
        self.net.train()
        optimiser = torch.optim.SGD(self.net.parameters(), lr=self.rate)
        for batch, targets in loader:
            features, labels = batch.to(self.device), targets.to(self.device)
            optimiser.zero_grad()
            loss = self.criterion(self.net(features), labels)
            loss.backward(retain_graph=True)
            for parameter in self.net.parameters():
                parameter.grad.clamp_(-self.clip, self.clip)
            optimiser.step()
        trained = self.net.state_dict()
        return [(trained[name] - start).clone() for name, start in self.state.items()]


def autograd_masks(
    rows: Tensor, shapes: list[tuple[int, ...]], loss: Loss, rate: float, clamp: float, steps: int
) -> list[list[Tensor]]:
    """Mask learning by autograd: a parameter per client and layer, sigmoid, weighted mean."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    layers = [
        [piece.view(shape) for piece, shape in zip(row.split(sizes), shapes, strict=True)]
        for row in rows
    ]
    theta = [[torch.ones_like(layer).requires_grad_() for layer in model] for model in layers]
    for _ in range(steps):
        masked = []
        for k in range(len(shapes)):
            gates = [torch.sigmoid(logits[k]) for logits in theta]
            top = sum(gate * model[k] for gate, model in zip(gates, layers, strict=True))
            masked.append((top / sum(gates)).flatten())
        loss(torch.cat(masked)).backward()
        with torch.no_grad():
            for logits in theta:
                for layer in logits:
                    layer -= rate * layer.grad.clamp_(-clamp, clamp)
                    layer.grad = None
    return theta
