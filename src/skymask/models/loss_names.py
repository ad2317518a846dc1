"""Names and constants of the losses, without torch."""

from typing import Literal

LossName = Literal["cross_entropy", "batch_softmax", "logit_adjusted"]
"""The losses of :mod:`skymask.models.losses`, as studies name them."""

TEST_BATCH = 250
"""Test samples over which the code released with SkyMask normalises the outputs of each class."""
