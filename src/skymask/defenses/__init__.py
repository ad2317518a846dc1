"""Defenses (aggregation rules) by name.

To add one, write a function in a file of this folder and enter it here; its keyword-only arguments
with a default become its parameters in a study file.

A defense is ``function(updates, ...)``: it gets the updates [n, d] of the round, all finite, and
returns an :class:`.Aggregation`. It never changes its inputs. What else it needs it names as an
argument:

====================== =====================================================================
``global_parameters``  the global model w [d]
``server_update``      the server's own update Δ_0 [d], trained on the root data like a client
``loss``               the loss on the root data, a differentiable function of parameters [d]
``model``              the model as a function of flat parameters (:class:`.FunctionalModel`)
``layout``             the split of the d coordinates into layers (:class:`.Layout`)
``root``               the root data (:class:`.Samples`)
``assumed_malicious``  f, the number of malicious clients that the server assumes
``clients``            the clients' numbers [n], for a rule that keeps a state per client
``samples``            the clients' sample counts [n]
``generator``          a torch generator for this run and round, on the CPU
``state``              the state it returned last round (a dict of tensors), empty at first
``malicious``          the true attackers [n], bool: only for the upper bound ``oracle``
====================== =====================================================================

A pre-aggregator, in ``PRE_AGGREGATORS``, comes before a defense, as in ``[nnm, krum]``. It is a
function like a defense and returns a :class:`.Mixture`: rows that replace the updates, as linear
combinations of them.
"""

from collections.abc import Callable

from skymask.defenses.aggregation import Aggregation, Mixture
from skymask.defenses.alignins import alignins
from skymask.defenses.bucketing import bucketing
from skymask.defenses.bulyan import bulyan
from skymask.defenses.centered_clipping import centered_clipping
from skymask.defenses.deepsight import deepsight
from skymask.defenses.dnc import dnc
from skymask.defenses.fedavg import fedavg
from skymask.defenses.fedseca import fedseca
from skymask.defenses.flame import flame
from skymask.defenses.fldetector import fldetector
from skymask.defenses.fltrust import fltrust
from skymask.defenses.foolsgold import foolsgold
from skymask.defenses.foundation import foundation
from skymask.defenses.freqfed import freqfed
from skymask.defenses.gas import gas
from skymask.defenses.geometric_median import geometric_median
from skymask.defenses.krum import krum
from skymask.defenses.lasa import lasa
from skymask.defenses.median import median
from skymask.defenses.multi_krum import multi_krum
from skymask.defenses.multi_metrics import multi_metrics
from skymask.defenses.nnm import nnm
from skymask.defenses.norm_clip import norm_clip
from skymask.defenses.oracle import oracle
from skymask.defenses.per_layer import per_layer
from skymask.defenses.rlr import rlr
from skymask.defenses.signguard import signguard
from skymask.defenses.skymask import skymask
from skymask.defenses.tolpegin import tolpegin
from skymask.defenses.trimmed_mean import trimmed_mean

Defense = Callable[..., Aggregation]
PreAggregator = Callable[..., Mixture]

DEFENSES: dict[str, Defense] = {
    "fedavg": fedavg,
    "trimmed_mean": trimmed_mean,
    "median": median,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "tolpegin": tolpegin,
    "geometric_median": geometric_median,
    "dnc": dnc,
    "signguard": signguard,
    "centered_clipping": centered_clipping,
    "flame": flame,
    "deepsight": deepsight,
    "fldetector": fldetector,
    "foolsgold": foolsgold,
    "fltrust": fltrust,
    "rlr": rlr,
    "lasa": lasa,
    "alignins": alignins,
    "fedseca": fedseca,
    "multi_metrics": multi_metrics,
    "gas": gas,
    "freqfed": freqfed,
    "skymask": skymask,
    "oracle": oracle,
}

PRE_AGGREGATORS: dict[str, PreAggregator] = {
    "nnm": nnm,
    "bucketing": bucketing,
    "norm_clip": norm_clip,
    "foundation": foundation,
}

__all__ = [
    "DEFENSES",
    "PRE_AGGREGATORS",
    "Aggregation",
    "Defense",
    "Mixture",
    "PreAggregator",
    "alignins",
    "bucketing",
    "bulyan",
    "centered_clipping",
    "deepsight",
    "dnc",
    "fedavg",
    "fedseca",
    "flame",
    "fldetector",
    "fltrust",
    "foolsgold",
    "foundation",
    "freqfed",
    "gas",
    "geometric_median",
    "krum",
    "lasa",
    "median",
    "multi_krum",
    "multi_metrics",
    "nnm",
    "norm_clip",
    "oracle",
    "per_layer",
    "rlr",
    "signguard",
    "skymask",
    "tolpegin",
    "trimmed_mean",
]
