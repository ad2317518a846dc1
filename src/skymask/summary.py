"""What the terminal shows at the end: a study's tables, and where everything lies."""

from pathlib import Path


def text(study: str, results: Path = Path("results")) -> str:
    """The readable tables of a study and the paths of its files.

    Raises FileNotFoundError when the study has not been run.
    """
    tables = results / "tables" / study
    parts = [
        (tables / f"{name}.md").read_text(encoding="utf-8") for name in ("accuracy", "detection")
    ]
    parts.append(
        f"tables   {tables}/{{accuracy,detection,runs}}.{{csv,md,tex,parquet}}\n"
        f"figures  {results}/figures/{study}/*.{{png,pdf}}\n"
        f"runs     {results}/runs/RUN/{{metrics,clients,timings}}.parquet; "
        f"{tables}/runs.md names each RUN"
    )
    return "\n" + "\n".join(parts)
