"""Rows of a round's artifacts, as dicts in their columns."""

import math
from typing import Any

from torch import Tensor

from skymask.federation.aggregate import Verdict
from skymask.federation.evaluate import Quality
from skymask.federation.metrics import detection
from skymask.federation.timing import Row
from skymask.models.flat_parameters import Layout
from skymask.study.experiment import SERVER


def client_rows(round_: int, malicious: Tensor, verdict: Verdict) -> list[Row]:
    """Make one row per client, and one for the server where its mask has coordinates.

    Args:
        round_: Round, from 1.
        malicious: Which clients are malicious, bool [n].
        verdict: Decisions of the round.
    """
    columns = {
        "malicious": malicious.tolist(),
        "attacking": verdict.attacking.tolist(),
        "accepted": _values(_in_a_layer(verdict.accepted), malicious),
        "accepted_share": _values(verdict.accepted_share, malicious),
        "weight": _values(verdict.weights, malicious),
        "score": _values(verdict.scores, malicious),
    }
    rows = [
        {
            "round": round_,
            "client": client,
            **{name: values[client] for name, values in columns.items()},
            "reason": _reason(client, verdict),
            "model_updated": verdict.model_updated,
        }
        for client in range(len(malicious))
    ]
    # updates that are not finite are rejected by a rule without verdicts, too
    for row, finite in zip(rows, verdict.finite.tolist(), strict=True):
        row["accepted"] = row["accepted"] if finite else False
        row["accepted_share"] = row["accepted_share"] if finite else 0.0
    if verdict.update_coordinates is not None:
        for row, (first, second) in zip(rows, verdict.update_coordinates.tolist(), strict=True):
            row["update_1"], row["update_2"] = _number(first), _number(second)
    if verdict.coordinates is not None:
        rows.append({"round": round_, "client": SERVER, "model_updated": verdict.model_updated})
        for row, (first, second) in zip(rows, verdict.coordinates.tolist(), strict=True):
            row["mask_1"], row["mask_2"] = _number(first), _number(second)
    return rows


def aggregate_row(round_: int, malicious: Tensor, verdict: Verdict) -> Row:
    """Make the row of a round's aggregate.

    Args:
        round_: Round, from 1.
        malicious: Which clients are malicious, bool [n].
        verdict: Decisions of the round.
    """
    # malicious clients that do not attack in this round cannot be told from benign ones
    looked_for = bool(verdict.attacking.any()) or not bool(malicious.any())
    rates = detection(verdict.accepted_share if looked_for else None, malicious)
    return {
        "round": round_,
        "fpr": rates.fpr,
        "fnr": rates.fnr,
        "attacker_weight": verdict.attacker_weight,
        "benign_distance": verdict.benign_distance,
        "model_updated": verdict.model_updated,
        "note": verdict.note,
    }


def layer_rows(round_: int, layout: Layout, verdict: Verdict) -> list[Row]:
    """Make a row per layer and role, of what masks and verdicts per layer say about the layer.

    Each value is a mean over the parties of the role; malicious clients that do not attack in the
    round are benign here.  A rule with neither masks nor verdicts per layer has no rows.

    Args:
        round_: Round, from 1.
        layout: Layers of the model.
        verdict: Decisions of the round.
    """
    values = {"switched_off": verdict.switched_off, "unlike_server": verdict.unlike_server}
    if verdict.accepted is not None and verdict.accepted.ndim == 2:
        values["accepted"] = verdict.accepted.double()
    clients = len(verdict.attacking)
    roles = {"benign": ~verdict.attacking, "malicious": verdict.attacking}
    rows = []
    for role in (*roles, "server"):
        means: dict[str, list[float]] = {}
        for name, value in values.items():
            if value is not None:
                chosen = value[:clients][roles[role]] if role in roles else value[clients:]
                chosen = chosen[~chosen.isnan().any(dim=1)]
                means |= {name: chosen.mean(dim=0).tolist()} if len(chosen) else {}
        for index, layer in enumerate(layout.names) if means else ():
            shares = {name: mean[index] for name, mean in means.items()}
            rows.append({"round": round_, "layer": layer, "role": role, **shares})
    return rows


def metrics_row(round_: int, quality: Quality) -> Row:
    """Make the row of an evaluated round; a loss that is not finite is ``None``."""
    return {
        "round": round_,
        "accuracy": quality.accuracy,
        "argmax_accuracy": quality.argmax_accuracy,
        "loss": _number(quality.loss),
        "attack_success_rate": quality.attack_success_rate,
    }


def _in_a_layer(accepted: Tensor | None) -> Tensor | None:
    """Whether each client is accepted in at least one layer."""
    return accepted if accepted is None or accepted.ndim == 1 else accepted.any(dim=1)


def _values(values: Tensor | None, like: Tensor) -> list[Any]:
    return [None] * len(like) if values is None else [_number(v) for v in values.tolist()]


def _number(value: float | bool) -> float | bool | None:
    return value if math.isfinite(value) else None


def _reason(client: int, verdict: Verdict) -> str | None:
    """Why a client was not aggregated; ``None`` if it was."""
    if not bool(verdict.finite[client]):
        return "not finite"
    if verdict.note is not None:
        return verdict.note
    if verdict.accepted is not None and not bool(verdict.accepted[client].any()):
        return "rejected"
    return None
