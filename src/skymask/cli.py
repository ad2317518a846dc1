"""Command ``skymask``: status, tables and traces of a study, from its files."""

import argparse
import os
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

import skymask
from skymask.jobs import resume, status
from skymask.jobs.provenance import Stages
from skymask.reporting import console, export, import_archive, provenance, publish, timings, trace
from skymask.study import load
from skymask.study.grid import Study

SUMMARIES = {
    "summary": (console.summary, "print the tables of a study and the place of its files"),
    "timings": (timings.text, "print how long the jobs of a study took, by stage"),
}
"""Commands that need the study's name and the results folder only, with their help."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command ``skymask``.

    Args:
        arguments: What follows the command's name; by default those of the process.

    Returns:
        The exit code.
    """
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader, such as head, has closed the pipe: Python must not write the rest at exit
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
        elif given.command == "trace":
            traced = trace.trace(given.table, given.cell, given.setting, given.column)
            print(traced.text)
            return 1 if traced.problems else 0
        elif given.command == "import":
            print(_import(given))
        else:
            print(_of_a_study(given))
    except FileNotFoundError as error:
        print(f"{error.filename} is missing: {_hint(given, error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # main ends quietly
        raise
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _of_a_study(given: argparse.Namespace) -> str:
    """Return the output of a command about a study."""
    study = load.from_files([given.study], _overrides(given))
    if given.command == "status":
        return status.text(study, given.results)
    if given.command == "publish":
        where = (given.results, _base(), given.to)
        return str(publish.write(study, given.study, *where, date.today()))
    if given.command == "export":
        count = export.write(
            study,
            load.values([given.study], _overrides(given)),
            given.results,
            _stages(study),
            given.to,
            commit=provenance.commit(_base()),
            models=given.models,
        )
        megabytes = given.to.stat().st_size / 1e6
        return f"{count} files of study {study.name} are in {given.to} ({megabytes:.1f} MB)"
    summary, _ = SUMMARIES[given.command]
    return summary(study.name, given.results)


def _import(given: argparse.Namespace) -> str:
    """Place the files of an archive; return what can be done with them."""
    placed = import_archive.place(given.archive, given.results, given.replace)
    study = load.from_files([placed.file])
    lines = [
        f"study {placed.study}: {placed.files} files are in {given.results}, {placed.new} are new"
    ]
    outdated = export.outdated_runs(study, given.results, _stages(study))
    if outdated:
        lines.append(
            f"{len(outdated)} of {len(study.runs)} runs were made by other code than this, so "
            "snakemake would compute them again; to use them, check out the code of the archive: "
            f"{placed.commit or 'unknown, it was no git checkout'}"
        )
    file = shlex.quote(str(placed.file))
    return "\n".join([*lines, f"next: snakemake --cores all tables --configfile {file}"])


def _stages(study: Study) -> Stages:
    """Return the provenance of the jobs of a study, with the scripts of this workflow."""
    scripts = _base() / "workflow" / "scripts"
    return Stages(lambda name: scripts / f"{name}.py", study.rounds_per_job == 1)


def _hint(given: argparse.Namespace, error: FileNotFoundError) -> str:
    """Return what to do about a missing file."""
    if given.command == "trace":
        return "name a table of a study that has run, results/tables/STUDY/NAME.csv"
    if error.filename == given.study:
        return "name a study file, such as config/config.yaml"
    pairs = [*given.config, *([f"scale={given.scale}"] if given.scale else [])]
    overrides = f" --config {shlex.join(pairs)}" if pairs else ""
    return f"run snakemake --configfile {shlex.quote(given.study)}{overrides}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skymask", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    of_a_study = {name: text for name, (_, text) in SUMMARIES.items()}
    of_a_study["status"] = "print how far a study is, what has failed, and how much time is left"
    of_a_study["export"] = "write what the tables of a study are made from into one archive"
    of_a_study["publish"] = "copy the tables and figures of a study, with a page that shows them"
    for name, text in of_a_study.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("study", nargs="?", default="config/config.yaml", help="study file")
        command.add_argument("--results", type=Path, default=Path("results"), help="results folder")
        command.add_argument("--scale", choices=("full", "small"), help="scale of the study")
        command.add_argument(
            "--config",
            nargs="+",
            default=[],
            metavar="KEY=VALUE",
            help="keys of the study file to override, as for snakemake",
        )
        if name == "publish":
            command.add_argument(
                "--to", type=Path, required=True, help="folder in which the study gets a folder"
            )
        if name == "export":
            command.add_argument(
                "--to", type=Path, required=True, metavar="FILE.tar.zst", help="the archive"
            )
            command.add_argument(
                "--models", action="store_true", help="add data, models, tables and all else"
            )
    imported = commands.add_parser(
        "import", help="check an archive of skymask export and place its files among the results"
    )
    imported.add_argument("archive", type=Path, metavar="FILE.tar.zst", help="the archive")
    imported.add_argument("--results", type=Path, default=Path("results"), help="results folder")
    imported.add_argument(
        "--replace", action="store_true", help="replace files that are there with other contents"
    )
    traced = commands.add_parser(
        "trace", help="print the files that a number of a table comes from, and recompute it"
    )
    traced.add_argument("table", type=Path, help="such as results/tables/STUDY/accuracy.csv")
    traced.add_argument(
        "--cell", required=True, metavar="ATTACK,DEFENSE", help="labels as in the table"
    )
    traced.add_argument("--setting", help="setting of the cell, in studies that vary other axes")
    traced.add_argument(
        "--column", action="append", default=[], help="column of the table; by default all numbers"
    )
    resumed = commands.add_parser(
        "resume",
        allow_abbrev=False,
        help="continue after Snakemake was killed: end the SLURM jobs it left, then run it",
        usage="skymask resume [--adopt] ARGUMENTS OF SNAKEMAKE",
        epilog="example: skymask resume --profile profiles/slurm --configfile STUDY",
    )
    resumed.add_argument(
        "--adopt", action="store_true", help="wait for those jobs and keep their results"
    )
    return parser


def _overrides(given: argparse.Namespace) -> dict[str, Any]:
    """Return the keys that the command line overrides, as Snakemake reads them."""
    for pair in given.config:
        if "=" not in pair:
            raise ValueError(f"--config {pair} sets nothing: write it as key=value")
    scale = {"scale": given.scale} if given.scale else {}
    if not given.config:
        return scale
    from snakemake.cli import parse_config  # takes half a second

    return {**parse_config(given.config), **scale}


def _base() -> Path:
    """Return the folder with the workflow: the current one, or the repository of the package."""
    for base in (Path.cwd(), Path(skymask.__file__).resolve().parents[2]):
        if (base / "Snakefile").exists():
            return base
    raise ValueError("there is no Snakefile here: run the command in the folder that has it")


if __name__ == "__main__":
    sys.exit(main())
