"""What the terminal shows at the end: a study's tables, and where everything lies."""

from pathlib import Path

COMPARISONS = {
    "published": "beside the paper's figures",
    "significance": "SkyMask against the best baseline, with confidence intervals",
}
"""Tables that are named and not shown."""


def text(study: str, results: Path = Path("results")) -> str:
    """The readable tables of a study and the paths of its files.

    Raises FileNotFoundError when the study has not been run.
    """
    tables = results / "tables" / study
    shown = ["accuracy", "detection"]
    shown += ["attack_success"] if (tables / "attack_success.md").exists() else []
    parts = [(tables / f"{name}.md").read_text(encoding="utf-8") for name in shown]
    parts += [
        f"{what}: {tables}/{name}.md\n"
        for name, what in COMPARISONS.items()
        if (tables / f"{name}.md").exists()
    ]
    names = ",".join(sorted(path.stem for path in tables.glob("*.md")))
    parts.append(
        f"tables   {tables}/{{{names}}}.{{csv,md,tex,parquet}}\n"
        f"figures  {results}/figures/{study}/*.{{png,pdf}}\n"
        f"runs     {results}/runs/RUN/*.parquet; "
        f"{tables}/runs.md names each RUN\n"
        f"page     {tables}/overview.html: all of it in one page"
    )
    return "\n" + "\n".join(parts)
