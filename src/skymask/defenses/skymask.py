"""SkyMask: keep the clients whose learned masks cluster with the server's own."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.defenses.client_state import places, union, widened
from skymask.masks import decision, learning
from skymask.models.functional import FunctionalModel, Loss
from skymask.models.samples import Samples
from skymask.numerics.distances import binary_gram
from skymask.numerics.pca import coordinates_of


@requires(lambda mask_lr: mask_lr > 0, "mask_lr must be positive")
@requires(lambda mask_clamp: mask_clamp > 0, "mask_clamp must be positive")
@requires(lambda mask_steps: mask_steps >= 1, "mask_steps must be at least 1")
@requires(lambda threshold: 0 < threshold < 1, "threshold must lie in (0, 1)")
@judges
def skymask(
    updates: Tensor,
    global_parameters: Tensor,
    loss: Loss,
    server_update: Tensor | None = None,
    model: FunctionalModel | None = None,
    root: Samples | None = None,
    clients: Tensor | None = None,
    state: dict[str, Tensor] | None = None,
    *,
    clusters: Literal["auto", 2] = "auto",
    threshold: float = 0.5,
    mask_lr: float = 1e7,
    mask_clamp: float = 1e-7,
    mask_steps: int = 20,
    mask_precision: Literal["float32", "bfloat16"] = "float32",
) -> Aggregation:
    """Learn a mask per model on the root data, cluster the masks, keep the server's cluster.

    1. W_i = w + Δ_i for the n clients and W_0 = w + Δ_0 for the server, [n + 1, d].
    2. Learn θ (:func:`~skymask.masks.learning.learn_masks`) with rate γ = ``mask_lr``, clamp
       ``mask_clamp`` and up to ``mask_steps`` steps on ``loss``.  With
       ``mask_precision="bfloat16"`` the Δ_i are kept in 16 bits there, which takes two thirds of
       the memory; docs/explanation/performance.md says what it does to verdicts.
    3. Binarise σ(θ) > ``threshold``, project to two principal components, fit two Gaussians.
    4. Accept the clients in the server's cluster; the update is the mean of their Δ.

    ``clusters=2`` always splits, as the released code does.  ``"auto"`` rejects, one after the
    other, copies of a mask; those away from the server, where two Gaussians gain enough in BIC over
    one and the evidence does not speak against it; and clients that did harm to the root data,
    round for round (see :mod:`skymask.masks.decision`).  Otherwise there is one cluster and
    everybody is accepted.
    Identical masks are one cluster.  A server alone in its cluster keeps nobody.  A client whose
    own loss is not finite is rejected before; a server whose loss is not keeps nobody.

    ``updates`` is [n, d], ``global_parameters`` w [d], ``loss`` a differentiable function of [d],
    ``server_update`` Δ_0 [d] the server's own update, trained on the root data like a client's.
    Without it, a step of steepest descent on ``loss`` of the clients' median length stands in.
    Harm is judged where ``model`` and ``root``, the server's data, are given.  ``clients`` are the
    clients' numbers [n] (their places if left out) under which ``state`` remembers the evidence
    against them: its decayed sums, ``sums`` [N, 2] and ``weights`` [N] float64, of ``clients`` [N].
    ``scores`` are the posterior probabilities of the server's cluster, 0 for copies and the
    harmful; ``coordinates`` [n + 1, 2] the masks' principal coordinates, the server last.
    Source: Yan et al., ECCV 2024 (arXiv 2312.12484).
    """
    if server_update is None:
        server_update = _descent(updates, global_parameters, loss)
    moves = torch.cat([updates, server_update[None].to(updates)])
    if mask_precision == "bfloat16":
        moves = moves.bfloat16()
    settings = {"learning_rate": mask_lr, "clamp": mask_clamp, "steps": mask_steps}
    usable, theta = _learn(moves, loss, {**settings, "origin": global_parameters})
    rows = len(moves)
    del moves
    scores = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
    if not bool(usable[-1]):
        return mean_of(updates, scores > 0.5, scores=scores, state=state)
    binary = learning.binarise(theta, threshold)
    found, _ = coordinates_of(binary_gram(binary))
    accepted, averages = usable[:-1], None
    if clusters == "auto" and model is not None and root is not None:
        now = decision.evidence(
            updates[accepted], server_update.to(updates), global_parameters, model, root
        )
        numbers = torch.arange(len(updates), device=updates.device) if clients is None else clients
        averages, state = _remembered(now, numbers[accepted], state or {})
    posterior = decision.verdict(binary, averages, always_two=clusters == 2)
    scores[accepted] = torch.from_numpy(posterior).to(updates.device)
    coordinates = found.new_full((rows, 2), float("nan"))
    coordinates[usable] = found
    # a mask for each client, or none at all
    shown = binary if bool(usable.all()) else None
    return mean_of(
        updates, scores > 0.5, scores=scores, coordinates=coordinates, masks=shown, state=state
    )


def _learn(moves: Tensor, loss: Loss, settings: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The rows of ``moves`` [m, d], W_i − w, that masks can be learned for, bool [m], and those θ.

    One huge model makes the masked model's loss infinite, and nothing would be learned; then the
    models whose own loss is not finite are left out.
    """
    losses: list[float] = []
    usable = torch.ones(len(moves), dtype=torch.bool, device=moves.device)
    theta = learning.learn_masks(
        moves, loss, **settings, on_step=lambda _, value: losses.append(value)
    )
    if not math.isfinite(losses[0]):
        models = (settings["origin"] + move for move in moves)
        own = [learning.value_and_gradient(loss, model)[0] for model in models]
        usable = torch.tensor([math.isfinite(value) for value in own], device=moves.device)
        theta = learning.learn_masks(moves[usable], loss, **settings)
    return usable, theta


def _remembered(
    now: Tensor, clients: Tensor, state: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The decayed mean of the evidence against each of ``clients``, and the state that holds it."""
    known = state.get("clients")
    everybody = union(known, clients)
    sums = now.new_zeros(len(everybody), now.shape[1])
    weights = now.new_zeros(len(everybody))
    if known is not None:
        sums = decision.MEMORY * widened(state["sums"], known, everybody)
        weights = decision.MEMORY * widened(state["weights"], known, everybody)
    here = places(clients, everybody)
    sums[here] += now
    weights[here] += 1
    return sums[here] / weights[here, None], {
        "clients": everybody,
        "sums": sums,
        "weights": weights,
    }


def _descent(updates: Tensor, global_parameters: Tensor, loss: Loss) -> Tensor:
    """−∇loss(w), scaled to the median length of the updates."""
    _, gradient = learning.value_and_gradient(loss, global_parameters)
    length = gradient.norm()
    if length == 0:
        return torch.zeros_like(gradient)
    step: Tensor = -gradient / length * updates.norm(dim=1).median()
    return step
