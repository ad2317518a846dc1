"""Registry of data sets.

A loader is ``function(folders)``: it looks for local copies in ``folders`` and returns
:class:`Arrays`.  Its decorator ``describes`` states what is known before the data is read.
"""

from collections.abc import Callable
from pathlib import Path

from skymask.data.datasets.arrays import Arrays, DataError
from skymask.data.datasets.cifar import cifar10, cifar100
from skymask.data.datasets.digits import digits
from skymask.data.datasets.fashion_mnist import fashion_mnist
from skymask.data.datasets.har import har

DATASETS: dict[str, Callable[[list[Path]], Arrays]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "har": har,
}

__all__ = [
    "DATASETS",
    "Arrays",
    "DataError",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "har",
]
