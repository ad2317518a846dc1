"""SkyMask's verdict: which clients' masks belong with the server's, and whether any do not.

Three tests, each on the rows that the ones before left, so that nobody is rejected twice:

1. *Copies* (:func:`coincident`).  Two clients whose masks nearly coincide, away from the server's,
   did not train: local batches alone keep honest masks apart.
2. *Shape* (:func:`server_cluster`).  Two Gaussians describe the masks' principal coordinates
   better than one, by a wide margin or by a narrow one that the evidence bears out, and those away
   from the server are the worse ones by the evidence of 3.
3. *Harm* (:func:`harmful`).  What the clients' models did to the root data, averaged over the
   rounds, falls into two groups; the worse one goes.

``docs/explanation/cluster-decision.md`` says on which runs the thresholds were chosen, what they
do on other runs, and where they fail.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skymask.masks.gaussian_mixture import bic_gain, two_gaussians
from skymask.models.functional import FunctionalModel, cross_entropy
from skymask.models.samples import Samples
from skymask.numerics.distances import binary_gram, cosine_similarities, distances_of
from skymask.numerics.pca import coordinates_of

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# The share of the median distance to the server's mask under which two masks are copies.  The
# closest honest pairs of benchmarks/cluster_study.py are at 0.19 of the clients' median distance.
COPIES = 0.01
# What two Gaussians must gain over one, in BIC per row: in general, and where one of them holds one
# or two rows, which share the others' covariance.  Few rows split by chance, so both grow by the
# third over the square of the rows.
GAIN_OF_GROUPS, GAIN_OF_FEW, GAIN_ROWS = 3.0, 5.5, 90.0
# What cutting the evidence in two must explain, ln(total / within variance), along its first column
# and along the sum of both, and what that grows by over the square of the clients.  The best cut
# of a normal sample reaches ln(π / (π − 2)) = 1.01, of a uniform one ln 4 = 1.39, of few more; the
# first column has the longer tails.
EXPLAINED, EXPLAINED_ROWS = (2.1, 1.6), 120.0
# What two Gaussians must gain at least, where the evidence bears their clusters out: what these
# explain of both columns, and what that grows by over the square of the clients.
GAIN_BORNE_OUT, BORNE_OUT, BORNE_OUT_ROWS = 0.5, 1.2, 60.0
# Per round, how far evidence fades, and the loss beyond which a model is not counted as worse.
MEMORY, LARGEST_HARM = 0.9, 3.0


def verdict(binary: Tensor, evidence: Tensor | None = None, *, always_two: bool = False) -> Floats:
    """Posterior probability of each client to share the server's cluster, [n]; 0 if it was harmful.

    ``binary`` [n + 1, d] are the masks, 0 or 1, the server's last.  ``evidence`` [n, 2] is what
    :func:`evidence` gave, averaged over the rounds; without it there is no test of harm.
    ``always_two`` is the released code's rule: two Gaussians, whatever they gain, and no other
    test.
    """
    clients = len(binary) - 1
    if always_two:
        coordinates, _ = coordinates_of(binary_gram(binary))
        return server_cluster(coordinates.cpu().numpy(), always_two=True)
    known = None if evidence is None else evidence.cpu().numpy()
    gram = binary_gram(binary)
    left = ~coincident(distances_of(gram).cpu().numpy())
    scores = left.astype(np.float64)
    rows = np.append(np.flatnonzero(left), clients)
    kept = torch.from_numpy(rows).to(gram.device)
    coordinates, _ = coordinates_of(gram[kept[:, None], kept])
    found = server_cluster(coordinates.cpu().numpy(), None if known is None else known[left])
    if known is None or _worse(known[left], found <= 0.5):
        scores[left] = found
    if known is not None:
        left = scores > 0.5
        places = np.flatnonzero(left)
        scores[places[harmful(known[left])]] = 0.0
    return scores


def coincident(distances: Floats) -> Flags:
    """The clients [n] whose masks coincide with another's, but not with the server's.

    ``distances`` [n + 1, n + 1] are the masks' squared distances, the server last.  Nobody, if
    that would be everybody: then it is the server that stands apart.

    >>> masks = np.array([[0.0], [9.0], [9.0], [4.0], [0.0]])
    >>> coincident((masks - masks.T) ** 2).tolist()
    [False, True, True, False]
    """
    to_server = distances[:-1, -1]
    limit = COPIES * np.median(to_server)
    copies = ((distances[:-1, :-1] <= limit).sum(axis=1) >= 2) & (to_server > limit)
    none: Flags = np.zeros_like(copies)
    return none if copies.all() else copies


def server_cluster(
    coordinates: Floats, evidence: Floats | None = None, *, always_two: bool = False
) -> Floats:
    """Posterior probability of each client to share the server's cluster, [n].

    ``coordinates`` is [n + 1, 2], the server last; ``evidence`` [n, 2] may bear the clusters out.
    One cluster, hence ones, if the rows are identical or too few, or if two Gaussians gain too
    little over one (unless ``always_two``).
    """
    clients = len(coordinates) - 1
    spread = coordinates[:, 0].std()
    if spread == 0 or clients < (2 if always_two else 3):
        return np.ones(clients)
    points = coordinates / spread
    two = two_gaussians(points, own_covariance=always_two)
    probabilities: Floats = two.predict_proba(points)
    found = probabilities[:-1, probabilities[-1].argmax()]
    if always_two:
        return found
    gain = bic_gain(points, two)
    needed = GAIN_OF_GROUPS if two.covariance_type == "full" else GAIN_OF_FEW
    if gain >= needed + GAIN_ROWS / len(points) ** 2:
        return found
    if evidence is not None and gain >= GAIN_BORNE_OUT and borne_out(evidence, found <= 0.5):
        return found
    return np.ones(clients)


def borne_out(evidence: Floats, apart: Flags) -> bool:
    """Whether ``evidence`` [n, 2] tells those ``apart`` from the others, as the worse ones.

    Per column in which they are worse, the groups explain −ln(1 − R²); the sum must reach a
    threshold.  Each group has two clients or more.
    """
    clients = len(apart)
    if min(apart.sum(), clients - apart.sum()) < 2:
        return False
    explained = 0.0
    for column in evidence.T:
        total = ((column - column.mean()) ** 2).sum()
        groups = column[apart], column[~apart]
        within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
        if groups[0].mean() < groups[1].mean():
            explained += math.log(total / max(within, 1e-12 * total))
    return explained >= BORNE_OUT + BORNE_OUT_ROWS / clients**2


def _worse(evidence: Floats, apart: Flags) -> bool:
    """Whether those ``apart`` are the worse ones by the sum of both columns over their deviations.

    The server's own mask is an outlier at times, and may then lie with the attackers.
    """
    if apart.all() or not apart.any():
        return True
    spread = np.where(evidence.std(axis=0) > 0, evidence.std(axis=0), 1.0)
    gap = evidence[~apart].mean(axis=0) - evidence[apart].mean(axis=0)
    return bool((gap / spread).sum() > 0)


def harmful(evidence: Floats) -> Flags:
    """The worse of two groups that ``evidence`` [n, 2] falls into; nobody if it is one group.

    The first column, and the sum of both columns over their deviations, are each cut in two where
    that leaves the least variance within.  Of the cuts that explain enough, the one that does so
    by more counts; along the sum, those below must be worse in both columns.  Equal values are not
    parted.
    """
    clients = len(evidence)
    worse: Flags = np.zeros(clients, dtype=np.bool_)
    spread = evidence.std(axis=0) if clients > 2 else np.zeros(2)
    if not (spread > 0).all():
        return worse
    standard = (evidence - evidence.mean(axis=0)) / spread
    surplus = 0.0
    lines = {1: standard[:, 0], 2: standard.sum(axis=1)}
    for (columns, line), enough in zip(lines.items(), EXPLAINED, strict=True):
        explained, lower = _best_cut(line)
        beyond = explained - enough - EXPLAINED_ROWS / clients**2
        if beyond <= surplus or lower.all():
            continue
        gap = evidence[~lower].mean(axis=0) - evidence[lower].mean(axis=0)
        if (gap[:columns] > 0).all():
            surplus, worse = beyond, lower
    return worse


def _best_cut(line: Floats) -> tuple[float, Flags]:
    """ln(total / within variance) of the best cut of ``line`` [n] in two, and who lies below."""
    values = np.sort(line - line.mean())
    below = np.arange(1, len(values))
    sums = values.cumsum()[:-1]
    # what a cut explains: the squared means of both parts, which have opposite sums
    between = sums**2 / below + sums**2 / (len(values) - below)
    best = int(between.argmax())
    total = float(values @ values)
    within = max(total - float(between[best]), 1e-12 * total)
    middle = (values[best] + values[best + 1]) / 2
    return math.log(total / within) if total > 0 else 0.0, line - line.mean() <= middle


def evidence(
    updates: Tensor,
    server_update: Tensor,
    global_parameters: Tensor,
    model: FunctionalModel,
    root: Samples,
) -> Tensor:
    """What each client's update does to the root data, float64 [n, 2]; more is better.

    First, by how much w + Δ_i lowers the loss on ``root`` below that of w, when the outputs of
    both have their mean over the root data taken off: so a client is not blamed for holding few of
    some classes, which moves that mean above all.  At worst −3.  Second, cos(Δ_i, Δ_0).
    ``updates`` is [n, d], ``server_update`` Δ_0 and ``global_parameters`` w are [d].
    """
    places = itertools.chain([global_parameters], (global_parameters + row for row in updates))
    losses = [
        cross_entropy(logits - logits.mean(dim=0), root.labels, model.softmax_axis)
        for logits in model.logits_of_each(places, root.features)
    ]
    drops = torch.stack([losses[0] - loss for loss in losses[1:]]).double()
    drops = drops.nan_to_num(-LARGEST_HARM, LARGEST_HARM, -LARGEST_HARM).clamp_min(-LARGEST_HARM)
    return torch.stack([drops, cosine_similarities(updates, server_update)], dim=1)
