"""Published values of published.yaml, and the cells they belong to."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from skymask.study.grid import Cell, Study
from skymask.study.registry import OPTIONS, ROOT

FILE = ROOT / "reporting" / "published.yaml"
BELOW_FEDAVG = "below_fedavg"
UNITS = {"share": 100.0, "per cent": 1.0, "points": 1.0}
"""Units of the file, as multiples of a point (1 %)."""

Place = tuple[str, str, str]
"""Setting, defense and attack."""


class PublishedError(ValueError):
    """The file of published values cannot be used; the message says why."""


@dataclass(frozen=True)
class Claim:
    """A published value.

    Attributes:
        metric: the metric.
        low: lower end of its range, in points (%).
        high: upper end of its range, equal to ``low`` for a single number.
        certainty: how the value is known.
        settings: settings of the publication.
        only: those settings that a cell must have to be compared.
    """

    metric: str
    low: float
    high: float
    certainty: str
    settings: Mapping[str, Any]
    only: Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """The contents of the file.

    Attributes:
        source: the publication.
        settings: its settings, by data set.
        shares: its malicious shares.
        studied: its attacks and defenses, by metric.
        claims: its known values, by (metric, data set, attack, defense).
    """

    source: str
    settings: Mapping[str, Mapping[str, Any]]
    shares: list[float]
    studied: Mapping[str, Mapping[str, list[str]]]
    claims: Mapping[tuple[str, str, str, str], list[Claim]]


@dataclass(frozen=True)
class Comparison:
    """A cell of a study and a metric of the paper.

    Attributes:
        place: setting, defense and attack of the cell.
        metric: the metric.
        runs: the cell's runs, one per pair of seeds.
        fedavg: FedAvg's runs in the same place, if the metric depends on them.
        claim: the published value, None if it is unknown.
    """

    place: Place
    metric: str
    runs: list[Cell]
    fedavg: list[Cell]
    claim: Claim | None

    @property
    def defined(self) -> bool:
        """Whether there are runs to compare."""
        return all(cell.undefined is None for cell in [*self.runs, *self.fedavg])


@cache
def load(file: Path = FILE) -> Published:
    """Read the published values.

    Raises:
        PublishedError: the file is missing or an entry is incomplete.
    """
    where = "the file"
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
        claims: dict[tuple[str, str, str, str], list[Claim]] = {}
        for number, group in enumerate(given["figures"], start=1):
            where = f"entry {number} of figures"
            for key, claim in _claims(group, given["settings"]):
                claims.setdefault(key, []).append(claim)
        where = "the file"
        studied = given["studied"]
        shares, metrics = studied["malicious_share"], studied["figures"]
        return Published(given["source"], given["settings"], shares, metrics, claims)
    except FileNotFoundError as error:
        raise PublishedError(f"{file} is missing: restore it from the repository") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise PublishedError(
            f"cannot read {file}: {where} does not have the form that its comments describe "
            f"({error!r}); restore it from the repository"
        ) from error


def _claims(
    group: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[tuple[str, str, str, str], Claim]]:
    """Return the values of an entry, one by one."""
    points, only = UNITS[group["unit"]], group.get("only", {})
    for dataset in group["datasets"]:
        for attack, defenses in group["values"].items():
            for defense, value in defenses.items():
                low, high = value if isinstance(value, list) else (value, value)
                if low > high:
                    raise ValueError(f"{attack}, {defense}: {low} is greater than {high}")
                claim = Claim(
                    metric=group["figure"],
                    low=round(points * low, 6),
                    high=round(points * high, 6),
                    certainty=group["certainty"],
                    settings=settings[dataset],
                    only={key: v if isinstance(v, list) else [v] for key, v in only.items()},
                )
                yield (group["figure"], dataset, attack, defense), claim


@cache
def digest(file: Path = FILE) -> str:
    """Hash the values of the file to 16 hexadecimal digits; comments and layout do not count.

    Raises:
        PublishedError: the file is missing or incomplete.
    """
    load(file)
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def known(study: Study) -> bool:
    """Tell whether there is a published value for a defined cell of the study."""
    return any(c.claim is not None and c.defined for c in comparisons(study))


def place_of(cell: Cell) -> Place:
    """Return setting, defense and attack of a cell."""
    return cell.setting, cell.defense, cell.attack


def comparisons(study: Study) -> list[Comparison]:
    """List each cell and metric of the study that the paper has studied, setting by setting.

    A cell is compared if its data set, attack, defense, partition and malicious share are among
    the paper's, and its loss, if the study has cells with that loss.  If the study varies another
    setting that the paper fixes and includes the paper's value, only the cells with that value get
    a published value.
    """
    published = load()
    groups: dict[Place, list[Cell]] = {}
    for cell in study.cells:
        groups.setdefault(place_of(cell), []).append(cell)
    settings = list(dict.fromkeys(cell.setting for cell in study.cells))
    compared = []
    for place, runs in sorted(groups.items(), key=lambda group: settings.index(group[0][0])):
        for metric in published.studied:
            fedavg = _fedavg(place, groups) if metric == BELOW_FEDAVG else []
            if _studied(runs[0], metric, study, published) and (fedavg or metric != BELOW_FEDAVG):
                claim = _claim(runs[0], metric, study, published)
                compared.append(Comparison(place, metric, runs, fedavg, claim))
    return compared


def _studied(cell: Cell, metric: str, study: Study, published: Published) -> bool:
    """Whether the paper studies a metric for cells like this one."""
    run = cell.experiment
    settings = published.settings.get(run.dataset)
    studied = published.studied[metric]
    varied = OPTIONS.keys() & run.attack.parameters.keys() or "per" in run.defense.parameters
    if settings is None or run.defense.pre_aggregators or varied:
        return False
    if run.attack.name not in studied["attacks"] or run.defense.name not in studied["defenses"]:
        return False
    losses = {c.experiment.loss for c in study.cells if c.experiment.dataset == run.dataset}
    if run.loss != settings["loss"] in losses:
        return False
    partition = {"name": run.partition.name, **run.partition.parameters}
    shares = (_has_share(cell, share) for share in published.shares)
    return partition == settings["partition"] and any(shares)


def _has_share(cell: Cell, share: float) -> bool:
    """Whether a cell has a malicious share; without attack, whether its defense assumes it."""
    run = cell.experiment
    malicious = run.assumed_malicious if run.attack.name == "none" else run.malicious
    return malicious is None or malicious == round(share * run.clients)


def _fedavg(place: Place, groups: Mapping[Place, list[Cell]]) -> list[Cell]:
    """FedAvg's runs in the setting and under the attack of ``place``, if there are any."""
    for (setting, _, attack), runs in groups.items():
        defense = runs[0].experiment.defense
        is_fedavg = defense.name == "fedavg" and not defense.pre_aggregators
        if is_fedavg and (setting, attack) == (place[0], place[2]):
            return runs
    return []


