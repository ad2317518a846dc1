"""Effect of bfloat16 on accuracy and on SkyMask's verdicts.

    python benchmarks/precision.py --dataset digits fashion_mnist --rounds 40 --seeds 1 2 3

prints, per data set and attack, the mean accuracy of the last five rounds with either training
precision, and how many of the verdicts differ when masks are learned from bfloat16 on the same
updates.
"""

import argparse
import statistics
from dataclasses import replace

from federations import SETTINGS, experiment, federation

from skymask.federation.aggregate import aggregate
from skymask.federation.attack import attack
from skymask.federation.federation import Checkpoint
from skymask.federation.rounds import run_span
from skymask.federation.train import train, training_data
from skymask.study.experiment import Experiment, Method

CLIENTS = {"digits": (20, None), "fashion_mnist": (100, 120)}


def accuracy(run: Experiment, rounds: int) -> float:
    """Return the mean accuracy of the last five rounds."""
    parties = federation(run)
    _, span = run_span(parties, Checkpoint(parties.initial_parameters()), range(1, rounds + 1))
    return statistics.mean(row["accuracy"] for row in span.metrics[-5:])


def differing(run: Experiment, rounds: int) -> tuple[int, int]:
    """Count the verdicts that differ, and all; the float32 verdicts move the model."""
    exact = federation(run)
    coarse_run = replace(run, defense=Method("skymask", {"mask_precision": "bfloat16"}))
    coarse = federation(coarse_run)
    model, data = exact.initial_parameters(), training_data(exact)
    attacker, states = {}, ({}, {})
    unlike = 0
    for round_ in range(1, rounds + 1):
        updates = train(exact, data, model, round_).updates
        updates, attacker = attack(exact, updates, model, attacker, round_)
        following, one, first = aggregate(exact, updates, model, states[0], round_)
        _, other, second = aggregate(coarse, updates, model, states[1], round_)
        states, model = (first, second), following
        unlike += int((one.accepted != other.accepted).sum())
    return unlike, rounds * run.clients


def main() -> None:
    """Print a line per data set and attack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", choices=SETTINGS, default=["digits"])
    parser.add_argument("--attacks", nargs="+", default=["none", "min_max", "label_flip"])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    arguments = parser.parse_args()
    for dataset in arguments.dataset:
        clients, samples = CLIENTS[dataset]
        for name in arguments.attacks:
            malicious = 0 if name == "none" else clients // 5
            runs = [
                experiment(dataset, clients, samples, name, malicious, seed, "0.5")
                for seed in arguments.seeds
            ]
            found = {
                precision: [
                    accuracy(replace(run, training_precision=precision), arguments.rounds)
                    for run in runs
                ]
                for precision in ("float32", "bfloat16")
            }
            unlike = [differing(run, arguments.rounds) for run in runs]
            shown = ", ".join(
                f"{precision} {100 * statistics.mean(values):.1f} "
                f"({', '.join(f'{100 * value:.1f}' for value in values)})"
                for precision, values in found.items()
            )
            print(
                f"{dataset} {name}: accuracy {shown}; verdicts that differ "
                f"{sum(a for a, _ in unlike)} of {sum(b for _, b in unlike)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
