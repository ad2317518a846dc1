"""DeepSight: cluster the clients by what their output layers and predictions say."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, clipped_mean
from skymask.models.functional import FunctionalModel
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_distances
from skymask.numerics.hdbscan import density_clusters
from skymask.numerics.order_statistics import midpoint_median

# inputs put through the models at a time
BATCH = 500

# the logarithm of a ratio of two predictions is held within ± this: e^100 can still be squared
LOG_RATIO = 100.0


@requires(lambda seeds: seeds >= 1, "seeds must be at least 1")
@requires(lambda inputs: inputs >= 1, "inputs must be at least 1")
@requires(lambda tau: 0 < tau <= 1, "tau must lie in (0, 1]")
@requires(lambda smallest: smallest >= 2, "smallest must be at least 2")
@judges
def deepsight(
    updates: Tensor,
    global_parameters: Tensor,
    model: FunctionalModel,
    generator: torch.Generator,
    *,
    seeds: int = 3,
    inputs: int = 50,
    tau: float = 0.3333333333333333,
    smallest: int = 3,
) -> Aggregation:
    """Drop clusters of clients in which many have trained on few classes; clip and average.

    With b [C] and W [C, H] the bias and the weights of the output layer, Δb_i, ΔW_i their updates,
    and p(w, x) the softmax of the model's outputs:

    1. Update energies of class c: E_ic = |Δb_ic| + Σ_h |ΔW_ich|, normalised U_ic = E_ic² / Σ_k
       E_ik² (NEUPs; all 0 if the layer did not move).
    2. Threshold exceedings TE_i: how many c have U_ic > max(0.01, 1/C) · max_k U_ik.  A client is
       suspicious if TE_i ≤ median(TE) / 2.
    3. Division differences, for each of ``seeds`` sets of ``inputs`` uniform on [0, 1]: the mean
       over x of p(w + Δ_i, x)_c / p(w, x)_c (DDifs).
    4. HDBSCAN of the NEUPs, of the DDifs of each seed, and of 1 − cos(Δb_i, Δb_j).  The distance
       of two clients is the mean over the three kinds (for the DDifs, first over the seeds) of 1
       where they are in different clusters, else 0; HDBSCAN of that.
    5. A cluster is accepted if its share of suspicious clients is less than ``tau``.
    6. With S the median of ‖Δ_i‖ over all n clients, the update is the mean over the accepted of
       Δ_i · min(1, S / ‖Δ_i‖).

    The paper takes 20,000 inputs; all clients see the same ones, so far fewer show how they
    differ, and the default of 50 is cheap.  It does not say how HDBSCAN is set: here clusters have
    at least ``smallest`` clients, min samples is 1 as in FLAME, all clients together are no
    cluster, and each client that HDBSCAN calls noise is a cluster of its own.  An attack that is
    not about a few classes is limited by the clipping alone.

    ``updates`` is [n, d], ``global_parameters`` w [d]; the last two tensors of ``model`` must be W
    and b.  The ``scores`` are TE.  Logarithms of ratios are held within ±100, where outputs are not
    finite at 100.  Raises ValueError for another kind of model and for parameters out of range.
    Source: Rieger et al., NDSS 2022.
    """
    weight, bias = _output_layer(updates, model)
    neups = normalised_energies(weight, bias)
    exceedings = threshold_exceedings(neups)
    suspicious = exceedings <= midpoint_median(exceedings) / 2
    models = updates + global_parameters
    differences = [
        _groups(division_differences(model, global_parameters, models, inputs, generator), smallest)
        for _ in range(seeds)
    ]
    by_cosine = density_clusters(cosine_distances(bias), smallest)
    distances = combined(differences, _groups(neups, smallest), by_cosine)
    together = 1 - _apart(density_clusters(distances, smallest))
    shares = together @ suspicious.double() / together.sum(dim=1)
    limit = midpoint_median(column_blocks.squared_lengths(updates).sqrt())
    return clipped_mean(updates, shares < tau, limit, scores=exceedings)


def _output_layer(updates: Tensor, model: FunctionalModel) -> tuple[Tensor, Tensor]:
    """The updates of the output layer's weights [n, C, H] and bias [n, C], float64."""
    layout = model.layout
    shapes = layout.shapes[-2:]
    if [len(shape) for shape in shapes] != [2, 1] or shapes[0][0] != shapes[1][0]:
        raise ValueError(
            "deepsight needs a model whose last two tensors are the weights [C, H] and the bias "
            f"[C] of its output layer, not of shapes {', '.join(map(str, shapes))}"
        )
    columns = layout.columns(updates)
    weight, bias = (columns[name].double() for name in layout.names[-2:])
    return weight.reshape(len(updates), *shapes[0]), bias