def _claim(cell: Cell, metric: str, study: Study, published: Published) -> Claim | None:
    """Return the published value of a cell, if it is known."""
    run = cell.experiment
    for claim in published.claims.get((metric, run.dataset, run.attack.name, run.defense.name), []):
        required = all(setting_of(cell, name) in values for name, values in claim.only.items())
        share = _has_share(cell, claim.settings["malicious_share"])
        if required and share and _at_published(cell, claim, study):
            return claim
    return None


def _at_published(cell: Cell, claim: Claim, study: Study) -> bool:
    """Whether the cell has the paper's value of each varied setting, if any cell has it."""
    for axis, value in cell.varied.items():
        theirs = claim.only.get(axis, [claim.settings.get(axis)])
        if axis == "partition" or axis not in claim.settings or value in theirs:
            continue
        alike = [c for c in study.cells if c.experiment.dataset == cell.experiment.dataset]
        if any(c.varied[axis] in theirs for c in alike):
            return False
    return True


def setting_of(cell: Cell, key: str, missing: Any = None) -> Any:
    """Return a setting of a cell: the value of an axis, or of a parameter of its defense.

    Args:
        cell: the cell.
        key: name of the setting, as in a study file.
        missing: returned if the cell has no such setting, as ``mask_lr`` without SkyMask.
    """
    if key == "rounds":
        return cell.rounds
    parameters = cell.experiment.defense.parameters
    return getattr(cell.experiment, key, parameters.get(key, missing))
