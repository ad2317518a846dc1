"""The data sets, by name.

A loader is ``function(folders)``: it looks for local copies in ``folders`` and returns
:class:`Arrays`.  What is known of a data set before it is read stands in its ``describes``.
"""

from collections.abc import Callable
from pathlib import Path

from skymask.datasets.arrays import Arrays, DataError
from skymask.datasets.digits import digits
from skymask.datasets.fashion_mnist import fashion_mnist

DATASETS: dict[str, Callable[[list[Path]], Arrays]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
}

__all__ = ["DATASETS", "Arrays", "DataError", "digits", "fashion_mnist"]
