"""Rules compared with those of byzfl; costs of the other rules and of attacks."""

import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from measure import Case, Work
from torch import Tensor

from skymask import attacks, defenses
from skymask.contracts import call, own
from skymask.data.datasets import vision  # noqa: F401  declares what byzfl's torchvision misses
from skymask.federation.defend import mixed
from skymask.seeds import generator

CLIENTS, MALICIOUS = 100, 20
SIZES = (50_000, 272_000)
FAST = ("krum", "multi_krum", "median", "trimmed_mean", "nnm")
# byzfl's class and its arguments
PEERS = {
    "fedavg": ("Average", {}),
    "median": ("Median", {}),
    "trimmed_mean": ("TrMean", {"f": MALICIOUS}),
    "krum": ("Krum", {"f": MALICIOUS}),
    "multi_krum": ("MultiKrum", {"f": MALICIOUS}),
    "geometric_median": ("GeometricMedian", {"nu": 0.1, "T": 3}),
    "centered_clipping": ("CenteredClipping", {"L": 1, "tau": 10.0}),
    "nnm": ("NNM", {"f": MALICIOUS}),
    "bucketing": ("Bucketing", {"s": 2}),
    "norm_clip": ("Clipping", {"c": 10.0}),
}
PARAMETERS = {
    "centered_clipping": {"tau": 10.0, "steps": 1},
    "bucketing": {"size": 2},
}
NOTES = {
    "norm_clip": "byzfl clips in place: it gets a copy",
    "geometric_median": "byzfl stops after 3 steps, ours where the pull is below its tolerance",
}


def updates(width: int, device: str) -> Tensor:
    """Honest updates around a common direction, attackers a little off."""
    source = generator(1, "benchmark")
    common = torch.randn(width, generator=source)
    rows = 0.1 * common + 0.05 * torch.randn(CLIENTS, width, generator=source)
    rows[:MALICIOUS] -= 0.2 * common
    return rows.to(device)


def ours(name: str, rows: Tensor) -> Callable[[], object]:
    """Return a rule as a round calls it; a pre-aggregator with the product that mixes updates."""
    known = {**defenses.DEFENSES, **defenses.PRE_AGGREGATORS}
    function = known[name]
    settings = PARAMETERS.get(name, {})
    settings = own(function, settings)
    offers = {
        "updates": lambda: rows,
        "global_parameters": lambda: torch.zeros_like(rows[0]),
        "server_update": lambda: rows[-1],
        "assumed_malicious": lambda: MALICIOUS,
        "clients": lambda: torch.arange(CLIENTS, device=rows.device),
        "samples": lambda: torch.ones(CLIENTS, device=rows.device),
        "malicious": lambda: torch.arange(CLIENTS, device=rows.device) < MALICIOUS,
        "generator": lambda: generator(1, "rule"),
        "state": dict,
    }
    if name in defenses.PRE_AGGREGATORS:
        return lambda: mixed(call(function, offers, settings).mixing, rows)
    return lambda: call(function, offers, settings)


def cases(device: str) -> Iterator[Case]:
    """Yield rules compared with byzfl's, then other rules and attacks compared with the mean."""
    for width in SIZES:
        for name, (peer, arguments) in PEERS.items():

            def build(
                name: str = name,
                peer: str = peer,
                arguments: dict[str, object] = arguments,
                width: int = width,
            ) -> dict[str, Work]:
                import byzfl

                rows = updates(width, device)
                kinds = [_peer(getattr(byzfl, peer)(**arguments), rows)]
                # it takes tensors and arrays: the faster one counts
                if device == "cpu":
                    kinds.append(_peer(getattr(byzfl, peer)(**arguments), rows.numpy()))
                fastest = min(kinds, key=_seconds)
                kind = "tensors" if fastest is kinds[0] else "arrays"
                return {f"byzfl {peer}, {kind}": fastest, "skymask": ours(name, rows)}

            yield Case(
                "Aggregation compared with byzfl",
                f"{name}, {CLIENTS} × {width:,}",
                build,
                target=3.0 if name in FAST else 1.0,
                repeats=3,
                note=NOTES.get(name, ""),
            )
    asks = {"model", "root", "loss"}
    for name, function in defenses.DEFENSES.items():
        if name in PEERS or asks & set(inspect.signature(function).parameters):
            continue
        setting = f"{name}, {CLIENTS} × 272,000"
        yield Case("Other rules", setting, _against_mean(name, device), repeats=2)
    for name in attacks.ATTACKS:
        if name in ("lie_backdoor", "skymask_adaptive"):
            continue
        yield Case("Attacks", f"{name}, {CLIENTS} × 272,000", _attack(name, device), repeats=2)


def _peer(rule: Callable[..., object], rows: Any) -> Work:
    # clipping changes what it gets
    if type(rule).__name__ == "Clipping":
        return lambda: rule(rows.clone() if isinstance(rows, Tensor) else rows.copy())
    return lambda: rule(rows)


def _seconds(work: Work) -> float:
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _against_mean(name: str, device: str) -> Callable[[], dict[str, Work]]:
    def build() -> dict[str, Work]:
        rows = updates(SIZES[-1], device)
        return {"fedavg": ours("fedavg", rows), "skymask": ours(name, rows)}

    return build


def _attack(name: str, device: str) -> Callable[[], dict[str, Work]]:
    def build() -> dict[str, Work]:
        rows = updates(SIZES[-1], device)
        function = attacks.ATTACKS[name]
        offers = {
            "updates": rows.clone,
            "malicious": lambda: torch.arange(CLIENTS, device=rows.device) < MALICIOUS,
            "global_parameters": lambda: torch.zeros_like(rows[0]),
            "state": dict,
            "generator": lambda: generator(1, "attack"),
        }
        return {
            "fedavg": ours("fedavg", rows),
            "skymask": lambda: call(function, offers, {}),
        }

    return build