def normalised_energies(weight: Tensor, bias: Tensor) -> Tensor:
    """U [n, C] of the updates of the output layer's weights [n, C, H] and bias [n, C]."""
    energies = bias.abs() + weight.abs().sum(dim=2)
    # over the largest first, so that no square is lost to the range of numbers
    energies = energies / energies.amax(dim=1, keepdim=True).clamp_min(1e-300)
    squares = energies.square()
    return squares / squares.sum(dim=1, keepdim=True).clamp_min(1e-300)


def threshold_exceedings(neups: Tensor) -> Tensor:
    """TE [n], float64, of the ``neups`` [n, C]."""
    threshold = max(0.01, 1 / neups.shape[1]) * neups.amax(dim=1, keepdim=True)
    return (neups > threshold).sum(dim=1).double()


def division_differences(
    model: FunctionalModel,
    global_parameters: Tensor,
    models: Tensor,
    inputs: int,
    generator: torch.Generator,
) -> Tensor:
    """DDifs [n, C], float64, of ``models`` [n, d] on ``inputs`` random samples."""
    total = []
    with torch.no_grad():
        for start in range(0, inputs, BATCH):
            size = min(BATCH, inputs - start)
            # drawn in float32 on the CPU, whatever the models are and wherever they live
            features = torch.rand(size, *model.shape, generator=generator).to(models)
            before = _log_predictions(model, global_parameters, features)
            ratios = [_log_predictions(model, row, features) - before for row in models]
            logs = torch.stack(ratios).nan_to_num(nan=LOG_RATIO).clamp(-LOG_RATIO, LOG_RATIO)
            total.append(logs.exp().sum(dim=1))
    return torch.stack(total).sum(dim=0) / inputs


def _log_predictions(model: FunctionalModel, parameters: Tensor, features: Tensor) -> Tensor:
    """Log p(w, x) [N, C], float64."""
    return model.logits(parameters, features).double().log_softmax(dim=1)


def _groups(values: Tensor, smallest: int) -> Tensor:
    """HDBSCAN's labels [n] of the rows of ``values`` [n, C]."""
    # not by way of products, so that equal rows are at distance 0
    distances = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
    return density_clusters(distances, smallest)


def combined(differences: list[Tensor], energies: Tensor, cosines: Tensor) -> Tensor:
    """The distances [n, n] of the clients, float64, from three kinds of labels [n].

    ``differences`` are the labels by the division differences of each seed.

    >>> one, two = torch.tensor([0, 0, 1]), torch.tensor([-1, -1, 0])
    >>> (6 * combined([one, two], one, one)).tolist()
    [[0.0, 1.0, 6.0], [1.0, 0.0, 6.0], [6.0, 6.0, 0.0]]
    """
    by_difference = torch.stack([_apart(labels) for labels in differences]).mean(dim=0)
    return (by_difference + _apart(energies) + _apart(cosines)) / 3


def _apart(labels: Tensor) -> Tensor:
    """1 where two clients bear different ``labels`` [n] or are noise, else 0; float64 [n, n]."""
    apart = (labels[:, None] != labels) | (labels < 0)
    return apart.fill_diagonal_(False).double()
