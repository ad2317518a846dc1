"""SkyMask's verdict on each client from the binary masks.

Three tests follow each other, each on the clients that the ones before accepted:

1. *Copies* (:func:`copies`). Two clients whose masks nearly coincide, away from the server's, did
   not train: local batches alone keep honest masks apart.
2. *Shape* (:func:`server_cluster`). Two Gaussians describe the masks' principal coordinates better
   than one, and the evidence shows that those away from the server are the worse ones.
3. *Harm* (:func:`harmful`). The evidence alone splits the clients into two groups; the worse one is
   rejected.

Where masks cannot tell (fewer than five clients, masks that are all alike, a server alone in its
cluster), a client is accepted only if its update points along the server's.

The documentation page "How the clusters are decided" has the federations in which the thresholds
were chosen, their effect in others, and where they fail.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skymask.masks.gaussian_mixture import bic_gain, two_gaussians
from skymask.numerics import column_blocks
from skymask.numerics.distances import binary_gram, distances_of, squared_distances
from skymask.numerics.pca import coordinates_of

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# largest distance of two copies, as a share of the median distance to the server's mask; of honest
# clients of the digits and Fashion-MNIST no two were closer than 0.19 of their median distance
COPY_DISTANCE = 0.01
# the same for further copies of these
NEAR_COPY_DISTANCE = 0.04
# least distance of copies to the server's mask, as a share of the largest
COPY_APART = 0.1
# largest distance of the updates of two copies, as a share of the longer one's length
COPY_UPDATES = 0.25
# gain in BIC per row that two Gaussians need over one
SHAPE_GAIN = 0.5
# separation of the evidence that two clusters of masks need where they gain least, and where they
# gain CLEAR_GAIN or more
SHAPE_SEPARATION = (3.5, 1.0)
# gain from which clusters are clear
CLEAR_GAIN = 2.0
# separation that the best cut of the evidence alone needs; that of a normal sample is about 3.3
HARM_SEPARATION = 5.0
# the same where one or two clients are rejected: one honest client is often apart
FEW_SEPARATION = 6.0
# separation that the best cut of the effect of whole updates needs, and of the evidence that must
# confirm it: clients that take fewer steps have a smaller effect and are not worse
EFFECT_SEPARATION, EFFECT_CONFIRMED = 5.5, 3.0
# added to both, over the squared number of clients: few values are separated more easily
SEPARATION_MARGIN = 100.0
# difference of the groups' mean evidence, as a share of the server's, that both need: groups that
# help about equally are no attack, however clearly they are two
SEPARATION_GAP = 0.3
# gain in BIC per row with which a server that is alone in its cluster is taken for an outlier
ALONE_GAIN = 3.0
# smaller groups need more evidence to be rejected
FEWEST_APART = 3
# fewest clients that are compared with each other
FEWEST = 5
# least share of the clients that a comparison may leave: where fewer are better than the others,
# the server is as likely to be the exception
LEAST_KEPT = 0.2


def verdict(
    binary: Tensor, updates: Tensor, evidence: Tensor, *, always_two: bool = False
) -> Floats:
    """Return each client's posterior probability to share the server's cluster.

    Args:
        binary: Masks [n + 1, d], 0 or 1, the server's last.
        updates: Updates [n, d] of the clients, none of length zero.
        evidence: Results of :func:`skymask.masks.evidence.measure`, averaged over the rounds
            [n + 1, k].
        always_two: Apply the rule of the released code: two Gaussians whatever they gain, and no
            other test.

    Returns:
        The probabilities [n], float64; 0 for copies, harmful clients and those that do not point
        along the server's update where masks cannot tell.
    """
    known = evidence.cpu().numpy()
    gram = binary_gram(binary)
    clients = len(binary) - 1
    if always_two:
        coordinates, _ = coordinates_of(gram)
        shared = two_clusters(coordinates.cpu().numpy())
        return _trusted(known) if shared is None else shared
    left = ~_copies(gram, updates)
    scores = np.zeros(clients)
    if left.sum() < FEWEST:
        scores[left] = _trusted(known)[left]
        return scores
    rows = np.append(np.flatnonzero(left), clients)
    kept = torch.from_numpy(rows).to(gram.device)
    coordinates, _ = coordinates_of(gram[kept[:, None], kept])
    scores[left] = server_cluster(coordinates.cpu().numpy(), known[rows])
    rows = np.append(np.flatnonzero(scores > 0.5), clients)
    scores[rows[:-1][harmful(known[rows])]] = 0.0
    if (scores > 0.5).sum() < LEAST_KEPT * left.sum():
        scores[left] = _trusted(known)[left]
    return scores


def _copies(gram: Tensor, updates: Tensor) -> Flags:
    """Flag the clients [n] whose masks and updates both coincide with another's.

    Short updates all lie on the same side of the masked model, so that their masks are nearly equal
    whatever their direction.
    """
    flags = copies(distances_of(gram).cpu().numpy())
    rows = np.flatnonzero(flags)
    if len(rows):
        chosen = updates[torch.from_numpy(rows).to(updates.device)]
        lengths = column_blocks.squared_lengths(chosen)
        limit = COPY_UPDATES**2 * torch.maximum(lengths[:, None], lengths)
        flags[rows] = ((squared_distances(chosen) <= limit).sum(dim=1) >= 2).cpu().numpy()
    return flags


def copies(distances: Floats) -> Flags:
    """Flag the clients whose masks coincide with another's but not with the server's.

    Near copies of copies are copies too. No client is flagged if all would be: then it is the
    server that is apart. Clients near the server are not flagged either: one huge update can move
    the masked model so far that all masks but its own are nearly equal.

    Args:
        distances: Squared distances of the masks [n + 1, n + 1], the server last.

    Returns:
        The flags [n], bool.

    >>> masks = np.array([[0.0], [9.0], [9.0], [4.0], [0.0]])
    >>> copies((masks - masks.T) ** 2).tolist()
    [False, True, True, False]
    """
    # slow to load, so it is loaded where it is used
    from scipy.sparse.csgraph import connected_components

    to_server, between = distances[:-1, -1], distances[:-1, :-1]
    none: Flags = np.zeros(len(to_server), dtype=np.bool_)
    if len(none) < 2:
        return none
    usual = np.median(to_server)
    away = (to_server > COPY_DISTANCE * usual) & (to_server >= COPY_APART * to_server.max())
    pairs = away[:, None] & away
    _, group = connected_components(pairs & (between <= NEAR_COPY_DISTANCE * usual))
    exact = ((between <= COPY_DISTANCE * usual) & pairs).sum(axis=1) >= 2
    flags: Flags = np.isin(group, group[exact])
    return none if flags.all() else flags


def two_clusters(coordinates: Floats) -> Floats | None:
    """Return each client's posterior probability to share the server's of two clusters.

    Args:
        coordinates: Principal coordinates of the masks [n + 1, 2], the server last.

    Returns:
        The probabilities [n], float64; ``None`` where there are fewer than two clients or all
        masks are alike.
    """
    points = _scaled(coordinates)
    if points is None or len(points) < 3:
        return None
    two = two_gaussians(points, own_covariance=True)
    return _of_server(two.predict_proba(points))


def server_cluster(coordinates: Floats, evidence: Floats) -> Floats:
    """Return each client's posterior probability to share the server's cluster of coordinates.

    There is one cluster, hence ones, unless two Gaussians gain enough over one and the evidence
    separates their clusters, the one away from the server as the worse one. Where all masks are
    alike, or two Gaussians gain enough and the server is alone in its cluster, clients that do not
    point along the server's update have zero.

    Args:
        coordinates: Principal coordinates of the masks [n + 1, 2], the server last.
        evidence: Evidence [n + 1, k], the server's last.

    Returns:
        The probabilities [n], float64.
    """
    points = _scaled(coordinates)
    if points is None:
        return _trusted(evidence)
    two = two_gaussians(points)
    gain = bic_gain(points, two)
    if gain < SHAPE_GAIN:
        return np.ones(len(points) - 1)
    shared = _of_server(two.predict_proba(points))
    apart = shared <= 0.5
    if apart.all():
        return _trusted(evidence) if gain >= ALONE_GAIN else np.ones(len(shared))
    if apart.sum() < FEWEST_APART:
        return np.ones(len(shared))
    needed = np.interp(gain, (SHAPE_GAIN, CLEAR_GAIN), SHAPE_SEPARATION)
    return shared if separated(evidence, apart, needed) else np.ones(len(shared))


def _scaled(coordinates: Floats) -> Floats | None:
    """Return coordinates with a first component of unit variance; None if it has none."""
    spread = coordinates[:, 0].std()
    return coordinates / spread if spread > 0 else None


def _of_server(probabilities: Floats) -> Floats:
    """Return the clients' probabilities [n] of the cluster of the last of n + 1 rows."""
    shared: Floats = probabilities[:-1, probabilities[-1].argmax()]
    return shared


