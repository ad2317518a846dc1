"""The captions of a study's tables: what the figures are, what is bold, and the setting."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from skymask.reporting import published, published_table
from skymask.reporting.outputs import tables
from skymask.reporting.table_layout import ABSENT, LAYOUTS, MARK, UNDEFINED, UNKNOWN
from skymask.study.experiment import Method
from skymask.study.grid import Cell, Study

GRAIN = (
    "rounds_per_job",
    "minutes_per_job",
    "keep_updates",
    "scatter_round",
    "data_folders",
    "paired",
    "exclude",
    "device",
    "threads",
)
"""Keys that a small scale may change without a change in what is studied."""


def captions(study: Study) -> dict[str, str]:
    """A caption per table of the study."""
    seeds = _seeds(study)
    over = f"mean ± standard deviation over {seeds}" if seeds != "one seed" else seeds
    last = study.final_evaluations
    final = "the last evaluation" if last == 1 else f"the mean of the last {last} evaluations"
    length = _rounds(study)
    meanings = {
        "accuracy": f"final test accuracy after {length} rounds, {final}; {over}",
        "detection": (
            "false positive rate (benign clients rejected) / false negative rate (malicious "
            f"clients accepted) in %, over all {length} rounds and {seeds}; {ABSENT} where a rule "
            "gives no verdict per client or there is no such client"
        ),
        "got_through": (
            "the attackers' share of the aggregate's weight in % / distance of the aggregate to "
            f"the benign mean, in lengths of that mean; means over all {length} rounds (the "
            f"share: those in which the model moved) and {seeds}; {ABSENT} where a rule is not "
            "linear"
        ),
        "attack_success": (
            "attack success rate (triggered test samples of other classes called the target) in "
            f"% / test accuracy, after {length} rounds, {final}; {over}"
        ),
        "mask_layers": (
            "share of each layer that SkyMask's binary masks switch off (off), and in which they "
            "differ from the server's mask (unlike), by role; means over clients, "
            f"{length} rounds and {seeds}"
        ),
        "published": _published(study, final) if "published" in tables(study) else "",
        "significance": _significance(length, final),
        "runs": "its runs; files in results/runs/RUN",
    }
    # the others tell rounds and seeds with their figures
    tail = {"runs": f", {length} rounds, {seeds}", "published": f", {length} rounds, {seeds}"}
    return {
        name: " ".join(
            [
                f"Study {study.name}: {meanings[name]}.",
                *_bold(study, name),
                f"Setting: {_setting(study)}{tail.get(name, '')}.",
                *_scaled(study),
            ]
        )
        for name in tables(study)
    }


def _bold(study: Study, name: str) -> list[str]:
    """What is bold in a table of defenses."""
    if name not in LAYOUTS:
        return []
    oracle = any(cell.experiment.defense.name == "oracle" for cell in study.cells)
    but = ", oracle aside (it knows who attacks: the upper bound)" if oracle else ""
    return [f"Bold: {LAYOUTS[name].best} of each row{but}."]


def _seeds(study: Study) -> str:
    """How many seeds the cells have."""
    runs = Counter((c.setting, c.defense, c.attack) for c in study.cells if c.undefined is None)
    fewest, most = min(runs.values(), default=0), max(runs.values(), default=0)
    if fewest < most:
        return f"{fewest} to {most} seeds"
    return "one seed" if most == 1 else f"{most} seeds"


def _rounds(study: Study) -> str:
    """How many rounds the cells have."""
    rounds = sorted({cell.rounds for cell in study.cells})
    return f"{rounds[0]}" if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"


def _setting(study: Study) -> str:
    """What all cells of a study have in common, as far as a reader must know it."""

    def common(key: str) -> Any:
        found = [getattr(cell.experiment, key) for cell in study.cells]
        return found[0] if all(value == found[0] for value in found) else None

    layouts = {
        "dataset": "data set {}",
        "model": "model {}",
        "clients": "{} clients",
        "malicious": "{}",
        "partition": "partition {}",
        "samples_per_client": "{} samples per client",
    }
    values = {key: common(key) for key in layouts if key != "malicious"}
    values["malicious"] = _malicious(study.cells)
    parts = [
        layout.format(plain(key, values[key]))
        for key, layout in layouts.items()
        if values[key] is not None
    ]
    return ", ".join(parts) if parts else "in the table"


def _malicious(cells: list[Cell]) -> str | None:
    """The malicious share, where all cells under an attack have the same."""
    attacked = [c.experiment for c in cells if c.experiment.attack.name != "none"]
    shares = {f"{100 * run.malicious / run.clients:.3g} %" for run in attacked}
    if len(shares) != 1:
        return None
    nobody = " (under none nobody)" if len(attacked) < len(cells) else ""
    return f"{shares.pop()} of clients malicious{nobody}"


def _scaled(study: Study) -> list[str]:
    """What the small scale changed."""
    changed = [
        (key, plain(key, small), plain(key, full))
        for key, (full, small) in study.reduced.items()
        if key not in GRAIN
    ]
    return [f"Scaled down: {_beside(changed, 'in full')}."] if changed else []


def _beside(values: Iterable[tuple[str, str, str]], of_whom: str) -> str:
    """``clients 20 (in full 100), rounds 40 (2000)``: keys, ours, and the others' values."""
    parts = []
    for number, (key, ours, theirs) in enumerate(values):
        named = f"{of_whom} {theirs}" if number == 0 else theirs
        parts.append(f"{key} {ours} ({named})")
    return ", ".join(parts)


