"""Rows of a round's artifacts, as dicts in their columns."""

import math
from typing import Any

import torch
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
        "accepted": _values(verdict.accepted, malicious),
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
    rates = detection(verdict.accepted, malicious)
    return {
        "round": round_,
        "fpr": rates.fpr,
        "fnr": rates.fnr,
        "attacker_weight": verdict.attacker_weight,
        "benign_distance": verdict.benign_distance,
        "model_updated": verdict.model_updated,
        "note": verdict.note,
    }


def layer_rows(round_: int, layout: Layout, malicious: Tensor, verdict: Verdict) -> list[Row]:
    """Make a row per layer and role: what SkyMask's masks do to the layer, mean over the parties.

    Args:
        round_: Round, from 1.
        layout: Layers of the model.
        malicious: Which clients are malicious, bool [n].
        verdict: Decisions of the round.
    """
    if verdict.switched_off is None or verdict.unlike_server is None:
        return []
    both = torch.stack([verdict.switched_off, verdict.unlike_server], dim=-1)
    clients, server = both[:-1], both[-1:]
    parties = {"benign": clients[~malicious], "malicious": clients[malicious], "server": server}
    rows = []
    for role, shares in parties.items():
        known = shares[~shares.isnan().flatten(1).any(dim=1)]
        means = known.mean(dim=0).tolist() if len(known) else []
        for layer, (off, unlike) in zip(layout.names, means, strict=False):
            row = {"round": round_, "layer": layer, "role": role}
            rows.append({**row, "switched_off": off, "unlike_server": unlike})
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
    if verdict.accepted is not None and not bool(verdict.accepted[client]):
        return "rejected"
    return None
