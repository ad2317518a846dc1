"""SkyMask's verdict on each client from the binary masks.

Three tests follow each other, each on the clients that the ones before accepted:

1. *Copies* (:func:`coincident`). Two clients whose masks nearly coincide, away from the server's,
   did not train: local batches alone keep honest masks apart.
2. *Shape* (:func:`server_cluster`). Two Gaussians describe the masks' principal coordinates better
   than one, by a wide margin or by a narrow one that the evidence confirms, and those away from
   the server are the worse ones by the evidence of test 3.
3. *Harm* (:func:`harmful`). The effect of the clients' models on the root data, averaged over the
   rounds, splits into two groups; the worse one is rejected.

The documentation page "How the clusters are decided" has the runs on which the thresholds were
chosen, their effect on other runs, and where they fail.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skymask.masks.gaussian_mixture import bic_gain, two_gaussians
from skymask.models.functional import FunctionalModel
from skymask.models.losses import mean_loss
from skymask.models.samples import Samples
from skymask.numerics.distances import binary_gram, cosine_similarities, distances_of
from skymask.numerics.pca import coordinates_of

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# largest distance of copies, as a share of the median distance to the server's mask; the closest
# honest pairs of benchmarks/cluster_study.py are at 0.19 of the clients' median distance
COPY_DISTANCE = 0.01
# gain in BIC per row that two Gaussians need, with three rows or more in each
GROUP_GAIN = 3.0
# the same where one of them has one or two rows, which share the others' covariance
PAIR_GAIN = 5.5
# added to both, over the squared number of rows: few rows split by chance
GAIN_MARGIN = 90.0
# ln(total / within variance) that a cut of the evidence needs, along its first column and along the
# sum of both; the best cut of a normal sample reaches ln(π / (π − 2)) = 1.01, of a uniform one
# ln 4 = 1.39; the first column has the longer tails
HARM_EXPLAINED = (2.1, 1.6)
# added to it, over the squared number of clients: few values are cut more easily
HARM_MARGIN = 120.0
# gain in BIC per row that two Gaussians need where the evidence confirms their clusters
CONFIRMED_GAIN = 0.5
# what these clusters must explain of the evidence, summed over its columns
CONFIRMED_EXPLAINED = 1.2
# added to it, over the squared number of clients
CONFIRMED_MARGIN = 60.0
# factor by which evidence fades per round
EVIDENCE_DECAY = 0.9
# rise of the root loss beyond which a model does not count as worse
LARGEST_HARM = 3.0


def verdict(binary: Tensor, evidence: Tensor | None = None, *, always_two: bool = False) -> Floats:
    """Return each client's posterior probability to share the server's cluster.

    Args:
        binary: Masks [n + 1, d], 0 or 1, the server's last.
        evidence: Results of :func:`evidence`, averaged over the rounds [n, 2]; without them there
            is no test of harm.
        always_two: Apply the rule of the released code: two Gaussians whatever they gain, and no
            other test.

    Returns:
        The probabilities [n], float64; 0 for copies and harmful clients.
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
    shared = server_cluster(coordinates.cpu().numpy(), None if known is None else known[left])
    if known is None or _worse(known[left], shared <= 0.5):
        scores[left] = shared
    if known is not None:
        left = scores > 0.5
        clients_left = np.flatnonzero(left)
        scores[clients_left[harmful(known[left])]] = 0.0
    return scores


def coincident(distances: Floats) -> Flags:
    """Flag the clients whose masks coincide with another's but not with the server's.

    No client is flagged if all would be: then it is the server that is apart.

    Args:
        distances: Squared distances of the masks [n + 1, n + 1], the server last.

    Returns:
        The flags [n], bool.

    >>> masks = np.array([[0.0], [9.0], [9.0], [4.0], [0.0]])
    >>> coincident((masks - masks.T) ** 2).tolist()
    [False, True, True, False]
    """
    to_server = distances[:-1, -1]
    limit = COPY_DISTANCE * np.median(to_server)
    copies = ((distances[:-1, :-1] <= limit).sum(axis=1) >= 2) & (to_server > limit)
    none: Flags = np.zeros_like(copies)
    return none if copies.all() else copies