def _trusted(evidence: Floats) -> Floats:
    """Return 1 for clients whose update points along the server's and 0 for others [n]."""
    trusted: Floats = (evidence[:-1, -1] > 0).astype(np.float64)
    return trusted


def separation(values: Floats, lower: Flags) -> float:
    """Return the distance of two groups' means in standard deviations within them.

    Args:
        values: Values [n], n ≥ 3.
        lower: Flags of the group that is expected to be lower [n], bool.

    Returns:
        (mean of the others − mean of the flagged) / (pooled standard deviation with n − 2 degrees
        of freedom); 0 if a group is empty.
    """
    if lower.all() or not lower.any():
        return 0.0
    groups = values[lower], values[~lower]
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    gap = float(groups[1].mean() - groups[0].mean())
    if gap == 0:
        return 0.0
    return gap / max(math.sqrt(within / (len(values) - 2)), 1e-12 * abs(gap))


def separated(evidence: Floats, lower: Flags, needed: float) -> bool:
    """Return whether the first column of the evidence separates the flagged clients as worse.

    Args:
        evidence: Evidence [n + 1, k], the server's last; more is better.
        lower: Flags [n], bool.
        needed: Separation that many clients need; few need more.

    Returns:
        Whether the groups are separated, and their means differ by a noticeable share of what the
        server's own update achieves.
    """
    values, clients = evidence[:-1, 0], len(evidence) - 1
    if separation(values, lower) < needed + SEPARATION_MARGIN / clients**2:
        return False
    gap = values[~lower].mean() - values[lower].mean()
    return bool(gap >= SEPARATION_GAP * abs(evidence[-1, 0]))


