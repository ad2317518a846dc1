"""Samples, and the loss of a model on them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from skymask.models.flat_parameters import Layout, ResidentModel, by_batch
from skymask.models.losses import SoftmaxAxis, cross_entropy
from skymask.models.samples import Samples, laid_out
from skymask.numerics.out_of_memory import fitting
from skymask.numerics.parallel import across

Loss = Callable[[Tensor], Tensor]
"""A differentiable map from flat parameters [d] to a scalar."""


@dataclass(frozen=True)
class FunctionalModel:
    """A model as a function of its flat parameters.

    ``module`` is the architecture, its own parameters are not used; ``shape`` that of one sample.
    Batch normalisation in training mode normalises by the batch at hand and tracks nothing.
    """

    module: nn.Module
    shape: tuple[int, ...]
    softmax_axis: SoftmaxAxis = "class"

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", by_batch(self.module))

    @property
    def layout(self) -> Layout:
        """The names and shapes that the flat parameters [d] are cut into."""
        return Layout.of(self.module)

    def logits(self, parameters: Tensor, features: Tensor) -> Tensor:
        """The outputs [N, C] of the model with ``parameters`` [d] on ``features`` [N, *shape]."""
        tensors = self.layout.unflatten(parameters)
        logits: Tensor = functional_call(self.module, tensors, (laid_out(features),))
        return logits

    def logits_of_each(self, rows: Iterable[Tensor], features: Tensor) -> list[Tensor]:
        """The outputs [N, C] on ``features`` of the models with ``rows``, [d] each, as parameters.

        Without gradients; on the CPU each of torch's threads takes a model after the other.
        """
        images, models = laid_out(features), _Models(self.module)

        def outputs(row: Tensor) -> Tensor:
            with torch.no_grad(), models.one(row) as model:
                logits: Tensor = model.module(images)
                return logits

        return across(outputs, rows, features.device)

    def loss_on(self, samples: Samples) -> "SampleLoss":
        """The mean cross-entropy on ``samples`` as a differentiable function of parameters [d]."""
        return SampleLoss(self, samples)


class SampleLoss:
    """The mean cross-entropy of a model on samples, a :data:`Loss`, and its gradient at once.

    On the CPU the samples are shared out among torch's threads in parts that do not depend on how
    many there are, unless the loss does not add up over them: normalised over the batch, as with
    ``softmax_axis="batch"`` or batch normalisation.
    """

    # samples of a part, about
    PART = 32

    def __init__(self, model: FunctionalModel, samples: Samples) -> None:
        self.model, self.samples = model, samples
        self._layout, self._features = model.layout, laid_out(samples.features)
        coupled = any(isinstance(part, _BatchNorm) for part in model.module.modules())
        adds_up = model.softmax_axis == "class" and not coupled
        on_cpu = samples.features.device.type == "cpu"
        self._parts = -(-len(samples) // self.PART) if adds_up and on_cpu else 1
        self._adds_up = adds_up
        self._models = _Models(model.module)

    def __call__(self, parameters: Tensor) -> Tensor:
        """The loss at ``parameters`` [d], a scalar in their graph."""
        return self._loss_of(parameters, slice(None))

    def _loss_of(self, parameters: Tensor, places: slice) -> Tensor:
        """The mean loss of the samples at ``places``."""
        tensors = self._layout.unflatten(parameters)
        logits = functional_call(self.model.module, tensors, (self._features[places],))
        return cross_entropy(logits, self.samples.labels[places], self.model.softmax_axis)

    @property
    def shared_out(self) -> bool:
        """Whether the samples are shared out among threads."""
        return self._parts > 1

    def value_and_gradient(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The loss at ``parameters`` [d] and its gradient [d], without a graph.

        Samples for which the device's memory does not suffice are taken in halves, if they add up.
        """
        count, images, parts = len(self.samples), self._features, self._parts
        if not self.shared_out:

            def of_all(places: slice) -> tuple[Tensor, Tensor]:
                leaf = parameters.detach().requires_grad_()
                with torch.enable_grad():
                    value = self._loss_of(leaf, places)
                    if places != slice(0, count):
                        value = value * ((places.stop - places.start) / count)
                    (gradient,) = torch.autograd.grad(value, leaf)
                return value.detach(), gradient

            if not self._adds_up:
                return of_all(slice(0, count))
            return _added(fitting(of_all, slice(0, count), "root samples"))
        cuts = [count * part // parts for part in range(parts + 1)]

        def of_part(part: int) -> tuple[Tensor, Tensor]:
            places = slice(cuts[part], cuts[part + 1])
            share = (cuts[part + 1] - cuts[part]) / count
            with torch.enable_grad(), self._models.one(parameters) as model:
                model.gradient.zero_()
                loss = share * cross_entropy(
                    model.module(images[places]), self.samples.labels[places]
                )
                loss.backward()  # type: ignore[no-untyped-call]
                return loss.detach(), model.gradient.clone()

        return _added(across(of_part, range(parts)))


def _added(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The sums of values and of gradients [d], in order."""
    if len(parts) == 1:
        return parts[0]
    values, gradients = zip(*parts, strict=True)
    total: Tensor = gradients[0]
    for gradient in gradients[1:]:
        total.add_(gradient)
    return torch.stack(values).sum(), total


class _Models:
    """Copies of a module, one for each thread that asks at the same time."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._free: SimpleQueue[ResidentModel] = SimpleQueue()

    @contextmanager
    def one(self, parameters: Tensor) -> Iterator[ResidentModel]:
        """A copy of its own, with ``parameters`` [d]."""
        try:
            model = self._free.get_nowait()
        except Empty:
            model = ResidentModel(deepcopy(self._module).to(parameters))
        with torch.no_grad():
            model.vector.copy_(parameters)
        yield model
        self._free.put(model)


def root_loss(
    module: nn.Module, samples: Samples, softmax_axis: SoftmaxAxis = "class"
) -> SampleLoss:
    """The loss of ``module`` on ``samples`` as a differentiable function of flat parameters [d]."""
    shape = tuple(samples.features.shape[1:])
    return FunctionalModel(module, shape, softmax_axis).loss_on(samples)