def server_cluster(
    coordinates: Floats, evidence: Floats | None = None, *, always_two: bool = False
) -> Floats:
    """Return each client's posterior probability to share the server's cluster of coordinates.

    There is one cluster, hence ones, if the rows are identical or too few, or if two Gaussians gain
    too little over one.

    Args:
        coordinates: Principal coordinates of the masks [n + 1, 2], the server last.
        evidence: Evidence per client [n, 2], which can confirm the clusters.
        always_two: Whether two Gaussians count whatever they gain.

    Returns:
        The probabilities [n], float64.
    """
    clients = len(coordinates) - 1
    spread = coordinates[:, 0].std()
    if spread == 0 or clients < (2 if always_two else 3):
        return np.ones(clients)
    points = coordinates / spread
    two = two_gaussians(points, own_covariance=always_two)
    probabilities: Floats = two.predict_proba(points)
    shared = probabilities[:-1, probabilities[-1].argmax()]
    if always_two:
        return shared
    gain = bic_gain(points, two)
    needed = GROUP_GAIN if two.covariance_type == "full" else PAIR_GAIN
    if gain >= needed + GAIN_MARGIN / len(points) ** 2:
        return shared
    if evidence is not None and gain >= CONFIRMED_GAIN and confirmed(evidence, shared <= 0.5):
        return shared
    return np.ones(clients)


def confirmed(evidence: Floats, apart: Flags) -> bool:
    """Return whether the evidence separates the clients apart from the others, as the worse ones.

    The groups explain −ln(1 − R²) in each column in which the ones apart are worse; the sum must
    reach a threshold. Each group needs two clients.

    Args:
        evidence: Evidence per client [n, 2]; more is better.
        apart: Flags of the clients away from the server [n], bool.

    Returns:
        Whether the evidence confirms the clusters.
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
    return explained >= CONFIRMED_EXPLAINED + CONFIRMED_MARGIN / clients**2


def _worse(evidence: Floats, apart: Flags) -> bool:
    """Return whether the clients ``apart`` are worse by the sum of both standardised columns.

    The server's own mask is sometimes an outlier, and may then lie with the attackers.
    """
    if apart.all() or not apart.any():
        return True
    spread = np.where(evidence.std(axis=0) > 0, evidence.std(axis=0), 1.0)
    gap = evidence[~apart].mean(axis=0) - evidence[apart].mean(axis=0)
    return bool((gap / spread).sum() > 0)


def harmful(evidence: Floats) -> Flags:
    """Flag the worse of two groups of evidence; no client if there is one group.

    The first column, and the sum of both standardised columns, are each cut in two where that
    leaves the least variance within. Of the cuts that explain enough, the one that explains more
    counts; for the sum, the lower group must be worse in both columns. Equal values are never
    separated.

    Args:
        evidence: Evidence per client [n, 2]; more is better.

    Returns:
        The flags [n], bool.
    """
    clients = len(evidence)
    worse: Flags = np.zeros(clients, dtype=np.bool_)
    spread = evidence.std(axis=0) if clients > 2 else np.zeros(2)
    if not (spread > 0).all():
        return worse
    standard = (evidence - evidence.mean(axis=0)) / spread
    surplus = 0.0
    lines = {1: standard[:, 0], 2: standard.sum(axis=1)}
    for (columns, line), enough in zip(lines.items(), HARM_EXPLAINED, strict=True):
        explained, lower = _best_cut(line)
        beyond = explained - enough - HARM_MARGIN / clients**2
        if beyond <= surplus or lower.all():
            continue
        gap = evidence[~lower].mean(axis=0) - evidence[lower].mean(axis=0)
        if (gap[:columns] > 0).all():
            surplus, worse = beyond, lower
    return worse


def _best_cut(line: Floats) -> tuple[float, Flags]:
    """Return ln(total / within variance) of the best cut of ``line`` [n] and the lower part [n]."""
    values = np.sort(line - line.mean())
    below = np.arange(1, len(values))
    sums = values.cumsum()[:-1]
    # a cut explains the squared means of both parts, whose sums are opposite
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
    """Measure what each client's update does to the root data.

    The first column is the fall of the root loss from w to w + Δ_i, at worst −3, computed from
    outputs less their mean over the root data: that mean depends mostly on the classes a client
    has, and a client must not be blamed for having few samples of some. The second is cos(Δ_i,
    Δ_0).

    Args:
        updates: Updates [n, d].
        server_update: The server's own update Δ_0 [d].
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters.
        root: The root data.

    Returns:
        The evidence [n, 2], float64; more is better.
    """
    models = itertools.chain([global_parameters], (global_parameters + row for row in updates))
    losses = [
        mean_loss(logits - logits.mean(dim=0), root.labels, model.loss)
        for logits in model.logits_of_each(models, root.features)
    ]
    drops = torch.stack([losses[0] - loss for loss in losses[1:]]).double()
    drops = drops.nan_to_num(-LARGEST_HARM, LARGEST_HARM, -LARGEST_HARM).clamp_min(-LARGEST_HARM)
    return torch.stack([drops, cosine_similarities(updates, server_update)], dim=1)
