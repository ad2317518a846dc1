"""A model, and its loss on samples, as functions of flat parameters."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from skymask.models.flat_parameters import Layout, ModelPool, by_batch
from skymask.models.loss_names import LossName
from skymask.models.losses import class_counts, mean_loss
from skymask.models.samples import Samples, laid_out
from skymask.numerics.out_of_memory import with_halving
from skymask.numerics.parallel import parallel_map

Loss = Callable[[Tensor], Tensor]
"""A differentiable map from flat parameters [d] to a scalar."""


@dataclass(frozen=True)
class FunctionalModel:
    """A model as a function of its flat parameters.

    Batch normalisation in training mode uses the statistics of the batch and tracks none.

    Attributes:
        module: The architecture; its own parameters are neither used nor changed.
        shape: Shape of one sample.
        loss: Name of the loss; see :mod:`skymask.models.losses`.

    Raises:
        ValueError: There is no such loss.
    """

    module: nn.Module
    shape: tuple[int, ...]
    loss: LossName = "cross_entropy"

    def __post_init__(self) -> None:
        if self.loss not in get_args(LossName):
            known = ", ".join(get_args(LossName))
            raise ValueError(f"there is no loss {self.loss!r}: name one of {known}")
        object.__setattr__(self, "module", by_batch(self.module))

    @property
    def layout(self) -> Layout:
        """Names and shapes of the tensors in the flat parameters."""
        return Layout.of(self.module)

    def logits(self, parameters: Tensor, features: Tensor) -> Tensor:
        """Compute the outputs [N, C] for ``parameters`` [d] and ``features`` [N, ...]."""
        tensors = self.layout.unflatten(parameters)
        logits: Tensor = functional_call(self.module, tensors, (laid_out(features),))
        return logits

    def logits_of_each(self, rows: Iterable[Tensor], features: Tensor) -> list[Tensor]:
        """Compute the outputs of several models, without gradients.

        On the CPU torch's threads work on one model each at a time.

        Args:
            rows: Parameters [d] of each model.
            features: Features [N, ...].

        Returns:
            The outputs [N, C] of each model.
        """
        images, models = laid_out(features), ModelPool(self.module)

        def outputs(row: Tensor) -> Tensor:
            with torch.no_grad(), models.borrow(row) as model:
                logits: Tensor = model.module(images)
                return logits

        return parallel_map(outputs, rows, features.device)

    def loss_on(self, samples: Samples) -> "SampleLoss":
        """Make the mean loss on ``samples`` a differentiable function of parameters.

        Class frequencies, where the loss depends on them, are those of ``samples``.
        """
        return SampleLoss(self, samples)


class SampleLoss:
    """The mean loss of a model on samples, a :data:`Loss`, and its gradient.

    On the CPU torch's threads work on parts of the samples, whose sizes do not depend on the number
    of threads.  Not so where the loss is no sum over samples: normalised over the batch, as with
    ``batch_softmax`` or batch normalisation.  ``logit_adjusted`` is such a sum, since the class
    frequencies are those of all samples.
    """

    # about how many samples a part has
    PART = 32

    def __init__(self, model: FunctionalModel, samples: Samples) -> None:
        self.model, self.samples = model, samples
        self._layout, self._features = model.layout, laid_out(samples.features)
        coupled = any(isinstance(part, _BatchNorm) for part in model.module.modules())
        adds_up = model.loss != "batch_softmax" and not coupled
        on_cpu = samples.features.device.type == "cpu"
        self._parts = -(-len(samples) // self.PART) if adds_up and on_cpu else 1
        self._adds_up = adds_up
        self._models = ModelPool(model.module)
        self._counts = class_counts([samples.labels], model.loss)[0]

    def __call__(self, parameters: Tensor) -> Tensor:
        """Compute the loss at ``parameters`` [d], a scalar in their graph."""
        return self._loss_of(parameters, slice(None))

    def _loss_of(self, parameters: Tensor, indices: slice) -> Tensor:
        """Compute the mean loss of the samples at ``indices``."""
        tensors = self._layout.unflatten(parameters)
        logits = functional_call(self.model.module, tensors, (self._features[indices],))
        return self._mean_loss(logits, indices)

    def _mean_loss(self, logits: Tensor, indices: slice) -> Tensor:
        """Compute the mean loss of the samples at ``indices`` from their outputs."""
        return mean_loss(logits, self.samples.labels[indices], self.model.loss, self._counts)

    @property
    def shared_out(self) -> bool:
        """Whether several threads work on the samples."""
        return self._parts > 1

    def value_and_gradient(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss at ``parameters`` [d] and its gradient [d], without a graph.

        Where the device's memory does not suffice, the samples are taken in halves, if the loss is
        a sum over them.
        """
        count, images, parts = len(self.samples), self._features, self._parts
        if not self.shared_out:

            def of_all(indices: slice) -> tuple[Tensor, Tensor]:
                leaf = parameters.detach().requires_grad_()
                with torch.enable_grad():
                    value = self._loss_of(leaf, indices)
                    if indices != slice(0, count):
                        value = value * ((indices.stop - indices.start) / count)
                    (gradient,) = torch.autograd.grad(value, leaf)
                return value.detach(), gradient

            if not self._adds_up:
                return of_all(slice(0, count))
            return _added(with_halving(of_all, slice(0, count), "root samples"))
        cuts = [count * part // parts for part in range(parts + 1)]

        def of_part(part: int) -> tuple[Tensor, Tensor]:
            indices = slice(cuts[part], cuts[part + 1])
            share = (cuts[part + 1] - cuts[part]) / count
            with torch.enable_grad(), self._models.borrow(parameters) as model:
                model.gradient.zero_()
                loss = share * self._mean_loss(model.module(images[indices]), indices)
                loss.backward()  # type: ignore[no-untyped-call]
                return loss.detach(), model.gradient.clone()

        return _added(parallel_map(of_part, range(parts)))


def _added(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Sum the values and the gradients [d], in order."""
    if len(parts) == 1:
        return parts[0]
    values, gradients = zip(*parts, strict=True)
    total: Tensor = gradients[0]
    for gradient in gradients[1:]:
        total.add_(gradient)
    return torch.stack(values).sum(), total


def root_loss(module: nn.Module, samples: Samples, loss: LossName = "cross_entropy") -> SampleLoss:
    """Make the loss of ``module`` on ``samples`` a differentiable function of flat parameters.

    Args:
        module: The architecture; it is not changed.
        samples: Samples on the module's device.
        loss: Name of the loss; see :mod:`skymask.models.losses`.

    Returns:
        A function of parameters [d]; ``value_and_gradient`` gives both at once.

    Raises:
        ValueError: There is no such loss.
    """
    shape = tuple(samples.features.shape[1:])
    return FunctionalModel(module, shape, loss).loss_on(samples)
