"""The rows that a round leaves behind, as plain dicts in the artifacts' columns."""

import math
from typing import Any

import torch
from torch import Tensor

from skymask.federation.aggregate import Verdict
from skymask.federation.metrics import Quality, detection
from skymask.federation.timing import Row
from skymask.models.flat_parameters import Layout
from skymask.study.experiment import SERVER


def client_rows(round_: int, malicious: Tensor, verdict: Verdict) -> list[Row]:
    """One row per client, and one for the server where it has mask coordinates."""
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
    # a rule without verdicts still rejects what is not finite
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
    """What got through in one round."""
    found = detection(verdict.accepted, malicious)
    return {
        "round": round_,
        "fpr": found.fpr,
        "fnr": found.fnr,
        "attacker_weight": verdict.attacker_weight,
        "benign_distance": verdict.benign_distance,
        "model_updated": verdict.model_updated,
        "note": verdict.note,
    }


def layer_rows(round_: int, layout: Layout, malicious: Tensor, verdict: Verdict) -> list[Row]:
    """What SkyMask's masks do to each layer: a row per layer and role, means over its parties."""
    if verdict.switched_off is None or verdict.unlike_server is None:
        return []
    both = torch.stack([verdict.switched_off, verdict.unlike_server], dim=-1)
    clients, server = both[:-1], both[-1:]
    parties = {"benign": clients[~malicious], "malicious": clients[malicious], "server": server}
    rows = []
    for role, shares in parties.items():
        known = shares[~shares.isnan().flatten(1).any(dim=1)]
        means = known.mean(dim=0).tolist() if len(known) else []
        rows += [
            {
                "round": round_,
                "layer": layer,
                "role": role,
                "switched_off": off,
                "unlike_server": un,
            }
            for layer, (off, un) in zip(layout.names, means, strict=False)
        ]
    return rows


def metrics_row(round_: int, quality: Quality, aggregated: Row) -> Row:
    """The row of an evaluated round, from the model's quality and that round's aggregate row."""
    copied = ("fpr", "fnr", "attacker_weight", "benign_distance", "model_updated")
    return {
        "round": round_,
        "accuracy": quality.accuracy,
        "loss": quality.loss if math.isfinite(quality.loss) else None,
        "attack_success_rate": quality.attack_success_rate,
        **{name: aggregated[name] for name in copied},
    }


def _values(values: Tensor | None, like: Tensor) -> list[Any]:
    return [None] * len(like) if values is None else [_number(v) for v in values.tolist()]


def _number(value: float | bool) -> float | bool | None:
    return value if math.isfinite(value) else None


def _reason(client: int, verdict: Verdict) -> str | None:
    if not bool(verdict.finite[client]):
        return "not finite"
    if verdict.note is not None:
        return verdict.note
    if verdict.accepted is not None and not bool(verdict.accepted[client]):
        return "rejected"
    return None
