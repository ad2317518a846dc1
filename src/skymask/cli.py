"""The command ``skymask``: questions about a study, answered from its files."""

import argparse
import sys
from pathlib import Path

import yaml

from skymask import summary


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="skymask", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser(
        "summary", help="print the tables of a study and where its files lie"
    )
    show.add_argument("study", nargs="?", default="config/config.yaml", help="the study file")
    show.add_argument("--results", type=Path, default=Path("results"), help="the results folder")
    given = parser.parse_args(arguments)
    try:
        name = yaml.safe_load(Path(given.study).read_text(encoding="utf-8"))["study"]
        print(summary.text(name, given.results))
    except FileNotFoundError as error:
        print(
            f"{error.filename} is missing: run snakemake --cores all --configfile {given.study}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
