"""Handwritten digits that ship with scikit-learn."""

from pathlib import Path

import numpy as np

from skymask.contracts import describes
from skymask.data.datasets.arrays import Arrays

# the split is part of the data set: every seed trains and tests on the same samples
SPLIT_SEED, TRAIN = 0, 1437


@describes(shape=(1, 8, 8), classes=10, train=1437, test=360)
def digits(folders: list[Path]) -> Arrays:
    """Load 1,797 images of 8 × 8 pixels: 1,437 for training, 360 for test.

    Pixels have values 0 … 16.  Source: UCI Optical Recognition of Handwritten Digits (test part),
    as in scikit-learn.
    """
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    images = features[order].astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = labels[order].astype(np.int64)
    return Arrays(images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:], 10, 16.0)
