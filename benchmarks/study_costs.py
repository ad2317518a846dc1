"""Costs of studies: measured or estimated seconds per round, times the rounds.

    python benchmarks/study_costs.py config/config.yaml config/studies/*.yaml --rounds 2
    python benchmarks/study_costs.py config/studies/*.yaml --estimate [--scale small]

Runs a few rounds of every cell with one thread, as in a study's jobs, and one seed.  Prints a
Markdown table: hours of one core and hours on ``--cores``, without the start of jobs and what other
studies have cached.  With ``--estimate`` nothing is run: the seconds of a round are those of
``skymask/jobs/costs.py``, right within a factor of two on a CPU and not measured on a GPU.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from federations import federation
from measure import markdown_header, markdown_row

from skymask.federation.evaluate import evaluate
from skymask.federation.federation import Checkpoint
from skymask.federation.rounds import run_span
from skymask.jobs import costs
from skymask.study import load
from skymask.study.experiment import Experiment
from skymask.study.grid import Study

BASE = Path(__file__).parents[1]


def seconds_per_round(run: Experiment, rounds: int) -> tuple[float, float]:
    """Return the seconds of a round without its evaluation, and those of an evaluation."""
    parties = federation(run)
    progress, _ = run_span(parties, Checkpoint(parties.initial_parameters()), range(1, 2))
    start = time.perf_counter()
    progress, span = run_span(parties, progress, range(2, 2 + rounds))
    taken = time.perf_counter() - start
    within = sum(row["seconds"] for row in span.timings if row["stage"] == "evaluate")
    start = time.perf_counter()
    evaluate(parties, progress.global_parameters)
    return (taken - within) / rounds, time.perf_counter() - start


def estimated(study: Study, cores: int) -> str:
    """Return a row: hours on CPU cores and on one GPU, as the package estimates them."""
    hours = {
        device: sum(
            cell.rounds * costs.seconds_per_round(replace(cell.experiment, device=device))
            for cell in study.runs.values()
        )
        / 3600
        for device in ("cpu", "cuda")
    }
    rounds = sum(cell.rounds for cell in study.runs.values())
    numbers = (f"{hours['cpu'] / cores:.3g}", f"{hours['cuda']:.3g}")
    return markdown_row((study.name, len(study.runs), rounds, *numbers))


def main() -> None:
    """Print a row per study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--estimate", action="store_true", help="run nothing")
    parser.add_argument("--scale", choices=["full", "small"], default="full")
    arguments = parser.parse_args()
    if arguments.estimate:
        hours = (f"hours on {arguments.cores} cores", "hours on a GPU")
        print(markdown_header(("study", "runs", "rounds", *hours)))
        for file in arguments.studies:
            print(estimated(_read(file, arguments.scale), arguments.cores))
        return
    torch.set_num_threads(1)
    measured = ("seconds per round", "core hours", f"hours on {arguments.cores}")
    print(markdown_header(("study", "runs", "rounds", *measured)))
    for file in arguments.studies:
        study = _read(file, arguments.scale)
        known: dict[tuple[str, str, str], tuple[float, float]] = {}
        seconds = rounds = 0.0
        for cell in study.runs.values():
            run = cell.experiment
            key = (cell.attack, cell.defense, cell.setting)
            if key not in known:
                known[key] = seconds_per_round(run, arguments.rounds)
            each, evaluation = known[key]
            seconds += cell.rounds * (each + evaluation / run.evaluate_every)
            rounds += cell.rounds
        hours = seconds / 3600
        numbers = (seconds / rounds, hours, hours / arguments.cores)
        cells = (study.name, len(study.runs), f"{rounds:.0f}", *(f"{n:.3g}" for n in numbers))
        print(markdown_row(cells), flush=True)


def _read(file: Path, scale: str) -> Study:
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    # a study without small values has one scale only
    own = {"scale": scale} if "small" in config else {}
    return load.from_config({**config, **own}, str(file))


if __name__ == "__main__":
    main()
