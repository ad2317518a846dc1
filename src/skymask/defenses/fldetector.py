"""FLDetector."""

import math

import torch
from torch import Tensor

from skymask.contracts import describes, judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.defenses.client_state import extended, positions, union

# reference sets of the gap statistic
REFERENCES = 20


@describes(whole_model=True)
@requires(lambda window: window >= 1, "window must be at least 1")
@requires(lambda start: start >= 1, "start must be at least 1")
@judges
def fldetector(
    updates: Tensor,
    global_parameters: Tensor,
    clients: Tensor,
    generator: torch.Generator,
    state: dict[str, Tensor],
    *,
    window: int = 10,
    start: int = 20,
) -> Aggregation:
    r"""Drop the cluster of clients whose updates are harder to predict from their last ones.

    In round t (the first is 1), with g^k the aggregate of round k and N = ``window``:

    1. :math:`\hat{\Delta}_i = \Delta_i^{t-1} + \hat{H} (w^t - w^{t-1})` with Ĥ the L-BFGS
       approximation (:func:`hessian_product`) from the last N pairs :math:`(w^k - w^{k-1}, g^k -
       g^{k-1})`, k < t. An update is about −η_l times a gradient, and Ĥ is linear in the second
       entry of each pair, so it is −η_l times a Hessian and no sign has to be corrected.
    2. The distances ‖Δ̂_i − Δ_i‖ are divided by their sum over the clients; the score s_i is the
       mean of that over the last N rounds. There are distances from round 3 on.
    3. From round ``start`` on: if the gap statistic gives more than one cluster of scores
       (:func:`last_of_lower_cluster`), the cluster with the larger mean is dropped.

    The update is the mean of the others. In the paper a detection ends the training, which starts
    again without those clients; here they are dropped for this round. The rule inverts if the
    attackers send one crafted update round after round: such clients are the easier ones to
    predict, and the benign ones are dropped. That is as published, and kept.

    A client without a row this round (its update was not finite) has no distance, and Δ̂_i is used
    as its update. Its score is the mean over the rounds that have its distance, and 1/n before
    there is one. For this, distances are divided by their mean over the clients present, and the
    mean over the window by n; without missing clients that is the same. A round in which the rule
    is not called does not count. There is no pair where the model did not move or an aggregate
    overflowed.

    Args:
        updates: Finite updates [n, d], one row per client, of dtype T.
        global_parameters: Global model w [d].
        clients: Numbers of the clients [n], int64.
        generator: Random numbers, on the CPU.
        state: State of the last round, empty at first. With m clients so far: ``rounds`` int64 [],
            ``parameters`` T [d] and ``aggregate`` T [d] of the last round, ``moves`` and
            ``changes`` T [≤ N, d] the pairs, ``clients`` int64 [m], ``last`` T [m, d] their last
            updates, ``distances`` float64 [≤ N, m] relative to the round's mean, NaN where there is
            none.
        window: Number of rounds N.
        start: First round in which clients are dropped.

    Returns:
        The aggregation; ``scores`` are s.

    Source: Zhang et al., "FLDetector: Defending Federated Learning Against Model Poisoning Attacks
    via Detecting Malicious Clients", KDD 2022.
    """
    now = int(state["rounds"]) + 1 if state else 1
    numbers = union(state.get("clients"), clients)
    rows = positions(clients, numbers)
    n, d = updates.shape
    moves, changes = updates.new_zeros(0, d), updates.new_zeros(0, d)
    last = updates.new_full((len(numbers), d), math.nan)
    distances = last.new_zeros(0, len(numbers), dtype=torch.float64)
    move = torch.zeros_like(global_parameters, dtype=torch.float64)
    if state:
        moves, changes = state["moves"], state["changes"]
        last = extended(state["last"], state["clients"], numbers, math.nan)
        table = extended(state["distances"].T, state["clients"], numbers, math.nan)
        distances = table.T
        move = global_parameters.double() - state["parameters"].double()
    expected = last.double()
    if len(moves):
        expected = expected + hessian_product(moves, changes, move)
        lengths = (expected[rows] - updates.double()).norm(dim=1)
        relative = distances.new_full((1, len(numbers)), math.nan)
        relative[0, rows] = _to_mean(lengths)
        distances = torch.cat([distances, relative])[-window:]
    scores = distances[:, rows].nanmean(dim=0).nan_to_num(nan=1.0) / n
    accepted = torch.ones_like(scores, dtype=torch.bool)
    if now >= start:
        accepted = scores <= last_of_lower_cluster(scores.cpu(), generator)
    outcome = mean_of(updates, accepted, scores=scores)
    # huge updates may overflow in the mean: the model then stays, and there is no aggregate
    finite = bool(outcome.update.isfinite().all())
    aggregate = outcome.update if finite else state.get("aggregate", torch.zeros_like(updates[0]))
    if state and finite:
        change = aggregate.double() - state["aggregate"].double()
        moves, changes = _with_pair(moves, changes, move, change, window)
    largest = torch.finfo(updates.dtype).max
    last = expected.clamp(-largest, largest).to(updates.dtype)
    last[rows] = updates
    memory = {
        "rounds": torch.tensor(now),
        "parameters": global_parameters.clone(),
        "aggregate": aggregate.clone(),
        "moves": moves,
        "changes": changes,
        "clients": numbers,
        "last": last,
        "distances": distances.contiguous(),
    }
    return Aggregation(outcome.update, accepted, outcome.weights, scores, state=memory)


