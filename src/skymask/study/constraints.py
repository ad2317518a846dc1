"""What must hold together in one cell of a study's grid."""

from math import ceil
from typing import Any

from skymask.models.layer_shapes import tensor_names
from skymask.study.experiment import Experiment
from skymask.study.methods import REGISTRIES, violations
from skymask.study.validation import PLAIN, Problems


def check_cell(
    run: Experiment, rounds: int, share: float, final_evaluations: int, problems: Problems
) -> str | None:
    """Check what only holds together; return why the cell is undefined, or None.

    A mistake is the user's and goes to ``problems``; that a rule is not defined for this many
    clients and attackers is a finding, and the cell is left out.
    """
    data = PLAIN["dataset"]()[run.dataset].facts
    key, root = _root_data(run, data["train"])
    held = run.clients * (run.samples_per_client or 1)
    if root + held > data["train"]:
        problems.say(
            f"clients, samples_per_client, {key}: {run.clients} clients and the root data need "
            f"{root + held} training samples, {run.dataset} has {data['train']}: lower one"
        )
    _check_natural(run, data, problems)
    if run.attack.name != "none" and run.malicious == 0:
        problems.add(
            "malicious_share",
            share,
            f"of {run.clients} clients is nobody: raise it, or study the attack 'none' alone",
        )
    evaluations = rounds // run.evaluate_every
    if evaluations < final_evaluations:
        problems.add(
            "final_evaluations",
            final_evaluations,
            f"are more than the {evaluations} evaluations that {rounds} rounds, evaluated every "
            f"{run.evaluate_every}, have: lower it or evaluate_every, or raise rounds",
        )
    facts = {"shape": data["shape"], "classes": data["classes"], "clients": run.clients}
    for key, entry, way_out in (
        ("model", PLAIN["model"]()[run.model], "take another model"),
        ("partition", REGISTRIES["partition"]()[run.partition.name], "raise clients, or take iid"),
    ):
        for sentence in violations(entry, facts):
            problems.say(f"{key} {entry.name}: {sentence}, with dataset {run.dataset}: {way_out}")
    _check_attack(run, facts, problems)
    undefined = []
    if run.malicious:
        known = {"n": run.clients, "f": run.malicious, **run.attack.parameters}
        undefined += violations(REGISTRIES["attack"]()[run.attack.name], known)
    rows = run.clients
    for key, method in (
        *(("pre-aggregator", method) for method in run.defense.pre_aggregators),
        ("defense", run.defense),
    ):
        entry, known = REGISTRIES[key]()[method.name], {"n": rows, **method.parameters}
        if run.assumed_malicious is not None:
            known["f"] = run.assumed_malicious
        undefined += violations(entry, known)
        if entry.leaves is not None:
            rows = entry.leaves.condition(**{name: known[name] for name in entry.leaves.names})
    return "; ".join(undefined) or None


def _root_data(run: Experiment, train: int) -> tuple[str, int]:
    """The key that sets the size of the root data, and that size; of a share, the least it can be.

    A share is rounded for each client, to at least one sample.
    """
    if run.root_share is not None:
        return "root_share", max(run.clients, ceil(run.root_share * train - run.clients / 2))
    return "root_size", run.root_size or 0


def _check_natural(run: Experiment, data: dict[str, Any], problems: Problems) -> None:
    """What a split by natural clients, and a share of their samples, demand of the data set."""
    name, datasets = run.partition.name, PLAIN["dataset"]()
    partitions = REGISTRIES["partition"]()
    if "groups" not in partitions[name].asks:
        if run.root_share is not None:
            fitting = " or ".join(
                key for key, entry in partitions.items() if "groups" in entry.asks
            )
            shown = f"is a share of every natural client's samples, and partition {name} has no"
            way_out = f"set root_size in its place, or take partition {fitting}"
            problems.add("root_share", run.root_share, f"{shown} natural clients: {way_out}")
    elif "groups" not in data:
        fitting = " or ".join(key for key, entry in datasets.items() if "groups" in entry.facts)
        problems.say(
            f"partition {name}: the data set {run.dataset} has no natural clients: take another "
            f"partition, or dataset {fitting}"
        )
    elif run.clients != data["groups"]:
        problems.add(
            "clients",
            run.clients,
            f"are not the {data['groups']} natural clients of {run.dataset}: set clients: "
            f"{data['groups']}, or take a partition other than {name}",
        )


def _check_attack(run: Experiment, facts: dict[str, Any], problems: Problems) -> None:
    """What an attack demands of the data set and of the model's layers."""
    entry = REGISTRIES["attack"]()[run.attack.name]
    known = {**facts, **run.attack.parameters}
    for sentence in violations(entry, known):
        shown = f"{sentence}, with dataset {run.dataset}: change it or the dataset"
        problems.say(f"attack {run.attack.name}: {shown}")
    layers = tensor_names(run.model)
    for layer in run.attack.parameters.get("coordinates", {}).get("layers") or []:
        if layer not in layers:
            problems.unknown(
                f"attack {run.attack.name}.coordinates", layer, layers, f"layer of {run.model}"
            )
