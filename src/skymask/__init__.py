"""Robust federated learning experiments around SkyMask (ECCV 2024, arXiv 2312.12484).

The package holds pure functions on tensors. The Snakemake workflow calls them and writes every
result to Parquet. Importing ``skymask`` is fast: the public names are loaded when they are used.

>>> import skymask
>>> skymask.defenses.DEFENSES["krum"].__name__
'krum'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skymask import attacks, defenses
    from skymask.masks.learning import binarise, learn_masks
    from skymask.models.flat_parameters import Layout
    from skymask.models.functional import FunctionalModel, root_loss
    from skymask.models.samples import Samples

__version__ = "0.1.0"

__all__ = [
    "FunctionalModel",
    "Layout",
    "Samples",
    "attacks",
    "binarise",
    "defenses",
    "learn_masks",
    "root_loss",
]

_MODULES = {
    "FunctionalModel": "skymask.models.functional",
    "Layout": "skymask.models.flat_parameters",
    "Samples": "skymask.models.samples",
    "binarise": "skymask.masks.learning",
    "learn_masks": "skymask.masks.learning",
    "root_loss": "skymask.models.functional",
}


def __getattr__(name: str) -> Any:
    if name in ("attacks", "defenses"):
        return import_module(f"skymask.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'skymask' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
