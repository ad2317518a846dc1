"""What the stages of a run work on: the parties' data, the model, and who attacks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skymask.data import partition
from skymask.federation.local_training import LocalTraining
from skymask.models import architectures
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.study.experiment import Experiment


@dataclass(frozen=True)
class Federation:
    """The parties of one run.  All tensors lie on the experiment's device.

    ``train`` and ``test`` are whole data sets; ``assignment`` [N] int32 says who holds which
    training sample (see :mod:`skymask.data.partition`).
    """

    experiment: Experiment
    train: Samples
    test: Samples
    assignment: npt.NDArray[np.int32]
    classes: int

    @cached_property
    def clients(self) -> list[Samples]:
        """Each client's honest samples."""
        return [self._held_by(client) for client in range(self.experiment.clients)]

    @cached_property
    def root(self) -> Samples:
        """The server's root data."""
        return self._held_by(partition.ROOT)

    @cached_property
    def sample_counts(self) -> Tensor:
        """Samples per client, int64 [n]."""
        counts = [int((self.assignment == c).sum()) for c in range(self.experiment.clients)]
        return torch.tensor(counts, device=self.train.labels.device)

    @property
    def local_training(self) -> LocalTraining:
        """How every party trains."""
        run = self.experiment
        return LocalTraining(
            run.local_epochs,
            run.batch_size,
            run.local_lr,
            run.gradient_clip,
            run.softmax_axis,
            run.training_precision,
        )

    @cached_property
    def malicious(self) -> Tensor:
        """Who attacks, bool [n], drawn from the training seed."""
        run = self.experiment
        flags = partition.draw_malicious(run.clients, run.malicious, run.training_seed)
        return torch.from_numpy(flags).to(self.train.labels.device)

    @cached_property
    def model(self) -> ResidentModel:
        """The model that every party trains in turn."""
        return ResidentModel(self._build())

    @cached_property
    def functional_model(self) -> FunctionalModel:
        """The model as a function of flat parameters; its module is a second instance."""
        shape = tuple(self.train.features.shape[1:])
        return FunctionalModel(self._build(), shape, self.experiment.softmax_axis)

    def initial_parameters(self) -> Tensor:
        """The global model before round 1, [d]."""
        return ResidentModel(self._build()).vector

    def initial_statistics(self) -> Tensor:
        """The running statistics before round 1, [s]; empty for most models."""
        return ResidentModel(self._build()).statistics

    def _build(self) -> torch.nn.Module:
        run, shape = self.experiment, tuple(self.train.features.shape[1:])
        module = architectures.build(run.model, shape, self.classes, run.training_seed)
        return module.to(self.train.features.device)

    def _held_by(self, party: int) -> Samples:
        indices = torch.from_numpy(np.flatnonzero(self.assignment == party))
        return self.train.select(indices.to(self.train.labels.device))
