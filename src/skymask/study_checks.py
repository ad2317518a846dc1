"""What must hold together in one cell of a study's grid."""

from skymask.experiment import Experiment
from skymask.study_values import PLAIN, REGISTRIES, Problems, violations


def check_cell(
    run: Experiment, rounds: int, share: float, final_evaluations: int, problems: Problems
) -> str | None:
    """Check what only holds together; return why the cell is undefined, or None.

    A mistake is the user's and goes to ``problems``; that a rule is not defined for this many
    clients and attackers is a finding, and the cell is left out.
    """
    data = PLAIN["dataset"]()[run.dataset].facts
    held = run.clients * (run.samples_per_client or 1)
    if run.root_size + held > data["train"]:
        problems.say(
            f"clients, samples_per_client, root_size: {run.clients} clients and the root data need "
            f"{run.root_size + held} training samples, {run.dataset} has {data['train']}: lower one"
        )
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
    undefined = []
    if run.malicious:
        known = {"n": run.clients, "f": run.malicious, **run.attack.parameters}
        undefined += violations(REGISTRIES["attack"]()[run.attack.name], known)
    known = {"n": run.clients, **run.defense.parameters}
    if run.assumed_malicious is not None:
        known["f"] = run.assumed_malicious
    undefined += violations(REGISTRIES["defense"]()[run.defense.name], known)
    return "; ".join(undefined) or None
