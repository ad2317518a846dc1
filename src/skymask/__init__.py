"""Robust federated-learning experiments around SkyMask (ECCV 2024, arXiv 2312.12484).

The package holds pure functions on tensors. The Snakemake workflow calls them and writes every
result to Parquet. Importing ``skymask`` is fast: the public names are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skymask import attacks, defenses
    from skymask.masks.learning import learn as learn_masks
    from skymask.models.functional import FunctionalModel, root_loss
    from skymask.models.samples import Samples

__version__ = "0.1.0"

__all__ = ["FunctionalModel", "Samples", "attacks", "defenses", "learn_masks", "root_loss"]

_HOMES = {
    "FunctionalModel": ("skymask.models.functional", "FunctionalModel"),
    "Samples": ("skymask.models.samples", "Samples"),
    "learn_masks": ("skymask.masks.learning", "learn"),
    "root_loss": ("skymask.models.functional", "root_loss"),
}


def __getattr__(name: str) -> Any:
    if name in ("attacks", "defenses"):
        return import_module(f"skymask.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'skymask' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
