"""Runs in which `clusters: auto` decides every round, compared with FedAvg.

    python benchmarks/cluster_loop.py --dataset digits --clients 10 20 --attacks none min_max \
        --shares 0.2 --seeds 11 12 --rounds 60

prints per run the false positives and false negatives after the fifth round, after the middle of
the run, and the mean accuracy of the last five rounds, all in per cent.
"""

import argparse
import itertools
from dataclasses import replace

import numpy as np
import torch
from cluster_study import SETTINGS, experiment, federation

from skymask.contracts import RequirementError
from skymask.federation.federation import Checkpoint
from skymask.federation.rounds import run_span
from skymask.study.experiment import Experiment, Method


def carry(run: Experiment, rounds: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Verdicts [rounds, n], who is malicious [n], and the accuracy at the end in per cent."""
    parties = federation(run)
    _, span = run_span(parties, Checkpoint(parties.initial_parameters()), range(1, rounds + 1))
    kept = [row["accepted"] for row in span.clients if row["client"] >= 0]
    accuracy = 100 * float(np.mean([row["accuracy"] for row in span.metrics[-5:]]))
    return np.array(kept).reshape(rounds, -1), parties.malicious.numpy(), accuracy


def rates(kept: np.ndarray, malicious: np.ndarray) -> str:
    """FPR / FNR in per cent."""
    fpr = 100 * (~kept[:, ~malicious].astype(bool)).mean()
    if not malicious.any():
        return f"{fpr:.1f}"
    return f"{fpr:.1f} / {100 * kept[:, malicious].astype(bool).mean():.1f}"


def main() -> None:
    """Run the cells that are asked for and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits", choices=list(SETTINGS))
    parser.add_argument("--clients", type=int, nargs="+", default=[20])
    parser.add_argument("--samples", type=int, default=None)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2])
    parser.add_argument("--attacks", nargs="+", default=["none"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = itertools.product(options.clients, options.attacks, options.shares, options.seeds)
    print(
        "| clients | attack | malicious | seed | after round 5 | second half | accuracy | FedAvg |"
    )
    print("| --- " * 8 + "|")
    for clients, attack, share, seed in cells:
        bad = 0 if attack == "none" else round(share * clients)
        run = experiment(options.dataset, clients, options.samples, attack, bad, seed, "0.5")
        try:
            kept, malicious, accuracy = carry(run, options.rounds)
        except RequirementError as error:
            print(error)
            continue
        plain = carry(replace(run, defense=Method("fedavg")), options.rounds)[2]
        late = kept[options.rounds // 2 :]
        row = [clients, attack, bad, seed, rates(kept[5:], malicious), rates(late, malicious)]
        print("| " + " | ".join(map(str, row)) + f" | {accuracy:.1f} | {plain:.1f} |", flush=True)


if __name__ == "__main__":
    main()
