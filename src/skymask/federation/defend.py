"""Pre-aggregators and the defense, applied to the finite updates."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from skymask.contracts import call
from skymask.defenses import DEFENSES, PRE_AGGREGATORS, Aggregation
from skymask.defenses.per_layer import Offer, joined, offers_by_layer
from skymask.federation.federation import Federation, State
from skymask.federation.local_training import train_client
from skymask.numerics import column_blocks
from skymask.seeds import generator
from skymask.study.experiment import Experiment, Method

# up to so many updates in a row of a mixture, they are added one by one
FEW = 4


def defend(
    federation: Federation,
    updates: Tensor,
    finite: Tensor,
    global_parameters: Tensor,
    state: State,
    round_: int,
) -> Aggregation:
    """Apply the pre-aggregators and the defense.

    Pre-aggregators mix the updates, rows = mixing · updates, and the defense judges the rows.  A
    client's verdict is that of the row that represents it; its weight is that of its own update,
    the rows' weights times the mixing.

    Args:
        federation: Parties of the run.
        updates: Updates [n, d] that reach the server.
        finite: Which of them are finite, bool [n], m in number; the others are ignored.
        global_parameters: Parameters [d] of the global model.
        state: What the defense keeps from the last round.
        round_: Round, from 1.

    Returns:
        The aggregate [d], with verdicts, weights and scores for each of the m clients.

    Raises:
        RequirementError: A rule is not defined for these clients.
    """
    run, judged = federation.experiment, updates[finite]
    rejected, layout = int((~finite).sum()), federation.model.layout
    offers: dict[str, Offer] = {
        "updates": lambda: judged,
        "global_parameters": global_parameters.clone,
        "server_update": lambda: server_update(federation, global_parameters, round_),
        "loss": lambda: federation.functional_model.loss_on(federation.root),
        "model": lambda: federation.functional_model,
        "layout": lambda: layout,
        "root": lambda: federation.root,
        # clients already rejected are no longer among the rows
        "assumed_malicious": lambda: max((run.assumed_malicious or 0) - rejected, 0),
        "clients": lambda: torch.nonzero(finite).flatten(),
        "samples": lambda: federation.sample_counts[finite],
        "malicious": lambda: federation.attacking(round_)[finite],
        "state": lambda: dict(state),
    }
    if not judges_layers(run.defense):
        return _composed(run.defense, offers, lambda *use: _draws(run, round_, *use))
    outcomes = [
        _composed(run.defense, of_layer, lambda *use: _draws(run, round_, *use, layer))  # noqa: B023
        for layer, of_layer in enumerate(offers_by_layer(offers, layout))
    ]
    return joined(outcomes, layout)


def judges_layers(method: Method) -> bool:
    """Whether a defense is applied to every layer by itself; SkyMask does that on its own."""
    own = inspect.signature(DEFENSES[method.name]).parameters
    return method.parameters.get("per") == "layer" and "per" not in own


def _draws(run: Experiment, round_: int, purpose: str, *indices: int) -> torch.Generator:
    return generator(run.training_seed, purpose, round_, *indices)


def _composed(
    method: Method, offers: dict[str, Offer], draws: Callable[..., torch.Generator]
) -> Aggregation:
    """Apply the pre-aggregators and the defense of a method to what is offered.

    Args:
        method: The defense, with its pre-aggregators.
        offers: What is offered to each of them.
        draws: Derives the generator of a purpose.
    """
    offers = dict(offers)
    offers["generator"] = lambda: draws("defense")
    judged: Tensor = offers["updates"]()
    mixing = torch.eye(len(judged), dtype=torch.float64, device=judged.device)
    row_of = torch.arange(len(judged), device=judged.device)
    for position, before in enumerate(method.pre_aggregators):
        offers["updates"] = partial(mixed, mixing, judged)
        own: dict[str, Offer] = dict(offers)
        own["generator"] = partial(draws, "pre-aggregation", position)
        mixture = call(PRE_AGGREGATORS[before.name], own, before.parameters)
        mixing, row_of = mixture.mixing @ mixing, mixture.row_of[row_of]
    if method.pre_aggregators:
        samples = offers["samples"]
        offers["updates"] = partial(mixed, mixing, judged)
        offers["samples"] = lambda: mixing @ samples().double()
    parameters = dict(method.parameters)
    if judges_layers(method):
        del parameters["per"]
    outcome = call(DEFENSES[method.name], offers, parameters)
    return _of_clients(outcome, mixing, row_of) if method.pre_aggregators else outcome


def server_update(federation: Federation, global_parameters: Tensor, round_: int) -> Tensor:
    """Train on the root data like a client; return the server's own update Δ_0 [d]."""
    run = federation.experiment
    return train_client(
        federation.model,
        global_parameters,
        federation.root,
        federation.local_training,
        generator(run.training_seed, "server batches", round_),
    )


def mixed(mixing: Tensor, updates: Tensor) -> Tensor:
    """Compute the rows mixing · updates, in float64.

    Where a row mixes few updates, as buckets do, only these are read, and added in their dtype.

    Args:
        mixing: Coefficients [rows, n], float64.
        updates: Updates [n, d].

    Returns:
        Rows [rows, d] in the updates' dtype.
    """
    most = int((mixing != 0).sum(dim=1).max())
    if most > FEW:
        return column_blocks.weighted_sum(mixing, updates)
    indices = mixing.abs().topk(max(most, 1), dim=1).indices
    weights = mixing.gather(1, indices).to(updates.dtype)
    if most <= 1 and mixing.shape == (len(updates), len(updates)):
        factors = mixing.diagonal()
        if bool((mixing == factors.diag()).all()):
            return updates * factors[:, None].to(updates.dtype)

    def of_block(block: slice) -> Tensor:
        part = updates[:, block]
        rows = weights[:, :1] * part[indices[:, 0]]
        for k in range(1, most):
            rows.addcmul_(weights[:, k, None], part[indices[:, k]])
        return rows

    return column_blocks.fill(updates.new_empty(len(mixing), updates.shape[1]), of_block)


def _of_clients(outcome: Aggregation, mixing: Tensor, row_of: Tensor) -> Aggregation:
    """Convert the outcome on mixed rows to the clients that the rows represent."""
    rows = len(mixing)

    def of_clients(values: Tensor | None) -> Tensor | None:
        # the server's entry, if there is one, stays last
        return None if values is None else torch.cat([values[:rows][row_of], values[rows:]])

    weights = outcome.weights
    return replace(
        outcome,
        accepted=of_clients(outcome.accepted),
        weights=None if weights is None else (mixing.T @ weights.double()).to(weights.dtype),
        scores=of_clients(outcome.scores),
        coordinates=of_clients(outcome.coordinates),
        masks=of_clients(outcome.masks),
    )
