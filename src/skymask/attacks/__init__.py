"""Attacks by name.

An attack changes the data of the malicious clients before they train (``DATA_ATTACKS``), their
updates after training (``ATTACKS``), or both. To add one, write a function in a file of this
folder and enter it here; its keyword-only arguments with a default become its parameters in a
study file.

An update attack is ``function(updates, malicious, ...)``: it gets the honest updates [n, d] and
the flags ``malicious`` [n] bool, and returns updates [n, d] in which only flagged rows differ.
What else it needs it names as an argument:

===================== ======================================================================
``generator``         a torch generator for this run and round, on the CPU
``global_parameters`` the global model w [d]
``model``             the model as a function of flat parameters (:class:`.FunctionalModel`)
``layout``            the split of the d coordinates into layers (:class:`.Layout`)
``classes``           the number of classes
``own_data``          the honest samples of all malicious clients (:class:`.Samples`)
``state``             the state it returned last round (a dict of tensors), empty at first
===================== ======================================================================

It may return ``(updates, state)``. A data attack is ``function(features, labels, ...)``; it may
ask for ``generator``, ``classes`` and ``attacker`` (the index of the malicious client, from 0),
and returns the poisoned features and labels. Both kinds get copies, on any device.

A backdoor also needs an entry in ``TRIGGERS``: ``function(features, ...)`` puts on test samples
the trigger that makes the model predict the attack's parameter ``target``; it takes the attack's
parameters by name.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from skymask.attacks.byzmean import byzmean
from skymask.attacks.dba import dba
from skymask.attacks.fang_krum import fang_krum
from skymask.attacks.fang_trim import fang_trim
from skymask.attacks.fltrust_adaptive import fltrust_adaptive
from skymask.attacks.gaussian import gaussian
from skymask.attacks.hybrid_sparse import hybrid_sparse
from skymask.attacks.ipm import ipm
from skymask.attacks.label_flip import label_flip
from skymask.attacks.layer_norm_sparse import layer_norm_sparse
from skymask.attacks.lie import lie
from skymask.attacks.lie_backdoor import lie_backdoor
from skymask.attacks.lp_attack import lp_attack
from skymask.attacks.mimic import mimic
from skymask.attacks.min_max import min_max
from skymask.attacks.min_sum import min_sum
from skymask.attacks.neurotoxin import neurotoxin
from skymask.attacks.non_finite import non_finite
from skymask.attacks.none import none
from skymask.attacks.poisonedfl import poisonedfl
from skymask.attacks.rop import rop
from skymask.attacks.scaling import scaling, scaling_data
from skymask.attacks.sign_flip import sign_flip
from skymask.attacks.skymask_adaptive import skymask_adaptive
from skymask.attacks.triggers import stamped

ATTACKS: dict[str, Callable[..., Any]] = {
    "none": none,
    "min_max": min_max,
    "min_sum": min_sum,
    "fang_trim": fang_trim,
    "fang_krum": fang_krum,
    "lie": lie,
    "ipm": ipm,
    "sign_flip": sign_flip,
    "gaussian": gaussian,
    "mimic": mimic,
    "fltrust_adaptive": fltrust_adaptive,
    "skymask_adaptive": skymask_adaptive,
    "non_finite": non_finite,
    "scaling": scaling,
    "lie_backdoor": lie_backdoor,
    "lp_attack": lp_attack,
    "hybrid_sparse": hybrid_sparse,
    "neurotoxin": neurotoxin,
    "layer_norm_sparse": layer_norm_sparse,
    "poisonedfl": poisonedfl,
    "byzmean": byzmean,
    "rop": rop,
}

DATA_ATTACKS: dict[str, Callable[..., Any]] = {
    "label_flip": label_flip,
    "scaling": scaling_data,
    "dba": dba,
}

TRIGGERS: dict[str, Callable[..., Tensor]] = {
    "scaling": stamped,
    "dba": stamped,
    "lie_backdoor": stamped,
    "lp_attack": stamped,
    "neurotoxin": stamped,
}

__all__ = [
    "ATTACKS",
    "DATA_ATTACKS",
    "byzmean",
    "dba",
    "fang_krum",
    "fang_trim",
    "fltrust_adaptive",
    "gaussian",
    "hybrid_sparse",
    "ipm",
    "label_flip",
    "layer_norm_sparse",
    "lie",
    "lie_backdoor",
    "lp_attack",
    "mimic",
    "min_max",
    "min_sum",
    "neurotoxin",
    "non_finite",
    "none",
    "poisonedfl",
    "rop",
    "scaling",
    "sign_flip",
    "skymask_adaptive",
]