def harmful(evidence: Floats) -> Flags:
    """Flag the worse of two groups of evidence; no client if there is one group.

    The first column is cut in two where that separates the groups most, in excess of what a group
    of its size needs. If it does not separate them enough, the second column is cut instead, and
    the first must confirm the groups. Equal values are never separated.

    Args:
        evidence: Evidence [n + 1, k], the server's last; more is better.

    Returns:
        The flags [n], bool.
    """
    clients = len(evidence) - 1
    none: Flags = np.zeros(clients, dtype=np.bool_)
    if clients < FEWEST:
        return none
    few = [FEW_SEPARATION if size < FEWEST_APART else HARM_SEPARATION for size in range(clients)]
    worse, excess = _best_cut(evidence[:-1, 0], few)
    if excess >= 0 and separated(evidence, worse, few[int(worse.sum())]):
        return worse
    if evidence.shape[1] < 3:
        return none
    unlike = [math.inf if size < FEWEST_APART else EFFECT_SEPARATION for size in range(clients)]
    worse, excess = _best_cut(evidence[:-1, 1], unlike)
    if excess >= SEPARATION_MARGIN / clients**2 and separated(evidence, worse, EFFECT_CONFIRMED):
        return worse
    return none


def _best_cut(values: Floats, needed: list[float]) -> tuple[Flags, float]:
    """Return the lower part [n] of the best cut of values [n] and its separation beyond ``needed``.

    ``needed`` [n] is what a lower part of each size needs.
    """
    cuts = [values <= limit for limit in np.unique(values)[:-1]]
    excess = [separation(values, cut) - needed[int(cut.sum())] for cut in cuts]
    if not excess:
        return np.zeros(len(values), dtype=np.bool_), -math.inf
    best = int(np.argmax(excess))
    return cuts[best], excess[best]
