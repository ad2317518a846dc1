"""Figure of test samples with the triggers of backdoors."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from torch import Tensor

from skymask.artifacts.tensors import read_samples
from skymask.attacks import TRIGGERS
from skymask.contracts import own
from skymask.jobs import paths
from skymask.reporting.figures.style import STYLE, WIDTH, folded, save
from skymask.reporting.outputs import backdoored
from skymask.study.experiment import Experiment
from skymask.study.grid import Study

SAMPLES = 8


@rc_context(STYLE)
def draw(study: Study, results: Path, targets: list[Path]) -> None:
    """Draw clean test samples of each data set, and below them a row per backdoor of the study.

    Only samples whose true class is not the target are triggered, as in the attack success rate;
    their titles are true class → target.

    Args:
        study: the study.
        results: folder of the results; reads data/DATASET/test.parquet.
        targets: files to write; their suffixes are the formats.

    Raises:
        ArtifactError: a file is missing, damaged or of another version.
    """
    backdoors: dict[str, dict[str, Experiment]] = {}
    for cell in study.cells:
        if cell.undefined is None and backdoored(cell):
            of_dataset = backdoors.setdefault(cell.experiment.dataset, {})
            of_dataset.setdefault(cell.attack, cell.experiment)
    count = sum(1 + len(runs) for runs in backdoors.values())
    figure, axes = plt.subplots(
        count, SAMPLES, figsize=(WIDTH, 0.95 * count), squeeze=False, layout="constrained"
    )
    rows = iter(axes)
    for dataset, runs in backdoors.items():
        features, labels, _ = read_samples(paths.dataset(dataset, "test", results), dataset)
        _draw_row(next(rows), features, map(str, labels.tolist()), dataset)
        for attack, run in runs.items():
            trigger, parameters = TRIGGERS[run.attack.name], run.attack.parameters
            target = parameters["target"]
            chosen = torch.nonzero(labels != target).flatten()[:SAMPLES]
            titles = [f"{label} → {target}" for label in labels[chosen].tolist()]
            triggered = trigger(features[chosen], **own(trigger, parameters))
            _draw_row(next(rows), triggered, titles, attack)
    save(figure, targets)


def _draw_row(axes: list[Axes], features: Tensor, titles: Iterable[str], label: str) -> None:
    """Draw samples as grey or colour images, or as stripes if they are vectors."""
    for panel in axes:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set(visible=True, linewidth=0.4, color="0.5")
    for panel, sample, title in zip(axes, features, titles, strict=False):
        vector = sample.ndim == 1
        image = sample[None] if vector else sample.movedim(0, -1).squeeze(-1)
        shape: Any = "auto" if vector else "equal"
        panel.imshow(image.numpy(), cmap="gray", vmin=0, vmax=1, aspect=shape)
        panel.set_title(title, fontsize=7, pad=2)
    axes[0].set_ylabel(folded(label, 16), fontsize=7, rotation=0, ha="right", va="center")
