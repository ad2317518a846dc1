"""Runs in which `clusters: auto` decides every round, compared with FedAvg.

    python benchmarks/cluster_loop.py --dataset digits --clients 10 20 --attacks none min_max \
        --shares 0.2 --seeds 11 12 --rounds 60

prints per run the false positives and false negatives after the fifth round, after the middle of
the run, and the mean accuracy of the last five rounds, all in per cent.
"""

import itertools
from dataclasses import replace

import numpy as np
import torch
from cluster_decisions import FIRST, count, rates
from cluster_study import experiment, federation, grid_parser
from measure import markdown_header, markdown_row

from skymask.contracts import RequirementError
from skymask.federation.federation import Checkpoint
from skymask.federation.rounds import run_span
from skymask.study.experiment import SERVER, Experiment, Method


def run_rounds(run: Experiment, rounds: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the verdicts [rounds, n], who is malicious [n], and the final accuracy in per cent."""
    parties = federation(run)
    _, span = run_span(parties, Checkpoint(parties.initial_parameters()), range(1, rounds + 1))
    accepted = [row["accepted"] for row in span.clients if row["client"] != SERVER]
    accuracy = 100 * float(np.mean([row["accuracy"] for row in span.metrics[-5:]]))
    # a defense without verdicts has None
    verdicts = np.array(accepted).reshape(rounds, -1).astype(bool)
    return verdicts, parties.malicious.numpy(), accuracy


def main() -> None:
    """Run the requested cells and print a row for each."""
    parser = grid_parser(__doc__.splitlines()[0], seed=11, rounds=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = itertools.product(options.clients, options.attacks, options.shares, options.seeds)
    columns = ["clients", "attack", "malicious", "seed", "after round 5", "second half"]
    print(markdown_header([*columns, "accuracy", "FedAvg"]))
    for clients, attack, share, seed in cells:
        bad = 0 if attack == "none" else round(share * clients)
        run = experiment(options.dataset, clients, options.samples, attack, bad, seed, "0.5")
        try:
            accepted, malicious, accuracy = run_rounds(run, options.rounds)
        except RequirementError as error:
            print(error)
            continue
        _, _, fedavg = run_rounds(replace(run, defense=Method("fedavg")), options.rounds)
        late = [rates(count(accepted[r:], malicious)) for r in (FIRST, options.rounds // 2)]
        accuracies = (f"{accuracy:.1f}", f"{fedavg:.1f}")
        print(markdown_row([clients, attack, bad, seed, *late, *accuracies]), flush=True)


if __name__ == "__main__":
    main()