def plain(key: str, value: Any) -> str:
    """A value of a study's key as a caption has it.

    >>> plain("samples_per_client", None), plain("attack", ["none", {"name": "dba", "patch": 3}])
    ('all', '[none, dba (patch 3)]')
    """
    if isinstance(value, Method):
        value = {"name": value.name, **value.parameters}
    if isinstance(value, Mapping):
        own = ", ".join(f"{k} {plain(k, v)}" for k, v in value.items() if k != "name")
        name = str(value.get("name", ""))
        return f"{name} ({own})" if own else name
    if isinstance(value, list | tuple):
        shown = ", ".join(plain(key, item) for item in value)
        return shown if len(value) == 1 else f"[{shown}]"
    if value is None:
        return "all" if key == "samples_per_client" else "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _published(study: Study, final: str) -> str:
    """What the table ``published`` says, and where a study is not the paper's."""
    below = "below fedavg: FedAvg's accuracy less the defense's, in points"
    figures = [c.figure for c in published.comparisons(study)]
    parts = [
        f"our figures beside those of the paper ({published.load().source}), all in % or points; "
        f"ours is the mean ± standard deviation over seeds, accuracy being {final}; how the paper "
        "averages is not known",
        *([below] if published.BELOW_FEDAVG in figures else []),
        "difference: ours less the published figure, in points, of a range less its nearer end "
        "and 0 within",
        f"{MARK} where it is more than 2 of our standard deviations (one seed has none, and no "
        "mark)",
        f"{UNKNOWN} where the paper's figure is not known to us",
        *(
            f"{certainty}: {', '.join(named).replace('_', ' ')}"
            for certainty, named in published_table.certainties(study).items()
        ),
    ]
    changed = [
        (key, plain(key, ours), plain(key, theirs))
        for key, (ours, theirs) in published_table.differences(study).items()
    ]
    differs = (
        f"Settings that differ from the paper's: {_beside(changed, 'published')}"
        if changed
        else "Of the settings that are known of the paper none differs"
    )
    missing = published_table.unknown_settings(study)
    unknown = f". Not known of the paper: {', '.join(missing)}" if missing else ""
    return f"{'; '.join(parts)}. {differs}{unknown}"


def _significance(length: str, final: str) -> str:
    """What the table ``significance`` says, and what it cannot say."""
    return (
        f"SkyMask's final test accuracy after {length} rounds ({final}) beside that of the best "
        "baseline, the defense with the highest mean there, oracle and variants of SkyMask aside; "
        "difference in points: the mean over seeds, paired by data seed and training seed, with "
        "its 95 % confidence interval and p of the two-sided paired t-test; p (Holm) is corrected "
        "for all rows of this table. The test assumes differences that are independent and "
        "normally distributed over seeds. The best baseline is chosen after the fact, which "
        "favours the baseline, and few seeds have little power: a large p is no evidence of "
        f"equality. The test is {UNDEFINED} with one seed, and where all differences are equal"
    )
