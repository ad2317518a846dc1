"""Rules compared with those of byzfl; costs of the other rules and of attacks."""

import inspect
import time
from collections.abc import Callable, Iterator
from functools import partial
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
    "geometric_median": "byzfl stops after 3 steps, ours below a tolerance",
}


def updates(width: int, device: str) -> Tensor:
    """Return benign updates around a common direction and malicious ones away from it."""
    source = generator(1, "benchmark")
    common = torch.randn(width, generator=source)
    rows = 0.1 * common + 0.05 * torch.randn(CLIENTS, width, generator=source)
    rows[:MALICIOUS] -= 0.2 * common
    return rows.to(device)


def inputs(rows: Tensor) -> dict[str, Callable[[], Any]]:
    """Return functions that give a method its arguments, by name."""
    return {
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


def ours(name: str, rows: Tensor) -> Work:
    """Return a rule as a round calls it; a pre-aggregator with the product that mixes updates."""
    function = {**defenses.DEFENSES, **defenses.PRE_AGGREGATORS}[name]
    work = partial(call, function, inputs(rows), own(function, PARAMETERS.get(name, {})))
    return (lambda: mixed(work().mixing, rows)) if name in defenses.PRE_AGGREGATORS else work


def cases(device: str) -> Iterator[Case]:
    """Yield rules compared with byzfl's, then other rules and attacks compared with the mean."""
    for width in SIZES:
        for name in PEERS:
            yield Case(
                "Aggregation compared with byzfl",
                f"{name}, {CLIENTS} × {width:,}",
                partial(_against_byzfl, name, width, device),
                target=3.0 if name in FAST else 1.0,
                repeats=3,
                note=NOTES.get(name, ""),
            )
    size = f"{CLIENTS} × {SIZES[-1]:,}"
    for name, function in defenses.DEFENSES.items():
        if name in PEERS or {"model", "root", "loss"} & set(inspect.signature(function).parameters):
            continue
        build = partial(_against_mean, device, partial(ours, name))
        yield Case("Other rules", f"{name}, {size}", build, repeats=2)
    for name, function in attacks.ATTACKS.items():
        if {"model", "layout"} & set(inspect.signature(function).parameters):
            continue
        build = partial(_against_mean, device, partial(_attack, name))
        yield Case("Attacks", f"{name}, {size}", build, repeats=2)


def _against_byzfl(name: str, width: int, device: str) -> dict[str, Work]:
    import byzfl

    rows = updates(width, device)
    peer, arguments = PEERS[name]

    def theirs(rows: Any) -> Work:
        rule = getattr(byzfl, peer)(**arguments)
        if peer == "Clipping":  # it changes its input
            return lambda: rule(rows.clone() if isinstance(rows, Tensor) else rows.copy())
        return partial(rule, rows)

    works = {"tensors": theirs(rows)}
    if device == "cpu":
        works["arrays"] = theirs(rows.numpy())
    kind = min(works, key=lambda kind: _seconds(works[kind]))
    return {f"byzfl {peer}, {kind}": works[kind], "skymask": ours(name, rows)}


def _seconds(work: Work) -> float:
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _against_mean(device: str, method: Callable[[Tensor], Work]) -> dict[str, Work]:
    rows = updates(SIZES[-1], device)
    return {"fedavg": ours("fedavg", rows), "skymask": method(rows)}


def _attack(name: str, rows: Tensor) -> Work:
    # an attack may write into the updates
    return partial(call, attacks.ATTACKS[name], {**inputs(rows), "updates": rows.clone}, {})
