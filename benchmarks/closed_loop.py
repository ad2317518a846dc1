r"""Runs in which SkyMask decides every round, compared with FedAvg, FLTrust and the oracle.

    python benchmarks/closed_loop.py --dataset digits --clients 20 50 --shares 0.2 0.8 \
        --attacks none label_flip min_max --losses batch_softmax cross_entropy --seeds 11 12 13

prints a row per cell: the mean over the seeds of the false positive and false negative rate over
all rounds, and of the accuracy of the last five rounds, all in per cent. Finished runs are kept in
the Parquet file ``--out``; a second call adds the missing ones.
"""

import itertools
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from federations import experiment, federation, grid_parser
from measure import markdown_header, markdown_row

from skymask.contracts import RequirementError
from skymask.federation.federation import Checkpoint
from skymask.federation.rounds import run_span
from skymask.study.experiment import SERVER, Experiment, Method

KEYS = ["dataset", "loss", "clients", "malicious", "attack", "seed", "rounds"]
# the final accuracy is the mean of so many rounds
MEASURED = 5
DEFENSES = ["skymask", "oracle", "fedavg", "fltrust"]


def run_rounds(run: Experiment, rounds: int) -> tuple[float, float, float]:
    """Return the rates of false positives and negatives and the final accuracy."""
    last = max(rounds - MEASURED, 0)
    parties = federation(replace(run, evaluate_every=rounds))
    start = Checkpoint(parties.initial_parameters())
    checkpoint, early = run_span(parties, start, range(1, last + 1))
    _, late = run_span(federation(run), checkpoint, range(last + 1, rounds + 1))
    accuracy = float(np.mean([row["accuracy"] for row in late.metrics]))
    accepted = [row["accepted"] for row in early.clients + late.clients if row["client"] != SERVER]
    if accepted[0] is None:
        return np.nan, np.nan, accuracy
    verdicts = np.array(accepted).reshape(rounds, -1).astype(bool)
    malicious = parties.malicious.numpy()
    missed = verdicts[:, malicious].mean() if malicious.any() else np.nan
    return float((~verdicts[:, ~malicious]).mean()), float(missed), accuracy


def measured(task: tuple[Experiment, int]) -> dict[str, Any]:
    """Run one cell with one seed under all defenses."""
    run, rounds = task
    torch.set_num_threads(1)
    row: dict[str, Any] = {key: getattr(run, key) for key in ("dataset", "loss", "clients")}
    row |= {"malicious": run.malicious, "attack": run.attack.name, "seed": run.data_seed}
    row["rounds"] = rounds
    for name in DEFENSES:
        try:
            fpr, fnr, accuracy = run_rounds(replace(run, defense=Method(name)), rounds)
        except RequirementError as error:
            return {**row, "note": str(error)}
        row[name] = accuracy
        if name == "skymask":
            row |= {"fpr": fpr, "fnr": fnr}
    return row


def table(results: pd.DataFrame) -> str:
    """Return the Markdown table of the means over the seeds, in per cent."""
    columns = ["fpr", "fnr", *DEFENSES]
    cells = results.groupby([key for key in KEYS if key != "seed"], sort=False)
    lines = [markdown_header([*cells.keys, "seeds", *columns])]
    for key, rows in cells:
        values = rows[columns].mean()
        shown = ("" if np.isnan(value) else f"{100 * value:.1f}" for value in values)
        lines.append(markdown_row((*key, len(rows), *shown)))
    return "\n".join(lines)


def main() -> None:
    """Run the requested cells and print the table of all finished ones."""
    parser = grid_parser(__doc__.splitlines()[0], seed=11, rounds=60)
    parser.add_argument("--losses", nargs="+", default=["batch_softmax", "cross_entropy"])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/closed_loop.parquet"))
    options = parser.parse_args()
    done = pd.read_parquet(options.out) if options.out.exists() else pd.DataFrame(columns=KEYS)
    known = {tuple(row) for row in done[KEYS].itertuples(index=False)}
    tasks = []
    for loss, clients, share, attack, seed in itertools.product(
        options.losses, options.clients, options.shares, options.attacks, options.seeds
    ):
        if attack == "none" and share != options.shares[0]:
            continue
        bad = 0 if attack == "none" else round(share * clients)
        key = (options.dataset, loss, clients, bad, attack, seed, options.rounds)
        if key not in known:
            samples, dataset = options.samples, options.dataset
            run = experiment(dataset, clients, samples, attack, bad, seed, "0.5", loss)
            tasks.append((run, options.rounds))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for row in pool.imap_unordered(measured, tasks):
            done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
            done.to_parquet(options.out)
    print(table(done.sort_values(KEYS)))


if __name__ == "__main__":
    main()
