"""DeepSight."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, clipped_mean
from skymask.models.functional import FunctionalModel
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_distances
from skymask.numerics.hdbscan import density_clusters
from skymask.numerics.order_statistics import midpoint_median

# inputs per forward pass
BATCH = 500

# logarithms of ratios of predictions are clamped to ± this: e^100 can still be squared
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
    r"""Cluster clients by output layer and predictions; drop clusters trained on few classes.

    With b [C] and W [C, H] the bias and the weights of the output layer, Δb_i and ΔW_i their
    updates, and p(w, x) the softmax of the model's outputs:

    1. Normalised update energies (NEUPs) of class c, 0 if the layer did not move:

       .. math::

           E_{ic} = \lvert\Delta b_{ic}\rvert + \sum_h \lvert\Delta W_{ich}\rvert, \quad
           U_{ic} = E_{ic}^2 / \sum_k E_{ik}^2

    2. Threshold exceedings TE_i: the number of classes with U_ic > max(0.01, 1/C) · max_k U_ik. A
       client is suspicious if TE_i ≤ median(TE) / 2.
    3. Division differences (DDifs), for each of ``seeds`` sets of ``inputs`` uniform on [0, 1]: the
       mean over x of p(w + Δ_i, x)_c / p(w, x)_c.
    4. HDBSCAN of the NEUPs, of the DDifs of each seed, and of 1 − cos(Δb_i, Δb_j). The distance of
       two clients is the mean over the three kinds (for the DDifs, first over the seeds) of 1 where
       they are in different clusters, else 0; HDBSCAN of that.
    5. A cluster is accepted if its share of suspicious clients is less than ``tau``.
    6. The update is the mean over the accepted of Δ_i · min(1, S / ‖Δ_i‖), with S the median of
       ‖Δ_i‖ over all n clients.

    Args:
        updates: Finite updates [n, d], one row per client.
        global_parameters: Global model w [d].
        model: The model as a function of flat parameters; its last two tensors must be W and b.
        generator: Random numbers, on the CPU.
        seeds: Number of sets of random inputs.
        inputs: Inputs per set; all clients see the same ones, so 50 suffice where the paper takes
            20,000.
        tau: Smallest share of suspicious clients that rejects a cluster, in (0, 1].
        smallest: Least number of clients in a cluster.

    Returns:
        The aggregation; ``scores`` are TE.

    Raises:
        ValueError: If the last two tensors of ``model`` are not those of an output layer.

    The paper does not say how HDBSCAN is set: here min samples is 1 as in FLAME, all clients
    together are no cluster, and each client that HDBSCAN calls noise is a cluster of its own.
    Logarithms of ratios are clamped to ±100. An attack that does not concern few classes is limited
    only by the clipping.

    Source: Rieger et al., "DeepSight: Mitigating Backdoor Attacks in Federated Learning Through
    Deep Model Inspection", NDSS 2022.
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
    """Return the updates of the output layer's weights [n, C, H] and bias [n, C], float64."""
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
    """Return the normalised update energies U.

    Args:
        weight: Updates of the output layer's weights [n, C, H], float64.
        bias: Updates of its bias [n, C], float64.

    Returns:
        U [n, C], float64.
    """
    energies = bias.abs() + weight.abs().sum(dim=2)
    # divided by the largest first, so that no square overflows or underflows
    energies = energies / energies.amax(dim=1, keepdim=True).clamp_min(1e-300)
    squares = energies.square()
    return squares / squares.sum(dim=1, keepdim=True).clamp_min(1e-300)


def threshold_exceedings(neups: Tensor) -> Tensor:
    """Return the threshold exceedings TE [n], float64, of the energies ``neups`` [n, C]."""
    threshold = max(0.01, 1 / neups.shape[1]) * neups.amax(dim=1, keepdim=True)
    return (neups > threshold).sum(dim=1).double()


def division_differences(
    model: FunctionalModel,
    global_parameters: Tensor,
    models: Tensor,
    inputs: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the division differences of models on random inputs.

    Args:
        model: The model as a function of flat parameters.
        global_parameters: Global model w [d].
        models: The clients' models w + Δ_i [n, d].
        inputs: Number of inputs, uniform on [0, 1].
        generator: Random numbers, on the CPU.

    Returns:
        The mean ratios of predictions [n, C], float64.
    """
    total = []
    with torch.no_grad():
        for start in range(0, inputs, BATCH):
            size = min(BATCH, inputs - start)
            # drawn in float32 on the CPU, for models of any dtype on any device
            features = torch.rand(size, *model.shape, generator=generator).to(models)
            before = _log_predictions(model, global_parameters, features)
            ratios = [_log_predictions(model, row, features) - before for row in models]
            logs = torch.stack(ratios).nan_to_num(nan=LOG_RATIO).clamp(-LOG_RATIO, LOG_RATIO)
            total.append(logs.exp().sum(dim=1))
    return torch.stack(total).sum(dim=0) / inputs


def _log_predictions(model: FunctionalModel, parameters: Tensor, features: Tensor) -> Tensor:
    """Return log p(w, x) [N, C], float64."""
    return model.logits(parameters, features).double().log_softmax(dim=1)


def _groups(values: Tensor, smallest: int) -> Tensor:
    """Return HDBSCAN's labels [n] of the rows of ``values`` [n, C]."""
    # without products, so that equal rows are at distance 0
    distances = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
    return density_clusters(distances, smallest)


def combined(differences: list[Tensor], energies: Tensor, cosines: Tensor) -> Tensor:
    """Return the distances of the clients from three kinds of cluster labels.

    Args:
        differences: Labels [n] by the division differences, one tensor per seed.
        energies: Labels [n] by the update energies.
        cosines: Labels [n] by the cosines of the bias updates.

    Returns:
        The distances [n, n], float64, in [0, 1].

    >>> one, two = torch.tensor([0, 0, 1]), torch.tensor([-1, -1, 0])
    >>> (6 * combined([one, two], one, one)).tolist()
    [[0.0, 1.0, 6.0], [1.0, 0.0, 6.0], [6.0, 6.0, 0.0]]
    """
    by_difference = torch.stack([_apart(labels) for labels in differences]).mean(dim=0)
    return (by_difference + _apart(energies) + _apart(cosines)) / 3


def _apart(labels: Tensor) -> Tensor:
    """Return 1.0 where two clients have different ``labels`` [n] or are noise, else 0.0, [n, n]."""
    apart = (labels[:, None] != labels) | (labels < 0)
    return apart.fill_diagonal_(False).double()
