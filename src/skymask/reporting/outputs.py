"""Names of the tables and figures of a study."""

import hashlib
import json
from dataclasses import asdict

from skymask.reporting import published
from skymask.study.grid import Cell, Study
from skymask.study.registry import entries, registry


def backdoored(cell: Cell) -> bool:
    """Tell whether the attack of a cell has a trigger, so that its success is measured."""
    return cell.experiment.attack.name in registry("skymask.attacks", "TRIGGERS")


def masked(cell: Cell) -> bool:
    """Tell whether a cell learns masks."""
    return cell.experiment.defense.name == "skymask"


def judged_by_layer(cell: Cell) -> bool:
    """Tell whether the defense of a cell gives a verdict for each layer."""
    defense = cell.experiment.defense
    facts = entries("defense")[defense.name].facts
    return defense.parameters.get("per") == "layer" or facts.get("verdicts_per_layer", False)


def with_layers(cell: Cell) -> bool:
    """Tell whether the runs of a cell record something for each layer."""
    return masked(cell) or judged_by_layer(cell)


def over_batch(cell: Cell) -> bool:
    """Tell whether the accuracy of a cell is measured over batches, as in the released code."""
    return cell.experiment.loss == "batch_softmax"


def tables(study: Study) -> list[str]:
    """Return the names of the study's tables: those with rows for its defined cells."""
    names = ["accuracy", "detection", "got_through", "runs"]
    cells = [cell for cell in study.cells if cell.undefined is None]
    names += ["argmax_accuracy"] if any(map(over_batch, cells)) else []
    names += ["attack_success"] if any(map(backdoored, cells)) else []
    names += ["mask_layers"] if any(map(masked, cells)) else []
    names += ["layer_verdicts"] if any(map(judged_by_layer, cells)) else []
    names += ["published"] if published.known(study) else []
    return names + (["significance"] if _testable(cells) else [])


def _testable(cells: list[Cell]) -> bool:
    """Whether SkyMask and another defense except oracle share two pairs of seeds or more."""
    ours: dict[tuple[str, str], dict[str, set[tuple[int, int]]]] = {}
    others: dict[tuple[str, str], dict[str, set[tuple[int, int]]]] = {}
    for cell in cells:
        run = cell.experiment
        if run.defense.name != "oracle":
            side = ours if masked(cell) else others
            defenses = side.setdefault((cell.setting, cell.attack), {})
            defenses.setdefault(cell.defense, set()).add((run.data_seed, run.training_seed))
    return any(
        len(seeds & theirs) > 1
        for place, variants in ours.items()
        for seeds in variants.values()
        for theirs in others.get(place, {}).values()
    )


def abscissas(cells: list[Cell]) -> set[str]:
    """Return the axes that vary among cells, apart from the loss."""
    return {axis for cell in cells for axis in cell.varied} - {"loss"}


def figures(study: Study) -> list[str]:
    """Return the names of the study's figures: those with data for its defined cells."""
    cells = [cell for cell in study.cells if cell.undefined is None]
    names = ["accuracy_curves"]
    grid = min(len({cell.defense for cell in cells}), len({cell.attack for cell in cells}))
    names += ["heat_map"] if grid > 1 else []
    names += ["rates"] if len(abscissas(cells)) == 1 else []
    names += ["triggered_samples"] if any(map(backdoored, cells)) else []
    learned = ["mask_scatter", "mask_geometry", "mask_layers"]
    return names + (learned if any(map(masked, cells)) else [])


def digest(study: Study) -> str:
    """Hash all that the study's tables and figures depend on to 16 hexadecimal digits."""
    cells = [(asdict(cell), cell.experiment.run) for cell in study.cells]
    paper = published.digest() if published.known(study) else None
    values = [cells, study.final_evaluations, study.scatter_round, dict(study.reduced), paper]
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
