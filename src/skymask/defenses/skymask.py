"""SkyMask."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.defenses.client_state import extended, positions, union
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
    r"""Learn a mask per model on the root data and keep the clients in the server's cluster.

    1. W_i = w + Δ_i for the n clients and W_0 = w + Δ_0 for the server.
    2. Learn the mask logits θ [n + 1, d] on the loss of the masked model
       (:func:`~skymask.masks.learning.learn_masks`):

       .. math::

           \tilde{w} = \frac{\sum_i \sigma(\theta_i) \odot W_i}{\sum_i \sigma(\theta_i)}, \quad
           \theta \leftarrow \theta - \gamma \cdot \mathrm{clamp}(\nabla_\theta, \pm c)

    3. Binarise σ(θ) > ``threshold``, project to two principal components, fit two Gaussians.
    4. Accept the clients in the server's cluster; the update is the mean of their Δ.

    Args:
        updates: Finite updates [n, d], one row per client.
        global_parameters: Global model w [d].
        loss: Loss on the root data, a differentiable function of parameters [d].
        server_update: The server's own update Δ_0 [d], trained on the root data like a client's. If
            ``None``, a step of steepest descent on ``loss`` of the clients' median length.
        model: The model as a function of flat parameters. Harm is judged only with ``model`` and
            ``root``.
        root: The root data.
        clients: Numbers of the clients [n], int64; their positions if ``None``.
        state: State of the last round, empty at first: the evidence against each client as decayed
            sums, ``sums`` [N, 2] and ``weights`` [N] float64, of ``clients`` [N] int64.
        clusters: ``2`` always splits, as the released code does. ``"auto"`` rejects in turn: copies
            of a mask; clients away from the server where two Gaussians gain enough in BIC over one
            and the evidence does not contradict it; and clients that did harm to the root data
            round after round (see :mod:`skymask.masks.decision`). Otherwise all clients are
            accepted.
        threshold: Threshold of the binary masks, in (0, 1).
        mask_lr: Learning rate γ of the masks.
        mask_clamp: Bound c of the mask gradient.
        mask_steps: Largest number of steps.
        mask_precision: ``"bfloat16"`` keeps the Δ_i in 16 bits while masks are learned, which takes
            two thirds of the memory.

    Returns:
        The aggregation. ``scores`` are the posterior probabilities of the server's cluster, 0 for
        copies and harmful clients; ``coordinates`` [n + 1, 2] are the masks' principal coordinates.

    Identical masks are one cluster. If the server is alone in its cluster, no client is accepted. A
    client whose own loss is not finite is rejected first; if the server's loss is not, no client is
    accepted.

    Source: Yan et al., "SkyMask: Attack-agnostic Robust Federated Learning with Fine-grained
    Learnable Masks", ECCV 2024 (arXiv 2312.12484).
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
    coordinates, _ = coordinates_of(binary_gram(binary))
    accepted, averages = usable[:-1], None
    if clusters == "auto" and model is not None and root is not None:
        evidence = decision.evidence(
            updates[accepted], server_update.to(updates), global_parameters, model, root
        )
        numbers = torch.arange(len(updates), device=updates.device) if clients is None else clients
        averages, state = _with_evidence(evidence, numbers[accepted], state or {})
    posterior = decision.verdict(binary, averages, always_two=clusters == 2)
    scores[accepted] = torch.from_numpy(posterior).to(updates.device)
    shown = coordinates.new_full((rows, 2), float("nan"))
    shown[usable] = coordinates
    # masks of all clients or none
    masks = binary if bool(usable.all()) else None
    return mean_of(
        updates, scores > 0.5, scores=scores, coordinates=shown, masks=masks, state=state
    )


def _learn(moves: Tensor, loss: Loss, settings: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Learn masks for all models with a finite loss.

    One huge model makes the masked model's loss infinite, and nothing would be learned; then models
    whose own loss is not finite are left out. Returns the flags [m] of the rows of ``moves`` [m,
    d], W_i − w, that are in, and their θ.
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


def _with_evidence(
    evidence: Tensor, clients: Tensor, state: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the decayed mean of the evidence against each of ``clients``, and the new state."""
    known = state.get("clients")
    numbers = union(known, clients)
    sums = evidence.new_zeros(len(numbers), evidence.shape[1])
    weights = evidence.new_zeros(len(numbers))
    if known is not None:
        sums = decision.EVIDENCE_DECAY * extended(state["sums"], known, numbers)
        weights = decision.EVIDENCE_DECAY * extended(state["weights"], known, numbers)
    rows = positions(clients, numbers)
    sums[rows] += evidence
    weights[rows] += 1
    state = {"clients": numbers, "sums": sums, "weights": weights}
    return sums[rows] / weights[rows, None], state


def _descent(updates: Tensor, global_parameters: Tensor, loss: Loss) -> Tensor:
    """Return −∇loss(w), scaled to the median length of the updates."""
    _, gradient = learning.value_and_gradient(loss, global_parameters)
    length = gradient.norm()
    if length == 0:
        return torch.zeros_like(gradient)
    step: Tensor = -gradient / length * updates.norm(dim=1).median()
    return step
