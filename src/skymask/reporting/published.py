"""What the paper reports, beside what a study measured.

The figures stand in ``config/published.yaml``; what is not there is unknown.  Imports nothing
heavy: the Snakefile asks it whether a study has anything to compare.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from skymask.study.grid import Cell, Study
from skymask.study.registry import ROOT

FILE = ROOT.parents[1] / "config" / "published.yaml"
BELOW_FEDAVG = "below_fedavg"
UNITS = {"share": 100.0, "per cent": 1.0, "points": 1.0}
"""Units of the file, as multiples of a point (1 %)."""

Place = tuple[str, str, str]
"""Setting, defense and attack."""


class PublishedError(ValueError):
    """The file of published figures cannot be used; the message says where."""


@dataclass(frozen=True)
class Claim:
    """A published figure: ``low`` to ``high`` in points (%), equal if it is one number.

    ``wanted`` are the settings it was published for; ``only`` those of them that a cell must have.
    """

    figure: str
    low: float
    high: float
    certainty: str
    wanted: Mapping[str, Any]
    only: Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """The file of published figures; ``claims`` by (figure, data set, attack, defense)."""

    source: str
    settings: Mapping[str, Mapping[str, Any]]
    shares: list[float]
    studied: Mapping[str, Mapping[str, list[str]]]
    claims: Mapping[tuple[str, str, str, str], list[Claim]]


@dataclass(frozen=True)
class Comparison:
    """The runs of a cell of a study, one per pair of seeds, and what is published for them.

    ``rivals`` are FedAvg's runs in the same setting, where the figure rests on them.
    """

    place: Place
    figure: str
    runs: list[Cell]
    rivals: list[Cell]
    claim: Claim | None

    @property
    def defined(self) -> bool:
        """Whether there are runs to compare."""
        return all(cell.undefined is None for cell in [*self.runs, *self.rivals])


@cache
def load(file: Path = FILE) -> Published:
    """Read the published figures.

    Raises PublishedError when the file is missing or an entry of it is not whole.
    """
    where = "it"
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
        claims: dict[tuple[str, str, str, str], list[Claim]] = {}
        for number, group in enumerate(given["figures"], start=1):
            where = f"entry {number} of figures"
            for key, claim in _claims(group, given["settings"]):
                claims.setdefault(key, []).append(claim)
        where = "it"
        studied = given["studied"]
        return Published(
            given["source"],
            given["settings"],
            studied["malicious_share"],
            studied["figures"],
            claims,
        )
    except FileNotFoundError as error:
        raise PublishedError(f"{file} is missing: get it back from the repository") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise PublishedError(f"{file}: {where} is not as its comments say ({error!r})") from error


def _claims(
    group: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[tuple[str, str, str, str], Claim]]:
    """The figures of an entry, one by one."""
    points, only = UNITS[group["unit"]], group.get("only", {})
    for dataset in group["datasets"]:
        wanted = settings[dataset]
        for attack, defenses in group["values"].items():
            for defense, value in defenses.items():
                low, high = value if isinstance(value, list) else (value, value)
                if low > high:
                    raise ValueError(f"{attack}, {defense}: {low} is greater than {high}")
                claim = Claim(
                    group["figure"],
                    round(points * low, 6),
                    round(points * high, 6),
                    group["certainty"],
                    wanted,
                    {key: v if isinstance(v, list) else [v] for key, v in only.items()},
                )
                yield (group["figure"], dataset, attack, defense), claim


@cache
def digest(file: Path = FILE) -> str:
    """Sixteen hexadecimal digits over what the file says; its comments and layout do not count.

    Raises PublishedError when the file is missing or not whole.
    """
    load(file)
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def known(study: Study, file: Path = FILE) -> bool:
    """Whether a published figure is known for a defined cell of the study."""
    return any(c.claim is not None and c.defined for c in comparisons(study, file))


def comparisons(study: Study, file: Path = FILE) -> list[Comparison]:
    """Every cell and figure of the study that the paper could have, setting by setting.

    A cell is compared where its data set, attack, defense, partition and malicious share are among
    the paper's.  Where the study varies a setting that the paper fixes and has the paper's value,
    only the cells with that value get a published figure.
    """
    published = load(file)
    groups: dict[Place, list[Cell]] = {}
    for cell in study.cells:
        groups.setdefault((cell.setting, cell.defense, cell.attack), []).append(cell)
    settings = list(dict.fromkeys(cell.setting for cell in study.cells))
    found = []
    for place, runs in sorted(groups.items(), key=lambda group: settings.index(group[0][0])):
        for figure in published.studied:
            if not _studied(runs[0], figure, published):
                continue
            rivals = _rivals(place, groups) if figure == BELOW_FEDAVG else []
            if figure != BELOW_FEDAVG or rivals:
                claim = _claim(runs[0], figure, study, published)
                found.append(Comparison(place, figure, runs, rivals, claim))
    return found


def _studied(cell: Cell, figure: str, published: Published) -> bool:
    """Whether the paper has a figure of a cell's kind, known or not."""
    run = cell.experiment
    wanted = published.settings.get(run.dataset)
    studied = published.studied[figure]
    if wanted is None or run.defense.pre_aggregators or "coordinates" in run.attack.parameters:
        return False
    if run.attack.name not in studied["attacks"] or run.defense.name not in studied["defenses"]:
        return False
    partition = {"name": run.partition.name, **run.partition.parameters}
    shares = (_has_share(cell, share) for share in published.shares)
    return partition == wanted["partition"] and any(shares)


def _has_share(cell: Cell, share: float) -> bool:
    """Whether a cell has that malicious share; with no attack, whether its defense is told so."""
    run = cell.experiment
    told = run.assumed_malicious if run.attack.name == "none" else run.malicious
    return told is None or told == round(share * run.clients)


def _rivals(place: Place, groups: Mapping[Place, list[Cell]]) -> list[Cell]:
    """FedAvg's runs in the setting and under the attack of ``place``; none if it is not there."""
    for (setting, _, attack), runs in groups.items():
        method = runs[0].experiment.defense
        plain = method.name == "fedavg" and not method.pre_aggregators
        if plain and (setting, attack) == (place[0], place[2]):
            return runs
    return []


def _claim(cell: Cell, figure: str, study: Study, published: Published) -> Claim | None:
    """What is published for a cell, if it is known."""
    run = cell.experiment
    key = (figure, run.dataset, run.attack.name, run.defense.name)
    for claim in published.claims.get(key, []):
        must = all(setting_of(cell, name) in values for name, values in claim.only.items())
        share = _has_share(cell, claim.wanted["malicious_share"])
        if must and share and _at_published(cell, claim, study):
            return claim
    return None


def _at_published(cell: Cell, claim: Claim, study: Study) -> bool:
    """Whether no varied setting keeps a cell from the paper's value that other cells have."""
    for axis, value in cell.varied.items():
        wanted = claim.only.get(axis, [claim.wanted.get(axis)])
        if axis == "partition" or axis not in claim.wanted or value in wanted:
            continue
        alike = [c for c in study.cells if c.experiment.dataset == cell.experiment.dataset]
        if any(c.varied[axis] in wanted for c in alike):
            return False
    return True


def setting_of(cell: Cell, key: str, missing: Any = None) -> Any:
    """A setting of a cell by its key in a study: an axis, or a parameter of its defense.

    ``missing`` where the cell has none of that name, as ``mask_lr`` without SkyMask.
    """
    if key == "rounds":
        return cell.rounds
    parameters = cell.experiment.defense.parameters
    return getattr(cell.experiment, key, parameters.get(key, missing))
