"""Cost curves: seconds per round and peak memory against clients, parameters and rounds.

    python benchmarks/scale.py --out docs/performance/scale-cpu

Each point is measured in its own process: the four stages of some rounds, with SkyMask, on random
samples, which cost as much as real ones.  Writes OUT.parquet and OUT.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from measure import machine, markdown_header, markdown_row, write

IMAGES = (1, 28, 28)
# model, shape of a sample, classes
MODELS = {
    "logistic_regression": ((561,), 6),
    "cnn": (IMAGES, 10),
    "resnet20": ((3, 32, 32), 10),
    "resnet18": ((3, 32, 32), 10),
}
BASE = {"model": "cnn", "clients": 10, "samples": 32, "rounds": 3, "defense": "skymask"}
CURVES: dict[str, list[dict[str, Any]]] = {
    "clients": [{"clients": n, "rounds": 3} for n in (10, 30, 100, 300, 1000)],
    "parameters": [
        {"model": "logistic_regression", "rounds": 10},
        {"model": "cnn", "rounds": 5},
        {"model": "resnet20", "rounds": 2},
        {"model": "resnet18", "rounds": 1},
    ],
    "rounds": [{"rounds": rounds} for rounds in (5, 10, 20, 40)],
}


def measure(point: dict[str, Any]) -> dict[str, Any]:
    """Run one point in this process; return seconds per round, by stage, and peak memory."""
    import workloads

    from skymask.contracts import describes
    from skymask.data.partition import assign
    from skymask.federation.federation import Checkpoint, Federation
    from skymask.federation.rounds import run_span
    from skymask.models import architectures
    from skymask.models.samples import Samples
    from skymask.study.experiment import Experiment, Method

    architectures.MODELS |= {
        name: describes(layers=())(getattr(workloads, name)) for name in ("resnet20", "resnet18")
    }
    torch.set_num_threads(point["threads"])
    shape, classes = MODELS[point["model"]]
    clients, root = point["clients"], 100
    source = torch.Generator().manual_seed(1)

    def samples(count: int) -> Samples:
        labels = torch.arange(count) % classes
        features = torch.rand(count, *shape, generator=source)
        return Samples(features.to(point["device"]), labels.to(point["device"]))

    run = Experiment(
        dataset="random",
        model=point["model"],
        partition=Method("iid"),
        clients=clients,
        samples_per_client=point["samples"],
        root_size=root,
        root_bias=None,
        attack=Method("sign_flip"),
        malicious=clients // 5,
        defense=Method(point["defense"]),
        assumed_malicious=None,
        local_epochs=1,
        batch_size=32,
        local_lr=0.05,
        global_lr=1.0,
        gradient_clip=0.01,
        loss="cross_entropy",
        training_precision="float32",
        evaluate_every=10**9,
        data_seed=1,
        training_seed=1,
        device=point["device"],
        threads=point["threads"],
    )
    train = samples(clients * point["samples"] + root)
    assignment = assign(
        train.labels.cpu().numpy(),
        classes=classes,
        partition="iid",
        parameters={},
        clients=clients,
        samples_per_client=point["samples"],
        root_size=root,
        root_bias=None,
        data_seed=1,
    )
    parties = Federation(run, train, samples(classes), assignment, classes)
    # the first round also compiles and loads
    progress, _ = run_span(parties, Checkpoint(parties.initial_parameters()), range(1, 2))
    start = time.perf_counter()
    _, span = run_span(parties, progress, range(2, 2 + point["rounds"]))
    wall = time.perf_counter() - start
    found = {
        "parameters": parties.model.layout.dimension,
        "seconds_per_round": wall / point["rounds"],
    }
    for stage in ("train", "attack", "aggregate"):
        times = [row["seconds"] for row in span.timings if row["stage"] == stage]
        found[f"{stage}_seconds"] = statistics.median(times)
    found["peak_memory_mib"] = max(row["peak_memory_mib"] for row in span.timings)
    return found


def in_markdown(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown page with a table per curve."""
    names = ["model", "parameters", "clients", "rounds", "device"]
    times = ["seconds_per_round", "train_seconds", "attack_seconds", "aggregate_seconds"]
    setting = "SkyMask, 32 samples per client, 100 root samples"
    lines = [f"Written by `python benchmarks/scale.py`: {setting}."]
    for curve in CURVES:
        lines += ["", f"## {curve}", "", markdown_header([*names, *times, "peak_memory_mib"])]
        lines += [
            markdown_row(
                [
                    *(row[name] for name in names),
                    *(f"{row[name]:.3g}" for name in times),
                    f"{row['peak_memory_mib']:.0f}",
                ]
            )
            for row in rows
            if row["curve"] == curve
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure each point in its own process and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--out", type=Path, default=Path("results/bench/scale"))
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point is not None:
        print(json.dumps(measure(arguments.point)))
        return
    rows = []
    for curve in arguments.only:
        for changed in CURVES[curve]:
            point = {**BASE, **changed, "device": arguments.device, "threads": arguments.threads}
            command = [sys.executable, __file__, "--point", json.dumps(point)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append({"curve": curve, **point, **json.loads(output.splitlines()[-1])})
            print(rows[-1])
    table, facts = pa.Table.from_pylist(rows), machine(arguments.threads)
    write(arguments.out, "Cost curves", in_markdown(rows), table, facts)


if __name__ == "__main__":
    main()
