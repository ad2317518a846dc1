"""The command ``skymask``: questions about a study, answered from its files."""

import argparse
import os
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

import skymask
from skymask.jobs import resume, status
from skymask.reporting import console, publish, timings, trace
from skymask.study import load

COMMANDS = {
    "summary": (console.summary, "print the tables of a study and where its files lie"),
    "timings": (timings.text, "print what the wall time of a study's jobs went to"),
}
"""A function of a study's name and the results folder, and what it does."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read it, such as head, has seen enough; nor is the rest to be written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(arguments: list[str] | None) -> int:
    parser = _parser()
    given, rest = parser.parse_known_args(arguments)
    if rest and given.command != "resume":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if given.command == "resume":
            resume.clear(given.adopt, lambda sentence: print(sentence, flush=True))
            resume.snakemake(rest)
            return 0
        if given.command == "trace":
            found = trace.trace(given.table, given.cell, given.setting, given.column)
            print(found.text)
            return 1 if found.problems else 0
        study = load.from_files([given.study], _config(given))
        if given.command == "status":
            print(status.text(study, given.results))
        elif given.command == "publish":
            where = (given.results, _base(), given.to)
            print(publish.write(study, given.study, *where, date.today()))
        else:
            answer, _ = COMMANDS[given.command]
            print(answer(study.name, given.results))
    except FileNotFoundError as error:
        if given.command == "trace":
            way_out = "name a table of a study that has run, results/tables/STUDY/NAME.csv"
        else:
            way_out = f"run snakemake --configfile {shlex.quote(given.study)}{_overrides(given)}"
            if error.filename == given.study:
                way_out = "name a study file, such as config/config.yaml"
        print(f"{error.filename} is missing: {way_out}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skymask", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    of_a_study = {name: does for name, (_, does) in COMMANDS.items()}
    of_a_study["status"] = "print how far a study is, what has failed, and how long is left"
    of_a_study["publish"] = "copy the tables and figures of a study, with a page over them"
    for name, does in of_a_study.items():
        show = commands.add_parser(name, help=does)
        show.add_argument("study", nargs="?", default="config/config.yaml", help="the study file")
        show.add_argument("--results", type=Path, default=Path("results"), help="results folder")
        show.add_argument("--scale", choices=("full", "small"), help="of the study that was run")
        show.add_argument(
            "--config",
            nargs="+",
            default=[],
            metavar="KEY=VALUE",
            help="keys of the study file to override, as for snakemake",
        )
        if name == "publish":
            show.add_argument("--to", type=Path, required=True, help="folder of the page's folder")
    follow = commands.add_parser(
        "trace", help="print which files a number of a table comes from, and compute it again"
    )
    follow.add_argument("table", type=Path, help="the table: results/tables/STUDY/accuracy.csv")
    follow.add_argument(
        "--cell", required=True, metavar="ATTACK,DEFENSE", help="labels as the table has them"
    )
    follow.add_argument("--setting", help="the cell's setting, where the study varies more axes")
    follow.add_argument(
        "--column", action="append", default=[], help="a number of the cell; by default all"
    )
    again = commands.add_parser(
        "resume",
        allow_abbrev=False,
        help="go on after Snakemake was killed: end the SLURM jobs it left here, then run it",
        usage="skymask resume [--adopt] ARGUMENTS OF SNAKEMAKE",
        epilog="such as: skymask resume --profile profiles/slurm --configfile STUDY",
    )
    again.add_argument(
        "--adopt", action="store_true", help="wait for those jobs and keep what they make"
    )
    return parser


def _config(given: argparse.Namespace) -> dict[str, Any]:
    """The keys that the command line overrides, as Snakemake reads them."""
    for pair in given.config:
        if "=" not in pair:
            raise ValueError(f"--config {pair} sets nothing: write it as key=value")
    config: dict[str, Any] = {}
    if given.config:
        from snakemake.cli import parse_config  # takes half a second

        config = parse_config(given.config)
    return config | ({"scale": given.scale} if given.scale else {})


def _overrides(given: argparse.Namespace) -> str:
    """The command line's overrides, as Snakemake takes them."""
    pairs = [*given.config, *([f"scale={given.scale}"] if given.scale else [])]
    return f" --config {shlex.join(pairs)}" if pairs else ""


def _base() -> Path:
    """The folder with the workflow: where the command is run, else where the package lies.

    Raises ValueError where there is none.
    """
    found = (Path.cwd(), Path(skymask.__file__).resolve().parents[2])
    for base in found:
        if (base / "Snakefile").exists():
            return base
    raise ValueError(
        "the workflow is not here: run the command in the folder that holds the Snakefile"
    )


if __name__ == "__main__":
    sys.exit(main())
