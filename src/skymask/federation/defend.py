"""The server's judgement: pre-aggregators and the defense, on the finite updates of a round."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skymask.contracts import call
from skymask.defenses import DEFENSES, PRE_AGGREGATORS, Aggregation
from skymask.federation.federation import Federation
from skymask.federation.local_training import train_client
from skymask.numerics import column_blocks
from skymask.seeds import generator

State = dict[str, Tensor]

# updates mixed into one row up to which they are added one by one
FEW = 4


def defend(
    federation: Federation,
    updates: Tensor,
    finite: Tensor,
    global_parameters: Tensor,
    state: State,
    round_: int,
) -> Aggregation:
    """Judge the ``finite`` [n] rows of ``updates`` [n, d]; the outcome has an entry for each.

    Pre-aggregators mix the updates, rows = mixing · updates, and the defense judges the rows.  A
    client's verdict is that of the row that stands for it; its weight is what its own update
    weighs, the rows' weights times the mixing.
    """
    run, held = federation.experiment, updates[finite]
    rejected = int((~finite).sum())
    offers: dict[str, Callable[[], Any]] = {
        "updates": lambda: held,
        "global_parameters": global_parameters.clone,
        "server_update": lambda: server_update(federation, global_parameters, round_),
        "loss": lambda: federation.functional_model.loss_on(federation.root),
        "model": lambda: federation.functional_model,
        "root": lambda: federation.root,
        # those already rejected are no longer among the rows
        "assumed_malicious": lambda: max((run.assumed_malicious or 0) - rejected, 0),
        "clients": lambda: torch.nonzero(finite).flatten(),
        "samples": lambda: federation.sample_counts[finite],
        "malicious": lambda: federation.malicious[finite],
        "generator": lambda: generator(run.training_seed, "defense", round_),
        "state": lambda: dict(state),
    }
    mixing = torch.eye(len(held), dtype=torch.float64, device=held.device)
    row_of = torch.arange(len(held), device=held.device)
    for place, method in enumerate(run.defense.pre_aggregators):
        rows = mixed(mixing, held)
        draws = generator(run.training_seed, "pre-aggregation", round_, place)
        before = {**offers, "updates": lambda: rows, "generator": lambda: draws}  # noqa: B023
        mixture = call(PRE_AGGREGATORS[method.name], before, method.parameters)
        mixing, row_of = mixture.mixing @ mixing, mixture.row_of[row_of]
    if run.defense.pre_aggregators:
        offers["updates"] = lambda: mixed(mixing, held)
        offers["samples"] = lambda: mixing @ federation.sample_counts[finite].double()
    outcome = call(DEFENSES[run.defense.name], offers, run.defense.parameters)
    return _of_clients(outcome, mixing, row_of) if run.defense.pre_aggregators else outcome


def server_update(federation: Federation, global_parameters: Tensor, round_: int) -> Tensor:
    """The server's own update Δ_0 [d]: trained on the root data like a client."""
    run = federation.experiment
    return train_client(
        federation.model,
        global_parameters,
        federation.root,
        federation.local_training,
        generator(run.training_seed, "server batches", round_),
    )


def mixed(mixing: Tensor, updates: Tensor) -> Tensor:
    """The rows mixing · updates, [rows, d], of the updates' dtype; computed in float64.

    Where a row mixes few updates, as buckets do, only these are read, and added in their dtype.
    """
    most = int((mixing != 0).sum(dim=1).max())
    if most > FEW:
        return column_blocks.weighted_sum(mixing, updates)
    places = mixing.abs().topk(max(most, 1), dim=1).indices
    weights = mixing.gather(1, places).to(updates.dtype)
    if most <= 1 and mixing.shape == (len(updates), len(updates)):
        factors = mixing.diagonal()
        if bool((mixing == factors.diag()).all()):
            return updates * factors[:, None].to(updates.dtype)

    def of_block(block: slice) -> Tensor:
        part = updates[:, block]
        found = weights[:, :1] * part[places[:, 0]]
        for k in range(1, most):
            found.addcmul_(weights[:, k, None], part[places[:, k]])
        return found

    return column_blocks.fill(updates.new_empty(len(mixing), updates.shape[1]), of_block)


def _of_clients(outcome: Aggregation, mixing: Tensor, row_of: Tensor) -> Aggregation:
    """The outcome on mixed rows, told of the clients they stand for."""

    def picked(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[row_of]

    def with_server(values: Tensor | None) -> Tensor | None:
        return None if values is None else torch.cat([values[:-1][row_of], values[-1:]])

    weights = outcome.weights
    return Aggregation(
        outcome.update,
        picked(outcome.accepted),
        None if weights is None else (weights.double() @ mixing).to(weights.dtype),
        picked(outcome.scores),
        with_server(outcome.coordinates),
        with_server(outcome.masks),
        outcome.state,
    )
