"""Captions of a study's tables."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from skymask.models.loss_names import TEST_BATCH
from skymask.reporting import published, published_table
from skymask.reporting.outputs import over_batch, tables
from skymask.reporting.table_layout import ABSENT, LAYOUTS, MARK, UNDEFINED, UNKNOWN
from skymask.study.experiment import Method
from skymask.study.grid import Study

NEUTRAL = (
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
"""Keys that the small scale may change without changing what is studied."""

WITH_ACCURACY = (
    "accuracy",
    "attack_success",
    "published",
    "significance",
    "runs",
    "accuracy_curves",
    "heat_map",
    "rates",
)
"""Tables and figures that show the accuracy by the measure of a run's loss."""


def captions(study: Study) -> dict[str, str]:
    """Write a caption for each table of the study, by name."""
    seeds, rounds = _seeds(study), _rounds(study)
    over = f"mean ± standard deviation over {seeds}" if seeds != "one seed" else seeds
    last = study.final_evaluations
    final = "the last evaluation" if last == 1 else f"the mean of the last {last} evaluations"
    found, scheduled = f"all {rounds} rounds", ""
    if any("attack_rounds" in cell.experiment.attack.parameters for cell in study.cells):
        found, scheduled = f"those of {rounds} rounds with an attack", "with an attack, "
    contents = {
        "accuracy": f"final test accuracy after {rounds} rounds, {final}; {over}",
        "argmax_accuracy": (
            "final test accuracy by the largest output, with loss batch_softmax, after "
            f"{rounds} rounds, {final}; {over}"
        ),
        "detection": (
            "false positive rate (benign clients rejected) / false negative rate (malicious "
            f"clients accepted) in %, over {found} and {seeds}; {ABSENT} where a defense gives no "
            "verdict per client or there is no such client"
        ),
        "got_through": (
            "attackers' share of the aggregation weight in % / distance of the aggregate from the "
            f"benign mean, relative to the norm of that mean; means over all {rounds} rounds (the "
            f"share: {scheduled}over rounds in which the model was updated) and {seeds}; {ABSENT} "
            "where a defense is not linear"
        ),
        "attack_success": (
            "attack success rate (triggered test samples of other classes classified as the "
            f"target) in % / test accuracy, after {rounds} rounds, {final}; {over}"
        ),
        "mask_layers": (
            "share of each layer that SkyMask's binary masks switch off (off), and in which they "
            "differ from the server's mask (unlike), by role; means over clients, "
            f"{rounds} rounds and {seeds}"
        ),
        "layer_verdicts": (
            "share of the clients that are accepted in each layer, by role, where a defense gives "
            f"a verdict per layer; means over clients, {rounds} rounds (malicious clients: those "
            f"with an attack) and {seeds}"
        ),
        "published": _published(study, final) if "published" in tables(study) else "",
        "significance": _significance(rounds, final),
        "runs": "its runs; files in results/runs/RUN",
    }
    # the other captions state rounds and seeds with their metrics
    tail = {name: f", {rounds} rounds, {seeds}" for name in ("runs", "published")}
    return {
        name: " ".join(
            [
                f"Study {study.name}: {contents[name]}.",
                *measured(study, name),
                *_bold(study, name),
                f"Setting: {_setting(study)}{tail.get(name, '')}.",
                *_scaled(study),
            ]
        )
        for name in tables(study)
    }


def measured(study: Study, name: str) -> list[str]:
    """Return how a table or figure measures accuracy in the study's cells with batch_softmax."""
    cells = [cell for cell in study.cells if cell.undefined is None]
    if name not in WITH_ACCURACY or not any(map(over_batch, cells)):
        return []
    one = ", for the attack success rate with one of them triggered"
    return [
        "With loss batch_softmax accuracy is measured as in the code released with SkyMask: by the "
        f"largest output after a log-softmax over batches of {TEST_BATCH} test samples"
        f"{one if name == 'attack_success' else ''}."
    ]


def _bold(study: Study, name: str) -> list[str]:
    """Return what is bold in a table of defenses."""
    if name not in LAYOUTS:
        return []
    oracle = any(cell.experiment.defense.name == "oracle" for cell in study.cells)
    but = ", except oracle (it knows the attackers: an upper bound)" if oracle else ""
    return [f"Bold: {LAYOUTS[name].best} of each row{but}."]


