"""A study's tables: final accuracy, detection rates, and the runs behind them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from skymask.artifacts import SCHEMAS, read_rows, write_table
from skymask.experiment import SERVER
from skymask.files import atomic
from skymask.study import Cell, Study

UNDEFINED, ABSENT = "undefined", "–"


def summarise(cell: Cell, folder: Path, final_evaluations: int) -> dict[str, object]:
    """The row of one run: its final accuracy, and detection rates over all its rounds.

    The accuracy is the mean of the last ``final_evaluations`` evaluations up to the cell's rounds.
    FPR is the share of (round, benign client) pairs rejected, FNR that of (round, malicious
    client) pairs accepted; both are null for a rule without verdicts, or without such clients.
    """
    run = cell.experiment
    metrics = read_rows(folder / "metrics.parquet", "metrics", run.run).to_pandas()
    metrics = metrics[metrics["round"] <= cell.rounds].tail(final_evaluations)
    clients = read_rows(folder / "clients.parquet", "clients", run.run).to_pandas()
    clients = clients[(clients["round"] <= cell.rounds) & (clients["client"] != SERVER)]
    judged = bool(clients["accepted"].notna().all())

    def share(malicious: bool, accepted: bool) -> float | None:
        rows = clients[clients["malicious"] == malicious]
        return float((rows["accepted"] == accepted).mean()) if judged and len(rows) else None

    return {
        "run": run.run,
        "defense": cell.defense,
        "attack": cell.attack,
        "setting": cell.setting,
        "data_seed": run.data_seed,
        "training_seed": run.training_seed,
        "round": int(metrics["round"].max()),
        "evaluations": len(metrics),
        "accuracy": float(metrics["accuracy"].mean()),
        "fpr": share(malicious=False, accepted=False),
        "fnr": share(malicious=True, accepted=True),
    }


def runs_table(study: Study, folder: Path) -> pd.DataFrame:
    """One row per run of the study, in its order; ``folder`` holds the runs."""
    rows = [
        summarise(cell, folder / cell.experiment.run, study.final_evaluations)
        for cell in study.cells
        if cell.undefined is None
    ]
    table: pd.DataFrame = pa.Table.from_pylist(rows, schema=SCHEMAS["runs"]).to_pandas()
    return table


def cells_table(runs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """One row per cell (setting, defense, attack): mean and standard deviation over seeds.

    The standard deviation has ddof = 1 and is NaN with one seed; ``undefined`` says why a cell
    has no run.
    """
    keys = ["setting", "defense", "attack"]
    groups = runs.groupby(keys, sort=False)
    cells = groups.agg(
        seeds=("run", "size"),
        accuracy_mean=("accuracy", "mean"),
        accuracy_std=("accuracy", "std"),
        fpr_mean=("fpr", "mean"),
        fpr_std=("fpr", "std"),
        fnr_mean=("fnr", "mean"),
        fnr_std=("fnr", "std"),
    )
    order = list(dict.fromkeys((c.setting, c.defense, c.attack) for c in study.cells))
    cells = cells.reindex(pd.MultiIndex.from_tuples(order, names=keys)).reset_index()
    reasons = {(c.setting, c.defense, c.attack): c.undefined for c in study.cells if c.undefined}
    cells["undefined"] = pd.array([reasons.get(cell) for cell in order], dtype="string")
    cells["seeds"] = cells["seeds"].fillna(0).astype(int)
    return cells


def pivot(cells: pd.DataFrame, show: Callable[[pd.Series], str]) -> pd.DataFrame:
    """Defenses down, attacks across, each cell as ``show`` writes it; settings stack."""
    shown = cells.assign(
        shown=[show(row) if pd.isna(row["undefined"]) else UNDEFINED for _, row in cells.iterrows()]
    )
    wide = shown.pivot(index=["setting", "defense"], columns="attack", values="shown")
    found = dict.fromkeys(zip(cells["setting"], cells["defense"], strict=True))
    settings = list(dict.fromkeys(cells["setting"]))
    rows = sorted(found, key=lambda row: settings.index(row[0]))
    wide = wide.reindex(index=pd.MultiIndex.from_tuples(rows, names=["setting", "defense"]))
    wide = wide.reindex(columns=list(dict.fromkeys(cells["attack"]))).fillna(ABSENT).reset_index()
    wide.columns.name = None
    return wide.drop(columns="setting") if set(cells["setting"]) == {""} else wide


def show_accuracy(row: pd.Series) -> str:
    """``0.953 ± 0.004``."""
    spread = "" if pd.isna(row["accuracy_std"]) else f" ± {row['accuracy_std']:.3f}"
    return f"{row['accuracy_mean']:.3f}{spread}"


def show_detection(row: pd.Series) -> str:
    """``0.0 / 12.5``: FPR and FNR in per cent."""
    rates = (row["fpr_mean"], row["fnr_mean"])
    return " / ".join(ABSENT if pd.isna(rate) else f"{100 * rate:.1f}" for rate in rates)


def captions(study: Study) -> dict[str, str]:
    """A caption per table: what its figures are."""
    runs = Counter((c.setting, c.defense, c.attack) for c in study.cells if c.undefined is None)
    fewest, most = min(runs.values(), default=0), max(runs.values(), default=0)
    seeds = "one seed" if most == 1 else f"{most} seeds"
    if fewest < most:
        seeds = f"{fewest} to {most} seeds"
    over = f"mean ± standard deviation over {seeds}" if most > 1 else seeds
    last = study.final_evaluations
    final = "the last evaluation" if last == 1 else f"the mean of the last {last} evaluations"
    rounds = sorted({cell.rounds for cell in study.cells})
    length = f"{rounds[0]}" if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    return {
        "accuracy": (
            f"Study {study.name}: final test accuracy after {length} rounds, {final}; {over}."
        ),
        "detection": (
            f"Study {study.name}: false positive rate (benign clients rejected) / false negative "
            f"rate (malicious clients accepted) in %, over all {length} rounds and "
            f"{seeds}; {ABSENT} where a rule gives no verdict per client or there is no such "
            "client."
        ),
        "runs": f"Study {study.name}: its runs; files in results/runs/RUN.",
    }


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, its columns aligned for a terminal too."""
    rows = [[str(name) for name in table.columns]]
    rows += [["" if pd.isna(value) else _plain(value) for value in row] for row in table.to_numpy()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [
        "| " + " | ".join(v.ljust(w) for v, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _plain(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def latex(table: pd.DataFrame, caption: str) -> str:
    """A table as LaTeX (booktabs)."""
    shown = table.map(lambda value: "" if pd.isna(value) else _plain(value))
    for mark in "%_&#":
        caption = caption.replace(mark, rf"\{mark}")
    text: str = shown.to_latex(index=False, escape=True, caption=caption, position="t")
    return text.replace("±", r"$\pm$").replace("–", "--")


def write(study: Study, folder: Path, target: Path) -> None:
    """Write the tables of a study into ``target``, each as CSV, Markdown, LaTeX and Parquet.

    CSV and Parquet hold plain numbers, one row per cell or run; Markdown and LaTeX the table as
    it is read, defense × attack.
    """
    runs = runs_table(study, folder)
    cells = cells_table(runs, study)
    texts = captions(study)
    readable = {
        "accuracy": pivot(cells, show_accuracy),
        "detection": pivot(cells, show_detection),
        "runs": runs,
    }
    keys = ["setting", "defense", "attack", "seeds", "undefined"]
    rates = [f"{rate}_{figure}" for rate in ("fpr", "fnr") for figure in ("mean", "std")]
    plain = {
        "accuracy": cells[[*keys, "accuracy_mean", "accuracy_std"]],
        "detection": cells[[*keys, *rates]],
        "runs": runs,
    }
    for name, table in readable.items():
        _write_text(target / f"{name}.md", f"{texts[name]}\n\n{markdown(table)}")
        _write_text(target / f"{name}.tex", latex(table, texts[name]))
        _write_text(target / f"{name}.csv", plain[name].to_csv(index=False, lineterminator="\n"))
        parquet = pa.Table.from_pandas(plain[name], preserve_index=False)
        write_table(target / f"{name}.parquet", f"{name}_table", study.name, parquet)


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
