"""Pictures of triggered test samples: what a backdoor's success is measured on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from skymask.artifacts.tensors import read_samples
from skymask.attacks import TRIGGERS
from skymask.contracts import own
from skymask.reporting.figures.style import STYLE, WIDTH, folded, save
from skymask.reporting.outputs import backdoored
from skymask.study.experiment import Experiment
from skymask.study.grid import Study

SAMPLES = 8


def triggered_samples(study: Study, tests: Mapping[str, Path], targets: list[Path]) -> None:
    """A row of clean test samples per data set, and below it a row per backdoor of the study.

    ``tests`` maps a data set to its file of test samples.  Only samples whose true class is not
    the target are triggered, as they are the ones that count; titles are true class → target.
    """
    backdoors: dict[str, dict[str, Experiment]] = {}
    for cell in study.cells:
        if cell.undefined is None and backdoored(cell):
            run = cell.experiment
            backdoors.setdefault(run.dataset, {}).setdefault(cell.attack, run)
    count = sum(1 + len(runs) for runs in backdoors.values())
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            count, SAMPLES, figsize=(WIDTH, 0.95 * count), squeeze=False, layout="constrained"
        )
        rows = iter(axes)
        for dataset, runs in backdoors.items():
            features, labels, _ = read_samples(tests[dataset], dataset)
            _draw(next(rows), features, [str(y) for y in labels[:SAMPLES].tolist()], dataset)
            for attack, run in runs.items():
                trigger, parameters = TRIGGERS[run.attack.name], run.attack.parameters
                target = parameters["target"]
                chosen = torch.nonzero(labels != target).flatten()[:SAMPLES]
                titles = [f"{label} → {target}" for label in labels[chosen].tolist()]
                marked = trigger(features[chosen], **own(trigger, parameters))
                _draw(next(rows), marked, titles, attack)
        save(figure, targets)


def _draw(axes: list[Axes], features: Tensor, titles: list[str], label: str) -> None:
    style: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1, "aspect": "equal"}
    for panel in axes:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set(visible=True, linewidth=0.4, color="0.5")
    for panel, sample, title in zip(axes, features, titles, strict=False):
        if sample.ndim == 1:
            panel.imshow(sample[None].numpy(), **{**style, "aspect": "auto"})
        else:
            picture = sample.movedim(0, -1).numpy()
            panel.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, **style)
        panel.set_title(title, fontsize=7, pad=2)
    axes[0].set_ylabel(folded(label, 16), fontsize=7, rotation=0, ha="right", va="center")