def _seeds(study: Study) -> str:
    """Return the number of seeds of the cells."""
    runs = Counter(published.place_of(c) for c in study.cells if c.undefined is None)
    fewest, most = min(runs.values(), default=0), max(runs.values(), default=0)
    if fewest < most:
        return f"{fewest} to {most} seeds"
    return "one seed" if most == 1 else f"{most} seeds"


def _rounds(study: Study) -> str:
    """Return the number of rounds of the cells."""
    rounds = {cell.rounds for cell in study.cells}
    return " to ".join(map(str, sorted({min(rounds), max(rounds)})))


def _setting(study: Study) -> str:
    """Return what all cells of a study have in common."""
    layouts = {
        "dataset": "data set {}",
        "model": "model {}",
        "clients": "{} clients",
        "malicious": "{}",
        "partition": "partition {}",
        "samples_per_client": "{} samples per client",
        "loss": "loss {}",
    }
    parts: list[str] = []
    for key, layout in layouts.items():
        values = [getattr(cell.experiment, key) for cell in study.cells]
        common = values[0] if all(value == values[0] for value in values) else None
        common = _malicious(study) if key == "malicious" else common
        parts += [layout.format(plain(key, common))] if common is not None else []
    return ", ".join(parts) or "in the table"


def _malicious(study: Study) -> str | None:
    """Return the share of malicious clients, if it is the same in all cells with an attack."""
    attacked = [c.experiment for c in study.cells if c.experiment.attack.name != "none"]
    shares = {f"{100 * run.malicious / run.clients:.3g} %" for run in attacked}
    if len(shares) != 1:
        return None
    but = " (no client with attack none)" if len(attacked) < len(study.cells) else ""
    return f"{shares.pop()} of clients malicious{but}"


def _scaled(study: Study) -> list[str]:
    """Return what the small scale changed."""
    changed = [(key, *both) for key, both in study.reduced.items() if key not in NEUTRAL]
    listed = _compared(((key, small, full) for key, full, small in changed), "full scale")
    return [f"Scaled down: {listed}."] if changed else []


def _compared(values: Iterable[tuple[str, Any, Any]], whose: str) -> str:
    """``clients 20 (full scale 100), rounds 40 (2000)``: keys with our and other values."""
    parts: list[str] = []
    for key, ours, others in values:
        label = "" if parts else f"{whose} "
        parts.append(f"{key} {plain(key, ours)} ({label}{plain(key, others)})")
    return ", ".join(parts)


def plain(key: str, value: Any) -> str:
    """Format the value of a study's key for a caption.

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
    """Return what the table ``published`` shows, and where a study differs from the paper."""
    below = "below fedavg: FedAvg's accuracy minus the defense's, in points"
    metrics = {comparison.metric for comparison in published.comparisons(study)}
    parts = [
        f"our values compared with those of the paper ({published.load().source}), all in % or "
        f"points; ours is the mean ± standard deviation over seeds, accuracy being {final}; how "
        "the paper averages is not known",
        *([below] if published.BELOW_FEDAVG in metrics else []),
        "difference: ours minus the published value, in points; for a range the distance to its "
        "nearer end, and 0 within",
        f"{MARK} where it is more than 2 of our standard deviations (no mark with one seed)",
        f"{UNKNOWN} where the paper's value is not known to us",
        *(
            f"{certainty}: {', '.join(names).replace('_', ' ')}"
            for certainty, names in published_table.certainties(study).items()
        ),
    ]
    changed = [(key, *both) for key, both in published_table.differences(study).items()]
    differs = (
        f"Settings that differ from the paper's: {_compared(changed, 'published')}"
        if changed
        else "No known setting of the paper differs"
    )
    missing = published_table.unknown_settings(study)
    unknown = f". Settings the paper does not state: {', '.join(missing)}" if missing else ""
    return f"{'; '.join(parts)}. {differs}{unknown}"


def _significance(rounds: str, final: str) -> str:
    """Return what the table ``significance`` shows, and the limits of the test."""
    return (
        f"SkyMask's final test accuracy after {rounds} rounds ({final}) compared with that of the "
        "best baseline, the defense with the highest mean in its row, except oracle and variants "
        "of SkyMask; difference in points: the mean over seeds, paired by data seed and training "
        "seed, with its 95 % confidence interval and p of the two-sided paired t-test; p (Holm) is "
        "corrected for all rows of this table. The test assumes differences that are independent "
        "and normally distributed over seeds. The best baseline is chosen after the fact, which "
        "favours the baseline, and few seeds have little power: a large p is no evidence of "
        f"equality. The test is {UNDEFINED} with one seed, and where all differences are equal"
    )
