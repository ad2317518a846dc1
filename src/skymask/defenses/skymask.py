"""SkyMask: keep the clients whose learned masks cluster with the server's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skymask import masks
from skymask.contracts import requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.geometry import principal_coordinates
from skymask.objective import Loss

# scikit-learn is half of a job's start-up time, and only this rule needs it: see below
if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

# What two Gaussians must gain over one, in BIC per row, before ``auto`` speaks of an attack.  It
# lies between what benchmarks/cluster_gain.py finds without an attack and under Min-Max and
# Fang-Trim; the README has the figures.
BIC_GAIN_PER_ROW = 3.0

Points = npt.NDArray[np.float64]


@requires(lambda mask_lr: mask_lr > 0, "mask_lr must be positive")
@requires(lambda mask_clamp: mask_clamp > 0, "mask_clamp must be positive")
@requires(lambda mask_steps: mask_steps >= 1, "mask_steps must be at least 1")
@requires(lambda threshold: 0 < threshold < 1, "threshold must lie in (0, 1)")
def skymask(
    updates: Tensor,
    global_parameters: Tensor,
    loss: Loss,
    server_update: Tensor | None = None,
    *,
    clusters: Literal["auto", 2] = "auto",
    threshold: float = 0.5,
    mask_lr: float = 1e7,
    mask_clamp: float = 1e-7,
    mask_steps: int = 20,
) -> Aggregation:
    """Learn a mask per model on the root data, cluster the masks, keep the server's cluster.

    1. W_i = w + Δ_i for the n clients and W_0 = w + Δ_0 for the server, [n + 1, d].
    2. θ = ``masks.learn`` with rate γ = ``mask_lr``, clamp ``mask_clamp`` and up to ``mask_steps``
       steps on ``loss``.
    3. Binarise σ(θ) > ``threshold``, project to two principal components, fit two Gaussians.
    4. Accept the clients in the server's cluster; the update is the mean of their Δ.

    ``clusters=2`` always splits, as the released code does.  ``"auto"`` splits only where two
    Gaussians describe the masks better than one by more than 3 in BIC per row; otherwise there is
    one cluster and everybody is accepted.  Identical masks are one cluster.  A server alone in
    its cluster keeps nobody.

    ``updates`` is [n, d], ``global_parameters`` w [d], ``loss`` a differentiable function of [d],
    ``server_update`` Δ_0 [d] the server's own update, trained on the root data like a client's.
    Without it, a step of steepest descent on ``loss`` of the clients' median length stands in.
    ``scores`` are the posterior probabilities of the server's cluster; ``coordinates`` [n + 1, 2]
    the masks' principal coordinates, the server last.  Source: Yan et al., ECCV 2024
    (arXiv 2312.12484).
    """
    if server_update is None:
        server_update = _descent(updates, global_parameters, loss)
    models = torch.cat([updates, server_update[None].to(updates)]) + global_parameters
    theta = masks.learn(models, loss, learning_rate=mask_lr, clamp=mask_clamp, steps=mask_steps)
    binary = masks.binarise(theta, threshold).to(torch.float32)
    coordinates, _ = principal_coordinates(binary)
    posterior = server_cluster(coordinates.cpu().numpy(), always_two=clusters == 2)
    scores = torch.from_numpy(posterior).to(updates.device)
    return mean_of(updates, scores > 0.5, scores=scores, coordinates=coordinates)


def server_cluster(coordinates: Points, *, always_two: bool = False) -> Points:
    """Posterior probability of each client to share the server's cluster, [n].

    ``coordinates`` is [n + 1, 2], the server last.  One cluster, hence ones, if the rows are
    identical or too few, or if two Gaussians gain too little over one (unless ``always_two``).
    """
    clients = len(coordinates) - 1
    spread = coordinates[:, 0].std()
    if spread == 0 or clients < 2:
        return np.ones(clients)
    points = coordinates / spread
    two = two_gaussians(points)
    if not always_two and bic_gain(points, two) < BIC_GAIN_PER_ROW:
        return np.ones(clients)
    probabilities: Points = two.predict_proba(points)
    return probabilities[:-1, probabilities[-1].argmax()]


def two_gaussians(points: Points) -> GaussianMixture:
    """Fit two Gaussians to ``points`` [m, 2]: the best of several starts, none of them random.

    Each start takes one cluster of a Ward tree, cut into 2, 3 and 4, against the rest; so a small
    dense group is found beside an outlier, and the order of the rows does not matter.
    """
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.mixture import GaussianMixture

    starts: dict[tuple[bool, ...], npt.NDArray[np.bool_]] = {}
    for count in range(2, min(4, len(points) - 1) + 1):
        labels = AgglomerativeClustering(count).fit_predict(points)
        for label in range(count):
            group = labels == label
            starts.setdefault(tuple(group == group[0]), group)
    fits = [
        GaussianMixture(
            2,
            weights_init=[len(part) / len(points) for part in parts],
            means_init=[part.mean(axis=0) for part in parts],
            precisions_init=[_precision(part) for part in parts],
        ).fit(points)
        for group in starts.values()
        for parts in [(points[group], points[~group])]
    ]
    return max(fits, key=lambda fit: fit.lower_bound_)


def bic_gain(points: Points, two: GaussianMixture) -> float:
    """By how much two Gaussians describe ``points`` [m, 2] better than one: BIC per row."""
    from sklearn.mixture import GaussianMixture

    one = GaussianMixture(1).fit(points)
    return float(one.bic(points) - two.bic(points)) / len(points)


def _precision(points: Points) -> Points:
    # the floor that scikit-learn puts under every covariance
    offsets = points - points.mean(axis=0)
    inverse: Points = np.linalg.inv(offsets.T @ offsets / len(points) + 1e-6 * np.eye(2))
    return inverse


def _descent(updates: Tensor, global_parameters: Tensor, loss: Loss) -> Tensor:
    """−∇loss(w), scaled to the median length of the updates."""
    _, gradient = masks.value_and_gradient(loss, global_parameters)
    length = gradient.norm()
    if length == 0:
        return torch.zeros_like(gradient)
    step: Tensor = -gradient / length * updates.norm(dim=1).median()
    return step
