"""What a loader returns, and how it fails."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


class DataError(ValueError):
    """A data set that is missing or not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Arrays:
    """A data set: features [N, *shape] uint8 or float32, labels [N] int64.

    Features are divided by ``scale`` when they are used.
    """

    train_features: npt.NDArray[Any]
    train_labels: npt.NDArray[Any]
    test_features: npt.NDArray[Any]
    test_labels: npt.NDArray[Any]
    classes: int
    scale: float
