"""The start of a job, and several jobs on one device."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from measure import Case, Work
from workloads import CLASSES, SHAPE, random_samples

from skymask.federation.local_training import train_clients
from skymask.federation.settings import LocalTraining
from skymask.models.architectures import build
from skymask.models.flat_parameters import ResidentModel
from skymask.seeds import generator

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
WITH_TORCH = ("span", "train", "attack", "aggregate", "evaluate")
WITHOUT_TORCH = ("data", "partition", "collect", "collect_updates", "experiments", "tables")
JOBS = 4
ROUNDS = {"cpu": 5, "cuda": 50}


def cases(device: str) -> Iterator[Case]:
    """Yield the start of each script (CPU only), and jobs side by side."""
    if device == "cpu":
        yield Case(
            "processes",
            "start: interpreter and imports of a script",
            lambda: {
                "import torch": _python("import torch"),
                **{name: _python(_imports_of(name)) for name in (*WITH_TORCH, *WITHOUT_TORCH)},
            },
            ours="span",
            repeats=2,
        )
    most = (os.cpu_count() or 1) if device == "cpu" else JOBS
    sides = [n for n in (1, 2, 4) if n <= most]
    yield Case(
        "processes",
        f"{JOBS} jobs of {ROUNDS[device]} rounds of the CNN, side by side",
        lambda: {f"{n} at once": _side_by_side(n, device) for n in sides},
        ours=f"{sides[-1]} at once",
        repeats=1 if device == "cpu" else 3,
        note="includes the start of each process",
    )


def _imports_of(script: str) -> str:
    tree = ast.parse((SCRIPTS / f"{script}.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, imports))


def _run(*arguments: str) -> None:
    # a job of a study has one thread unless the study says otherwise
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], env=environment, check=True)


def _python(code: str) -> Work:
    return partial(_run, "-c", code)


def _side_by_side(count: int, device: str) -> Work:
    """Run ``JOBS`` jobs, each in its own process, ``count`` at a time."""

    def work() -> None:
        with ThreadPoolExecutor(count) as slots:
            list(slots.map(lambda seed: _run(__file__, device, str(seed)), range(JOBS)))

    return work


def job(device: str, seed: int) -> None:
    """Do the work of a job of many rounds: clients train, the server averages."""
    clients, samples = (20, 32) if device == "cpu" else (100, 120)
    source = generator(seed, "benchmark")
    model = ResidentModel(build("cnn", SHAPE, CLASSES, seed).to(device))
    data = [random_samples(samples, source, device) for _ in range(clients)]
    settings, parameters = LocalTraining(1, 32, 0.5, 0.01, "class"), model.vector.clone()
    for round_ in range(ROUNDS[device]):
        order = partial(generator, seed, "batches", round_)
        updates = train_clients(model, parameters, data, settings, order).updates
        parameters = parameters + updates.mean(dim=0)
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    job(sys.argv[1], int(sys.argv[2]))
