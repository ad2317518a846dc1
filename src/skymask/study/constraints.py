"""Constraints between the values of one cell of a grid."""

from math import ceil
from typing import Any

from skymask.models.layer_shapes import tensor_names
from skymask.study.experiment import Experiment
from skymask.study.methods import violations
from skymask.study.registry import entries
from skymask.study.validation import unknown


def check_cell(
    run: Experiment, rounds: int, share: float, final_evaluations: int
) -> tuple[str | None, list[str]]:
    """Check what one cell requires of several values together.

    Args:
        run: Experiment of the cell.
        rounds: Number of rounds.
        share: Share of malicious clients, in [0, 1).
        final_evaluations: Number of evaluations that the final accuracy is the mean of.

    Returns:
        Why the attack or the defense is not defined for this many clients and malicious clients,
        or None: such a cell is left out.  And a sentence for each mistake, which must be corrected.
    """
    data = entries("dataset")[run.dataset].facts
    problems = [*_data_problems(run, data), *_natural_problems(run, data)]
    if run.attack.name != "none" and run.malicious == 0:
        problems.append(
            f"malicious_share: {share} of {run.clients} clients is less than one client: raise it, "
            "or study the attack 'none' alone"
        )
    evaluations = rounds // run.evaluate_every
    if evaluations < final_evaluations:
        problems.append(
            f"final_evaluations: {final_evaluations} is more than the {evaluations} evaluations of "
            f"{rounds} rounds, with one every {run.evaluate_every} rounds: lower it or "
            "evaluate_every, or raise rounds"
        )
    facts = {"shape": data["shape"], "classes": data["classes"], "clients": run.clients}
    for kind, name, known, hint in (
        ("model", run.model, facts, "use another model"),
        ("partition", run.partition.name, facts, "raise clients, or use partition iid"),
        ("attack", run.attack.name, facts | run.attack.parameters, "change it or the dataset"),
    ):
        problems += [
            f"{kind} {name}: {sentence}, with dataset {run.dataset}: {hint}"
            for sentence in violations(entries(kind)[name], known)
        ]
    layers = tensor_names(run.model)
    problems += [
        unknown(f"attack {run.attack.name}.coordinates", layer, layers, f"layer of {run.model}")
        for layer in run.attack.parameters.get("coordinates", {}).get("layers") or []
        if layer not in layers
    ]
    when = run.attack.parameters.get("attack_rounds", {})
    if when.get("first", 1) > rounds:
        problems.append(
            f"attack {run.attack.name}.attack_rounds: first is round {when['first']}, and there "
            f"are {rounds} rounds: lower it or raise rounds"
        )
    return "; ".join(_undefined(run)) or None, problems


def _undefined(run: Experiment) -> list[str]:
    """Return the requirements that the numbers of clients and malicious clients do not meet."""
    found = []
    if run.malicious:
        known = {"n": run.clients, "f": run.malicious, **run.attack.parameters}
        found += violations(entries("attack")[run.attack.name], known)
    rows = run.clients
    before = [("pre-aggregator", method) for method in run.defense.pre_aggregators]
    for kind, method in [*before, ("defense", run.defense)]:
        entry, known = entries(kind)[method.name], {"n": rows, **method.parameters}
        if run.assumed_malicious is not None:
            known["f"] = run.assumed_malicious
        found += violations(entry, known)
        if entry.leaves is not None:
            rows = entry.leaves.condition(**{name: known[name] for name in entry.leaves.names})
    return found


def _data_problems(run: Experiment, data: dict[str, Any]) -> list[str]:
    """Sentences where the training data is too small for all clients and the root data."""
    key, root = "root_size", run.root_size or 0
    if run.root_share is not None:
        # rounded for each client, to at least one sample: the least that this can be
        key = "root_share"
        root = max(run.clients, ceil(run.root_share * data["train"] - run.clients / 2))
    needed = root + run.clients * (run.samples_per_client or 1)
    if needed <= data["train"]:
        return []
    return [
        f"clients, samples_per_client, {key}: {run.clients} clients and the root data need "
        f"{needed} training samples, {run.dataset} has {data['train']}: lower one"
    ]


def _natural_problems(run: Experiment, data: dict[str, Any]) -> list[str]:
    """Sentences where natural clients are required and missing, or of another number."""
    name, partitions = run.partition.name, entries("partition")
    if "groups" not in partitions[name].asks:
        if run.root_share is None:
            return []
        natural = " or ".join(key for key, entry in partitions.items() if "groups" in entry.asks)
        return [
            f"root_share: {run.root_share} is a share of each natural client's samples, and "
            f"partition {name} has no natural clients: set root_size instead, or use partition "
            f"{natural}"
        ]
    if "groups" not in data:
        datasets = entries("dataset")
        natural = " or ".join(key for key, entry in datasets.items() if "groups" in entry.facts)
        return [
            f"partition {name}: the data set {run.dataset} has no natural clients: use another "
            f"partition, or dataset {natural}"
        ]
    if run.clients != data["groups"]:
        return [
            f"clients: {run.clients} is not the number of natural clients of {run.dataset}: set "
            f"clients: {data['groups']}, or use a partition other than {name}"
        ]
    return []