def hessian_product(moves: Tensor, changes: Tensor, vector: Tensor) -> Tensor:
    r"""Multiply a vector by the L-BFGS approximation B of a Hessian, in its compact form.

    With the rows of ``moves`` S and ``changes`` Y, the last ones s_k and y_k, D the diagonal and L
    the strictly lower triangle of S Yᵀ,

    .. math::

        \sigma = \frac{s_k \cdot y_k}{s_k \cdot s_k}, \quad
        B v = \sigma v - \begin{pmatrix} \sigma S^T & Y^T \end{pmatrix}
        \begin{pmatrix} \sigma S S^T & L \\ L^T & -D \end{pmatrix}^{-1}
        \begin{pmatrix} \sigma S v \\ Y v \end{pmatrix}

    The published code inverts that matrix; the pseudo-inverse here is the same where it can be
    inverted, and finite elsewhere.

    Args:
        moves: Rows S [k, d], k ≥ 1, oldest first, none of them zero.
        changes: Rows Y [k, d].
        vector: The vector v [d].

    Returns:
        B v [d], float64.

    Source: Byrd, Nocedal & Schnabel, "Representations of quasi-Newton matrices and their use in
    limited memory methods", Mathematical Programming 1994.

    >>> s, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    >>> hessian_product(s, y, torch.tensor([2.0, 0.0])).tolist()
    [6.0, 0.0]
    """
    s, y, v = moves.double(), changes.double(), vector.double()
    # B is the same when a pair is scaled, and linear in Y: of one magnitude they invert well
    lengths = s.norm(dim=1, keepdim=True)
    s, y = s / lengths, y / lengths
    unit = y.norm(dim=1).max()
    if unit == 0:
        return torch.zeros_like(v)
    y = y / unit
    products = s @ y.T
    lower, sigma = products.tril(-1), products[-1, -1]
    matrix = torch.cat(
        [
            torch.cat([sigma * (s @ s.T), lower], dim=1),
            torch.cat([lower.T, -products.diagonal().diag()], dim=1),
        ]
    )
    right = torch.cat([sigma * (s @ v), y @ v])
    inverse = torch.linalg.pinv(matrix.cpu(), rtol=1e-12, hermitian=True).to(matrix)
    first, second = (inverse @ right).chunk(2)
    result: Tensor = unit * (sigma * v - sigma * (first @ s) - second @ y)
    return result


def last_of_lower_cluster(scores: Tensor, generator: torch.Generator) -> float:
    """Return the largest score of the cluster to keep.

    There is more than one cluster if Gap(1) < Gap(2) − s_2, where Gap(k) is the mean of log W_k
    over 20 uniform reference sets of n numbers in the range of the scores, less their own log W_k,
    and W_k is the least sum of squares within k clusters. A larger k is not needed to know whether
    there is one cluster. In one dimension 2-means has an exact solution, the best of the n − 1
    cuts; of equally good cuts the one that drops fewer. Fewer than three scores, and scores that
    are equal up to rounding, are one cluster.

    Args:
        scores: Scores [n], on the CPU.
        generator: Random numbers for the reference sets, on the CPU.

    Returns:
        The largest score of the lower cluster, or infinity if there is one cluster.

    Source: Tibshirani, Walther & Hastie, "Estimating the number of clusters in a data set via the
    gap statistic", JRSS B 2001.
    """
    n, low, high = len(scores), scores.min(), scores.max()
    if n < 3 or high - low <= 1e-9 * high.abs():
        return math.inf
    ordered = ((scores - low) / (high - low)).sort()
    references = torch.rand(REFERENCES, n, generator=generator, dtype=torch.float64)
    one, two, cut = _within(ordered.values)
    one_by_chance, two_by_chance, _ = _within(references.sort(dim=1).values)
    gap_one = one_by_chance.log().mean() - one.log()
    gap_two = two_by_chance.log().mean() - two.log()
    error = two_by_chance.log().std(correction=0) * math.sqrt(1 + 1 / REFERENCES)
    if gap_one >= gap_two - error:
        return math.inf
    return float(scores[ordered.indices[int(cut) - 1]])


def _within(ordered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return W_1, W_2 and the size of the lower cluster, per row of ``ordered`` [..., n]."""
    values = ordered - ordered.mean(dim=-1, keepdim=True)
    n = values.shape[-1]
    sizes = torch.arange(1, n, dtype=values.dtype)
    sums, squares = values.cumsum(dim=-1), values.square().cumsum(dim=-1)
    below, total = sums[..., :-1], sums[..., -1:]
    between = below.square() / sizes + (total - below).square() / (n - sizes)
    costs = (squares[..., -1:] - between).clamp_min(0)
    least = costs.amin(dim=-1)
    best = costs <= least[..., None] + 1e-12
    cut = (best * torch.arange(1, n)).amax(dim=-1)
    return squares[..., -1], least, cut


def _to_mean(lengths: Tensor) -> Tensor:
    """Divide ``lengths`` [n] by the mean of those that are not NaN; 1 where that is 0."""
    mean = lengths.nanmean()
    return torch.where(mean == 0, torch.where(lengths == 0, 1.0, lengths), lengths / mean)


def _with_pair(
    moves: Tensor, changes: Tensor, move: Tensor, change: Tensor, window: int
) -> tuple[Tensor, Tensor]:
    """Append a pair and keep the last ``window`` pairs."""
    move, change = move.to(moves.dtype), change.to(moves.dtype)
    if not bool(move.any()) or not bool(torch.cat([move, change]).isfinite().all()):
        return moves, changes
    return (
        torch.cat([moves, move[None]])[-window:],
        torch.cat([changes, change[None]])[-window:],
    )
