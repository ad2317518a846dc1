"""SkyMask."""

from typing import Literal

import torch
from torch import Tensor

from skymask.contracts import RequirementError, judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.defenses.client_state import extended, positions, union
from skymask.masks.rule import Judgement, Settings, judge
from skymask.models.flat_parameters import Layout
from skymask.models.functional import FunctionalModel, Loss
from skymask.models.samples import Samples

State = dict[str, Tensor]

# number of the server among those of the clients, in the state
SERVER = -1


@requires(
    lambda length_limit: length_limit is None or length_limit > 0, "length_limit must be positive"
)
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
    state: State | None = None,
    layout: Layout | None = None,
    *,
    per: Literal["model", "layer"] = "model",
    mask_filter: bool = False,
    clusters: Literal["auto", 2] = "auto",
    length_limit: float | None = 2.0,
    threshold: float = 0.5,
    mask_lr: float = 1e7,
    mask_clamp: float = 1e-7,
    mask_steps: int = 20,
    mask_precision: Literal["float32", "bfloat16"] = "float32",
) -> Aggregation:
    r"""Learn a mask per model on the root data and keep the clients in the server's cluster.

    1. Shorten each Δ_i to ``length_limit`` times the usual length
       (:func:`~skymask.masks.evidence.usual_length`). The steps below use the shortened Δ_i.
    2. W_i = w + Δ_i for the n clients and W_0 = w + Δ_0 for the server.
    3. Learn the mask logits θ [n + 1, d] on the loss of the masked model
       (:func:`~skymask.masks.learning.learn_masks`):

       .. math::

           \tilde{w} = \frac{\sum_i \sigma(\theta_i) \odot W_i}{\sum_i \sigma(\theta_i)}, \quad
           \theta \leftarrow \theta - \gamma \cdot \mathrm{clamp}(\nabla_\theta, \pm c)

    4. Binarise σ(θ) > ``threshold`` and project the masks to two principal components.
    5. Measure the evidence on each client (:func:`~skymask.masks.evidence.measure`): the fall of
       the root loss from w to w + Δ_i, the same for a length of ‖Δ_0‖, and cos(Δ_i, Δ_0). It is
       averaged over the rounds that count, each weighted 0.9 times the next one: a fifth of the
       clients must achieve half of what Δ_0 does for the same length, and Δ_0 must lower the root
       loss. Once the model has converged, no further rounds count.
    6. Decide (:func:`~skymask.masks.decision.verdict`). With ``clusters="auto"`` three tests follow
       each other, each on the clients that are left: *copies*, whose masks and updates nearly
       coincide; *shape*, a cluster away from the server's where two Gaussians gain enough in BIC
       over one and the evidence shows that it is the worse one; and *harm*, the worse of two groups
       that the evidence alone separates clearly. Without an attack all clients are accepted. With
       ``clusters=2``, as in the released code, the clients in the server's of two Gaussians are
       accepted, whatever these gain.
    7. The update is the mean of the Δ_i of the accepted clients. With ``clusters="auto"``, if its
       cosine with Δ_0 is below −0.2 although Δ_0 lowers the root loss, clients with a negative
       cos(Δ_i, Δ_0) are rejected too.

    A client with Δ_i = 0, which has no samples for example, is accepted with weight zero. It is
    compared with no other client and does not count in the usual length or in the mean.

    Where the masks cannot tell, a client is accepted only if cos(Δ_i, Δ_0) > 0: all masks are
    alike; and with ``clusters="auto"`` there are fewer than five clients that are no copies, two
    Gaussians gain very much and the server is alone in its cluster, or fewer than a fifth of the
    clients that are no copies would be left. With ``clusters=2`` no client is accepted if the
    server is alone.

    If the first loss of the masked model is not finite, clients whose own loss is not finite are
    rejected and masks are learned without them. No client is accepted if the loss of the server's
    model is not finite, or if the masked model's is still not, or becomes so.

    Args:
        updates: Finite updates [n, d], one row per client.
        global_parameters: Global model w [d].
        loss: Loss on the root data, a differentiable function of parameters [d].
        server_update: The server's own update Δ_0 [d], trained on the root data like a client's. If
            ``None``, a step of steepest descent on ``loss`` of the length that a tenth of the
            clients do not exceed.
        model: The model as a function of flat parameters. Without ``model`` and ``root`` the only
            evidence is cos(Δ_i, Δ_0).
        root: The root data.
        clients: Numbers of the clients [n], int64; their positions if ``None``.
        state: State of the last round, empty at first: the evidence as decayed sums, ``sums``
            [N, k] and ``weights`` [N] float64 (with layers, [N, layers, k] and [N, layers]), of
            ``clients`` [N] int64, of which −1 is the server.
        layout: Split of the d coordinates into layers; needed with ``per="layer"``.
        per: ``"model"`` gives a verdict per client. ``"layer"`` learns the same masks and then
            applies steps 1 and 4 to 7 to every layer by itself: the lengths, masks and updates of
            the layer, and the fall of the root loss when only the layer is moved.
        mask_filter: Whether the mean of step 7 is, in each coordinate, only over the accepted
            clients whose binary mask keeps it, 0 where there are none.
        clusters: ``"auto"`` decides whether there is an attack at all; ``2`` always splits.
        length_limit: Longest update, in units of the usual length; ``None`` for no limit.
        threshold: Threshold of the binary masks, in (0, 1).
        mask_lr: Learning rate γ of the masks.
        mask_clamp: Bound c of the mask gradient.
        mask_steps: Largest number of steps.
        mask_precision: ``"bfloat16"`` keeps the Δ_i in 16 bits while masks are learned, which takes
            two thirds of the memory.

    Returns:
        The aggregation. ``scores`` are the posterior probabilities of the server's cluster, 0 for
        clients that another test rejects; ``weights`` include the shortening; ``coordinates``
        [n + 1, 2] are the masks' principal coordinates, NaN for clients without a mask. With
        ``per="layer"``, ``accepted`` and ``weights`` are [n, layers] and there are no ``scores``;
        with ``mask_filter`` there are no ``weights``.

    Raises:
        RequirementError: ``per="layer"`` without a ``layout``, or a parameter out of range.

    But for ``mask_filter``, ‖update‖ is at most ``length_limit`` times the usual length (with
    ``per="layer"`` in each layer), and one of m accepted clients moves the model by at most 1/m of
    that.

    Source: Yan et al., "SkyMask: Attack-agnostic Robust Federated Learning with Fine-grained
    Learnable Masks", ECCV 2024 (arXiv 2312.12484). The criterion cos(Δ_i, Δ_0) > 0 is that of
    FLTrust (Cao et al., NDSS 2021, arXiv 2012.13995). A limit on lengths relative to the clients'
    own is part of SignGuard (Xu et al., ICDCS 2022, arXiv 2109.05872). Evidence, copies and the
    limit are not part of the paper.
    """
    if per == "layer" and layout is None:
        raise RequirementError("skymask: per 'layer' needs the layout of the model")
    settings = Settings(
        per,
        mask_filter,
        clusters,
        length_limit,
        threshold,
        mask_lr,
        mask_clamp,
        mask_steps,
        mask_precision,
    )
    if clients is None:
        clients = torch.arange(len(updates), device=updates.device)
    parties = torch.cat([clients, clients.new_full((1,), SERVER)])
    state = state or {}
    earlier = _of_parties(state, parties)
    result = judge(
        updates, global_parameters, loss, server_update, model, root, earlier, settings, layout
    )
    return Aggregation(
        result.update,
        result.accepted,
        None if mask_filter else result.weights,
        result.scores if per == "model" else None,
        result.coordinates,
        result.masks,
        _next(state, parties, result),
    )


def _of_parties(state: State, parties: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return sums and weights of the evidence on ``parties``; zeros for new clients."""
    if not state:
        return None
    numbers = union(state["clients"], parties)
    rows = positions(parties, numbers)
    sums, weights = (
        extended(state[name], state["clients"], numbers)[rows] for name in ("sums", "weights")
    )
    return sums, weights


def _next(state: State, parties: Tensor, result: Judgement) -> State:
    """Return the state with this round's evidence; that on absent clients stays as it was."""
    if result.sums is None or result.rounds is None:
        return state
    numbers = union(state.get("clients"), parties)
    rows = positions(parties, numbers)
    new: State = {"clients": numbers}
    for name, values in (("sums", result.sums), ("weights", result.rounds)):
        if state:
            new[name] = extended(state[name], state["clients"], numbers)
        else:
            new[name] = values.new_zeros(len(numbers), *values.shape[1:])
        new[name][rows] = values
    return new
