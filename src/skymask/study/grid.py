"""Study files as grids of experiments, checked as a whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from skymask.study.constraints import check_cell
from skymask.study.experiment import Experiment, Method
from skymask.study.labels import label, value_label
from skymask.study.methods import UNSET
from skymask.study.model import AXES, INVALID, flat, validate
from skymask.study.registry import entries
from skymask.study.scale import named, scaled
from skymask.study.validation import shown, too_large, too_many, unknown

Point = dict[str, Any]
"""A value of each axis."""

SEEDS = ("data_seed", "training_seed")


class StudyError(ValueError):
    """A study with mistakes; the message lists them all."""

    def __init__(self, file: str, problems: list[str]) -> None:
        # many cells of a grid can have the same mistake
        self.problems = list(dict.fromkeys(problems))
        count = "a mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{file}: {count}, nothing was started\n{lines}")


@dataclass(frozen=True)
class Cell:
    """One experiment of the grid, with its labels in tables.

    Attributes:
        experiment: What determines the run.
        rounds: Number of rounds that the study needs of the run.
        defense: Label of the defense.
        attack: Label of the attack.
        setting: Labels of the other axes that vary, seeds excepted, as ``"clients=10, rounds=20"``.
        undefined: Why the attack or the defense is not defined here, or None; an undefined cell is
            not run.
        varied: The values in ``setting``, by axis.
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
    """A checked study; the other attributes are keys of the study file.

    Attributes:
        name: Name of the study at its scale.
        cells: The cells of the grid, also the undefined ones, in the order of the axes.
        reduced: Keys that the small scale changed, with their values at full and at small scale.
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
    most_jobs: int = 100_000

    @property
    def runs(self) -> dict[str, Cell]:
        """The cells to run, by the name of the run; of equal ones that with most rounds."""
        runs: dict[str, Cell] = {}
        for cell in self.cells:
            known = runs.get(cell.experiment.run)
            if cell.undefined is None and (known is None or cell.rounds > known.rounds):
                runs[cell.experiment.run] = cell
        return runs


def read(config: Mapping[str, Any], file: str = "study") -> Study:
    """Check the values of a study and expand its grid.

    Args:
        config: The values by key.
        file: What messages call the study.

    Raises:
        StudyError: The study has mistakes: unknown keys, names and parameters, values of a wrong
            type or out of range, and values that contradict each other.
    """
    flood = too_large(config)
    if flood:
        raise StudyError(file, [flood])
    config, reduced, problems = scaled(config)
    values, wrong = validate(config)
    problems += wrong
    axes = {key: flat(values[key]) for key in AXES}
    groups = _groups(values["paired"], axes, problems)
    flood = too_many("the grid", map(len, groups))
    if flood:
        raise StudyError(file, [*problems, flood])
    for key, items in axes.items():
        problems += _repeated(key, items)
    valid = not problems
    used = [False] * len(values["exclude"])
    cells: list[Cell] = []
    for point in _points(groups):
        hits = [_meets(point, exclusion) for exclusion in values["exclude"]]
        used = [old or hit for old, hit in zip(used, hits, strict=True)]
        checkable = _checkable(point)
        if checkable and not any(hits):
            cells.append(_cell(checkable, values, axes, problems))
    if valid:
        for exclusion, hit in zip(config.get("exclude", []), used, strict=True):
            if not hit:
                problems.append(
                    f"exclude: {shown(exclusion)} meets no cell of the grid: remove or correct it"
                )
        problems += _beyond_the_last_round(values, cells)
    if not problems and config.get("small") and values["scale"] == "full":
        problems += _problems_at_small_scale(config)
    if not problems and all(cell.undefined for cell in cells):
        reason = cells[0].undefined if cells else "exclude leaves no cell over"
        problems.append(f"no cell of the grid can be run: {reason}")
    if problems:
        raise StudyError(file, problems)
    return Study(
        name=named(values["study"], values["scale"]),
        cells=cells,
        rounds_per_job=values["rounds_per_job"],
        keep_updates=frozenset(values["keep_updates"]),
        final_evaluations=values["final_evaluations"],
        scatter_round=values["scatter_round"],
        data_folders=values["data_folders"],
        scale=values["scale"],
        reduced=reduced,
        minutes_per_job=values["minutes_per_job"],
        most_jobs=values["most_jobs"],
    )


def _problems_at_small_scale(config: Mapping[str, Any]) -> list[str]:
    """Return the mistakes that a study would have at its small scale."""
    try:
        read({**config, "scale": "small"})
    except StudyError as error:
        return [f"at scale small: {problem}" for problem in error.problems]
    return []


def _beyond_the_last_round(values: Mapping[str, Any], cells: list[Cell]) -> list[str]:
    """Sentences for rounds that a key names and that are not run."""
    last = max((cell.rounds for cell in cells), default=0)
    named = [("keep_updates", round_) for round_ in values["keep_updates"]]
    return [
        f"{key}: {round_} is beyond the last round: name one up to {last}"
        for key, round_ in [*named, ("scatter_round", values["scatter_round"])]
        if cells and round_ is not None and round_ > last
    ]


def _repeated(key: str, items: list[Any]) -> list[str]:
    """Sentences for values that an axis has twice."""
    valid = [item for item in items if item is not INVALID]
    first = {repr(item): place for place, item in reversed([*enumerate(valid)])}
    return [
        f"{key}: {shown(label(key, item) if isinstance(item, Method) else item)} is given twice: "
        "remove one"
        for place, item in enumerate(valid)
        if first[repr(item)] < place
    ]


def _checkable(point: Point) -> Point | None:
    """Return a point with harmless values in place of wrong ones, or None where there are none."""
    harmless = {
        "attack": Method("none"),
        "defense": Method("fedavg"),
        "partition": Method("iid"),
        "local_lr": 1.0,
    }
    replaced = dict(point)
    for key, value in point.items():
        if value is INVALID:
            field_ = AXES[key]
            if key not in harmless and field_.is_required():
                return None
            replaced[key] = harmless.get(key, field_.default)
    if point["partition"] is INVALID:
        # it is not known whether the clients are natural ones
        replaced["root_share"] = None
    return replaced


def _groups(
    paired: list[list[str]], axes: dict[str, list[Any]], problems: list[str]
) -> list[list[Point]]:
    """Return the axes in order, each as a list of the values it sets; paired axes are one group."""
    taken: set[str] = set()
    groups: dict[str, list[Point]] = {key: [{key: v} for v in axes[key]] for key in axes}
    for keys in paired:
        problems += [unknown("paired", key, axes, "axis") for key in keys if key not in axes]
        problems += [
            f"paired: {key!r} is in two groups: pair an axis once" for key in keys if key in taken
        ]
        separate = taken.isdisjoint(keys)
        taken.update(set(keys) & set(axes))
        if not separate or not set(keys) <= set(axes):
            continue
        if len({len(axes[key]) for key in keys}) > 1:
            lengths = ", ".join(f"{key} has {len(axes[key])}" for key in keys)
            problems.append(
                f"paired: {keys} has lists of different length ({lengths}): make them equal"
            )
            continue
        rows = zip(*(axes[key] for key in keys), strict=True)
        groups[keys[0]] = [dict(zip(keys, row, strict=True)) for row in rows]
        for key in keys[1:]:
            del groups[key]
    return list(groups.values())


def _points(groups: list[list[Point]]) -> Iterator[Point]:
    for parts in product(*groups):
        yield {key: value for part in parts for key, value in part.items()}


def _meets(point: Point, exclusion: Mapping[str, list[Any]]) -> bool:
    """Whether a point has one of the excluded values on each axis of an exclusion."""
    return all(any(_fits(point[k], v) for v in values) for k, values in exclusion.items())


def _fits(value: Any, excluded: Any) -> bool:
    """Whether a value is an excluded one; of a method only the parameters that are given count."""
    if not (isinstance(value, Method) and isinstance(excluded, Method)):
        return bool(value == excluded)
    before, others = value.pre_aggregators, excluded.pre_aggregators
    return (
        value.name == excluded.name
        and all(
            _has(value.parameters.get(k, UNSET.get(k)), v) for k, v in excluded.parameters.items()
        )
        and len(before) == len(others)
        and all(map(_fits, before, others))
    )


def _has(value: Any, excluded: Any) -> bool:
    """Whether a parameter has an excluded value; of an option only the keys that are given."""
    if isinstance(value, dict) and isinstance(excluded, dict):
        return excluded.items() <= value.items()
    return bool(value == excluded)


def _cell(
    point: Point, values: Mapping[str, Any], axes: dict[str, list[Any]], problems: list[str]
) -> Cell:
    """Return the cell of a point, checked, in which what does not matter has one form."""
    experiment_values = dict(point)
    rounds, share = experiment_values.pop("rounds"), experiment_values.pop("malicious_share")
    others = [k for k in axes if len(axes[k]) > 1 and k not in ("attack", "defense", *SEEDS)]
    varied = {key: value_label(key, point[key], axes[key]) for key in others}
    assumed = round(share * point["clients"])
    asks = entries("defense")[point["defense"].name].asks
    for method in point["defense"].pre_aggregators:
        asks = asks | entries("pre-aggregator")[method.name].asks
    if "assumed_malicious" not in asks:
        experiment_values["assumed_malicious"] = None
    elif point["assumed_malicious"] is None:
        # also without an attack: the server does not know that
        experiment_values["assumed_malicious"] = assumed
    if point["root_share"] is not None:
        experiment_values["root_size"] = experiment_values["root_bias"] = None
    attackers = 0 if point["attack"].name == "none" else assumed
    experiment = Experiment(malicious=attackers, **experiment_values)
    undefined, found = check_cell(experiment, rounds, share, values["final_evaluations"])
    problems += found
    return Cell(
        experiment=experiment,
        rounds=rounds,
        defense=label("defense", point["defense"]),
        attack=label("attack", point["attack"]),
        setting=", ".join(f"{key}={value}" for key, value in varied.items()),
        undefined=undefined,
        varied=varied,
    )
