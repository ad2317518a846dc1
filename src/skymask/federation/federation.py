"""Parties of one run, and the state of the run between rounds."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skymask.data import partition
from skymask.federation.settings import LocalTraining
from skymask.models import architectures
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.study.experiment import Experiment

State = dict[str, Tensor]
"""Named tensors that attackers or a defense keep from one round to the next."""


@dataclass(frozen=True)
class Federation:
    """The parties of one run.

    Stages read a federation and change none of it.  All tensors are on the experiment's device.

    Attributes:
        experiment: Specification of the run.
        train: Training data of all parties.
        test: Test data.
        assignment: Owner of each training sample, int32 [N]; see :mod:`skymask.data.partition`.
        classes: Number of classes.
    """

    experiment: Experiment
    train: Samples
    test: Samples
    assignment: npt.NDArray[np.int32]
    classes: int

    @cached_property
    def clients(self) -> list[Samples]:
        """Honest samples of each client."""
        return [self._samples_of(client) for client in range(self.experiment.clients)]

    @cached_property
    def root(self) -> Samples:
        """Root data of the server."""
        return self._samples_of(partition.ROOT)

    @cached_property
    def sample_counts(self) -> Tensor:
        """Number of samples of each client, int64 [n]."""
        counts = [int((self.assignment == c).sum()) for c in range(self.experiment.clients)]
        return torch.tensor(counts, device=self.train.labels.device)

    @property
    def local_training(self) -> LocalTraining:
        """Settings by which every party trains."""
        run = self.experiment
        return LocalTraining(
            local_epochs=run.local_epochs,
            batch_size=run.batch_size,
            local_lr=run.local_lr,
            gradient_clip=run.gradient_clip,
            loss=run.loss,
            precision=run.training_precision,
        )

    @cached_property
    def malicious(self) -> Tensor:
        """Which clients are malicious, bool [n], drawn from the training seed."""
        run = self.experiment
        flags = partition.draw_malicious(run.clients, run.malicious, run.training_seed)
        return torch.from_numpy(flags).to(self.train.labels.device)

    def attacking(self, round_: int) -> Tensor:
        """Which clients attack in a round, bool [n]: the malicious ones, or none of them."""
        return self.malicious & self.experiment.attacks(round_)

    @cached_property
    def model(self) -> ResidentModel:
        """The model before round 1; each stage works on copies of it."""
        run, shape = self.experiment, tuple(self.train.features.shape[1:])
        module = architectures.build(run.model, shape, self.classes, run.training_seed)
        return ResidentModel(module.to(self.train.features.device))

    @cached_property
    def functional_model(self) -> FunctionalModel:
        """The model as a function of flat parameters."""
        shape = tuple(self.train.features.shape[1:])
        return FunctionalModel(self.model.module, shape, self.experiment.loss)

    def initial_parameters(self) -> Tensor:
        """Copy the global model's parameters [d] before round 1."""
        return self.model.vector.clone()

    def initial_statistics(self) -> Tensor:
        """Copy the running statistics [s] before round 1; empty for most models."""
        return self.model.statistics.clone()

    def _samples_of(self, party: int) -> Samples:
        indices = torch.from_numpy(np.flatnonzero(self.assignment == party))
        return self.train.select(indices.to(self.train.labels.device))


@dataclass
class Checkpoint:
    """The state of a run after a round.

    Attributes:
        global_parameters: Parameters [d] of the global model.
        attack_state: What the attackers keep.
        defense_state: What the defense keeps.
        statistics: Running statistics [s] of the global model; ``None`` for the initial ones.
    """

    global_parameters: Tensor
    attack_state: State = field(default_factory=dict)
    defense_state: State = field(default_factory=dict)
    statistics: Tensor | None = None
