"""A study file: read, checked whole, and expanded into the runs of its grid.

Imports nothing heavy: the Snakefile reads its study through this module.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml

from skymask.study.constraints import check_cell
from skymask.study.experiment import Experiment, Method
from skymask.study.labels import label, value_label
from skymask.study.methods import REGISTRIES, check_method, identity, methods
from skymask.study.scale import scaled
from skymask.study.validation import (
    BAD,
    Problems,
    check_keys,
    is_axis,
    number,
    too_large,
    too_many,
)

Config = Mapping[str, Any]
Schema = Mapping[str, Mapping[str, Any]]


@cache
def _schema() -> Schema:
    path = Path(__file__).parents[3] / "workflow" / "schemas" / "study.schema.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


SEEDS = ("data_seed", "training_seed")


class StudyError(ValueError):
    """A study file that cannot be run; the message lists every mistake."""

    def __init__(self, file: str, problems: list[str]) -> None:
        self.problems = problems
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{file}: {count}, nothing was started\n{lines}")


@dataclass(frozen=True)
class Cell:
    """One run of the grid, with the labels it carries in tables.

    ``varied`` are the values of the study's other axes that vary, as ``setting`` writes them.
    ``undefined`` says why the defense or the attack is not defined here; the cell is then no run.
    """

    experiment: Experiment
    rounds: int
    defense: str
    attack: str
    setting: str
    undefined: str | None = None
    varied: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A checked study.  ``cells`` are in the order of the schema's axes, undefined included.

    ``scale`` is ``full`` or ``small``; ``reduced`` maps the keys that the small scale changed to
    their values in full and as they are.
    """

    name: str
    cells: list[Cell]
    rounds_per_job: int | Literal["auto"]
    keep_updates: frozenset[int]
    final_evaluations: int
    scatter_round: int | None
    data_folders: list[str]
    scale: Literal["full", "small"] = "full"
    reduced: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    minutes_per_job: float = 1

    @property
    def runs(self) -> dict[str, Cell]:
        """The runs to make, by name: defined cells; of equal ones that with most rounds."""
        runs: dict[str, Cell] = {}
        for cell in self.cells:
            known = runs.get(cell.experiment.run)
            if cell.undefined is None and (known is None or cell.rounds > known.rounds):
                runs[cell.experiment.run] = cell
        return runs


def read(config: Config, file: str = "study") -> Study:
    """Check ``config`` and expand its grid.

    Raises StudyError with every mistake found: unknown keys, names and parameters with the nearest
    valid one, values of the wrong type or out of range, and settings that cannot hold together.
    """
    schema = _schema()
    problems = Problems()
    flood = too_large(config)
    if flood:
        raise StudyError(file, [flood])
    config, reduced = scaled(config, schema, problems)
    values = check_keys(config, schema, problems)
    axes = {k: _axis(k, values[k], problems) for k in schema if is_axis(schema, k)}
    groups = _groups(values["paired"], axes, problems)
    excluded = _exclusions(values["exclude"], axes, schema, problems)
    if too_many("the grid", map(len, groups), problems):
        raise StudyError(file, problems.unique)
    sound = not problems
    used = [False] * len(excluded)
    cells: list[Cell] = []
    for point in _points(groups):
        hits = [_meets(point, exclusion) for exclusion in excluded]
        used = [old or hit for old, hit in zip(used, hits, strict=True)]
        checkable = _stand_in(point, schema)
        if checkable and not any(hits):
            cells.append(_cell(checkable, values, axes, problems))
    if sound:
        for exclusion, hit in zip(values["exclude"], used, strict=True):
            if not hit:
                problems.add("exclude", exclusion, "meets no cell of the grid: remove or mend it")
        _check_rounds(values, cells, problems)
    if not problems and config.get("small") and values["scale"] == "full":
        _check_small(config, problems)
    if not problems and all(cell.undefined for cell in cells):
        reason = cells[0].undefined if cells else "exclude leaves nothing over"
        problems.say(f"no cell of the grid can be run: {reason}")
    if problems:
        raise StudyError(file, problems.unique)
    return Study(
        values["study"],
        cells,
        values["rounds_per_job"],
        frozenset(values["keep_updates"]),
        values["final_evaluations"],
        values["scatter_round"],
        values["data_folders"],
        values["scale"],
        reduced,
        values["minutes_per_job"],
    )


def _check_small(config: Config, problems: Problems) -> None:
    """What is wrong at the small scale is said at once, too."""
    try:
        read({**config, "scale": "small"})
    except StudyError as error:
        for problem in error.problems:
            problems.say(f"at scale small: {problem}")


def _check_rounds(values: Mapping[str, Any], cells: list[Cell], problems: Problems) -> None:
    """Rounds that are named must be run."""
    last = max((cell.rounds for cell in cells), default=0)
    named = [("keep_updates", round_) for round_ in values["keep_updates"]]
    for key, round_ in [*named, ("scatter_round", values["scatter_round"])]:
        if cells and round_ is not None and round_ > last:
            problems.add(key, round_, f"is beyond the last round: name one up to {last}")


def _axis(key: str, values: list[Any], problems: Problems) -> list[Any]:
    """The values along one axis; methods become Method, lists of parameters are spread."""
    if key in REGISTRIES:
        spread = [method for item in values for method in methods(key, item, problems)]
        values = [check_method(key, method, problems) for method in spread]
    seen = set()
    for item in values:
        if item is not BAD and identity(item) in seen:
            shown = label(key, item) if isinstance(item, Method) else item
            problems.add(key, shown, "is given twice: remove one")
        seen.add(identity(item))
    return values


