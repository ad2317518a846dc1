"""The command ``skymask``: questions about a study, answered from its files."""

import argparse
import sys
from pathlib import Path

import yaml

from skymask import summary, timings

COMMANDS = {
    "summary": (summary.text, "print the tables of a study and where its files lie"),
    "timings": (timings.text, "print what the wall time of a study's jobs went to"),
}
"""A function of a study's name and the results folder, and what it does."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="skymask", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, does) in COMMANDS.items():
        show = commands.add_parser(name, help=does)
        show.add_argument("study", nargs="?", default="config/config.yaml", help="the study file")
        show.add_argument("--results", type=Path, default=Path("results"), help="results folder")
    given = parser.parse_args(arguments)
    try:
        answer, _ = COMMANDS[given.command]
        print(answer(_name_of(Path(given.study)), given.results))
    except FileNotFoundError as error:
        way_out = f"run snakemake --configfile {given.study}"
        print(f"{error.filename} is missing: {way_out}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _name_of(study: Path) -> str:
    """The name that a study file gives its study.  Raises ValueError when it gives none."""
    try:
        return str(yaml.safe_load(study.read_text(encoding="utf-8"))["study"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(
            f"{study} is not a study file: it needs a line like study: my_study"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