def _stand_in(point: dict[str, Any], schema: Schema) -> dict[str, Any] | None:
    """A point in which what was reported is replaced, so that the rest is checked; or None."""
    harmless = {"attack": "none", "defense": "fedavg", "partition": "iid"}
    replaced = {}
    for key, value in point.items():
        if value is not BAD:
            replaced[key] = value
        elif key in harmless:
            replaced[key] = check_method(key, harmless[key], Problems())
        elif "default" in schema[key]:
            replaced[key] = schema[key]["default"]
        else:
            return None
    if point["partition"] is BAD:
        # whether it has natural clients is not known
        replaced["root_share"] = None
    return replaced


def _groups(
    paired: list[Any], axes: dict[str, list[Any]], problems: Problems
) -> list[list[dict[str, Any]]]:
    """The axes of the grid in order, each a list of the keys it sets; paired keys move together."""
    taken: set[str] = set()
    groups: dict[str, list[dict[str, Any]]] = {key: [{key: v} for v in axes[key]] for key in axes}
    for keys in paired:
        again = taken.intersection(keys)
        for key in keys:
            if key not in axes:
                problems.unknown("paired", key, axes, "axis")
            elif key in taken:
                problems.add("paired", key, "stands in two groups: pair an axis once")
        taken.update(keys)
        lengths = {key: len(axes[key]) for key in keys if key in axes}
        if len(lengths) < len(keys) or again:
            continue
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            problems.add(
                "paired", keys, f"has lists of different length ({shown}): make them equal"
            )
            continue
        rows = zip(*(axes[key] for key in keys), strict=True)
        groups[keys[0]] = [dict(zip(keys, row, strict=True)) for row in rows]
        for key in keys[1:]:
            groups.pop(key, None)
    return list(groups.values())


def _points(groups: list[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for parts in product(*groups):
        yield {key: value for part in parts for key, value in part.items()}


def _exclusions(
    exclude: list[dict[str, Any]], axes: dict[str, list[Any]], schema: Schema, problems: Problems
) -> list[dict[str, list[Any]]]:
    """The exclusions with their values as the axes have them."""
    excluded = []
    for exclusion in exclude:
        sound: dict[str, list[Any]] = {}
        for key, given in exclusion.items():
            values = given if isinstance(given, list) else [given]
            if key not in axes:
                problems.unknown("exclude", key, axes, "axis")
            elif key in REGISTRIES:
                sound[key] = [check_method(key, v, problems, fill=False) for v in values]
            else:
                sound[key] = [number(value, schema[key]) for value in values]
        excluded.append(sound)
    return excluded


def _meets(point: dict[str, Any], exclusion: dict[str, list[Any]]) -> bool:
    def fits(value: Any, wanted: Any) -> bool:
        if isinstance(value, Method) and isinstance(wanted, Method):
            same = value.name == wanted.name and all(
                _holds(value.parameters.get(key), given) for key, given in wanted.parameters.items()
            )
            pairs = zip(value.pre_aggregators, wanted.pre_aggregators, strict=False)
            length = len(value.pre_aggregators) == len(wanted.pre_aggregators)
            return same and length and all(fits(own, other) for own, other in pairs)
        return type(value) is type(wanted) and bool(value == wanted)

    return all(any(fits(point[k], v) for v in values) for k, values in exclusion.items())


def _holds(value: Any, wanted: Any) -> bool:
    """Whether a parameter has the wanted value; of a mapping only the keys that are given count."""
    if isinstance(value, dict) and isinstance(wanted, dict):
        return wanted.items() <= value.items()
    return bool(value == wanted)


def _cell(
    point: dict[str, Any], values: Mapping[str, Any], axes: dict[str, list[Any]], problems: Problems
) -> Cell:
    """One cell, checked: canonical in what does not matter to it."""
    point = dict(point)
    rounds, share = point.pop("rounds"), point.pop("malicious_share")
    labels = {key: label(key, point[key]) for key in ("attack", "defense")}
    others = [k for k in axes if len(axes[k]) > 1 and k not in ("attack", "defense", *SEEDS)]
    named = {**point, "rounds": rounds, "malicious_share": share}
    varied = {key: value_label(key, named[key], axes[key]) for key in others}
    setting = ", ".join(f"{key}={value}" for key, value in varied.items())
    reckoned = round(share * point["clients"])
    attackers = 0 if point["attack"].name == "none" else reckoned
    asks = REGISTRIES["defense"]()[point["defense"].name].asks
    for method in point["defense"].pre_aggregators:
        asks = asks | REGISTRIES["pre-aggregator"]()[method.name].asks
    if "assumed_malicious" not in asks:
        point["assumed_malicious"] = None
    elif point["assumed_malicious"] is None:
        # with no attack the server still reckons with the share it was told of
        point["assumed_malicious"] = reckoned
    if point["root_share"] is not None:
        point["root_size"] = point["root_bias"] = None
    experiment = Experiment(malicious=attackers, **point)
    undefined = check_cell(experiment, rounds, share, values["final_evaluations"], problems)
    return Cell(experiment, rounds, labels["defense"], labels["attack"], setting, undefined, varied)
