"""Archives of a study's results: what its tables are made from, for use elsewhere.

An archive is a tar file compressed with zstd.  It begins with ``skymask.json``, which has the size
and the SHA-256 of each file that follows; these lie below ``results``, in the order of their names,
without times and owners.  So the same results give the same bytes.
"""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from skymask.artifacts import provenance_file
from skymask.artifacts.atomic import atomic
from skymask.jobs import paths
from skymask.jobs.provenance import Stages
from skymask.reporting import outputs
from skymask.study.grid import Study

CONTENTS = "skymask.json"
"""Name of the first member."""

FORMAT = 1
"""Version of the form of archives."""


def write(
    study: Study,
    config: Mapping[str, Any],
    results: Path,
    stages: Stages,
    target: Path,
    *,
    commit: str,
    models: bool = False,
) -> int:
    """Write what the tables of a study are made from into an archive.

    That is for each run its experiment and its collected rows, and the test data where a figure
    shows some.

    Args:
        study: The study.
        config: Its values by key.
        results: The results folder.
        stages: The provenance of its jobs.
        target: The archive.
        commit: Commit of the code.
        models: Add all else: data, partitions, models and rows of all rounds, kept updates,
            tables and figures.

    Returns:
        The number of files in the archive.

    Raises:
        FileNotFoundError: The study is not finished.
        ValueError: Results are outdated.
        StorageError: The disk is full or write-protected.
    """
    _check_current(study, results, stages)
    with tempfile.TemporaryDirectory() as folder:
        text = yaml.safe_dump({**config}, sort_keys=False, allow_unicode=True)
        study_file = paths.study_file(study.name, Path(folder))
        study_file.parent.mkdir(parents=True)
        study_file.write_text(text, encoding="utf-8")
        files = {str(study_file.relative_to(folder)): study_file}
        chosen = _everything(study, results) if models else _for_tables(study, results)
        files |= {path.relative_to(results).as_posix(): path for path in chosen}
        with atomic(target) as temporary, _compressed(temporary) as archive:
            _add(archive, CONTENTS, io.BytesIO(_contents(study, commit, files)))
            for name in sorted(files):
                with files[name].open("rb") as file:
                    _add(archive, f"{paths.RESULTS}/{name}", file)
    return len(files)


def _check_current(study: Study, results: Path, stages: Stages) -> None:
    for path in _for_tables(study, results):
        if not path.exists():
            raise FileNotFoundError(2, "no such file", str(path))
    outdated = outdated_runs(study, results, stages)
    if outdated:
        raise ValueError(
            f"{len(outdated)} of {len(study.runs)} runs are outdated (the first: {outdated[0]}): "
            "their rows are of other code or of another number of rounds. Run snakemake, or check "
            "out the code that made them; nothing was written"
        )


def outdated_runs(study: Study, results: Path, stages: Stages) -> list[str]:
    """List the runs whose collected rows were made by other code, or of fewer rounds."""
    names = []
    for run, cell in study.runs.items():
        folder = paths.run(run, results)
        made = stages.collected(cell.experiment, cell.rounds)
        files = [folder / f"{name}.parquet" for name in paths.COLLECTED]
        if not provenance_file.is_current(paths.provenance(folder, "collect"), made, files):
            names.append(run)
    return names


def _for_tables(study: Study, results: Path) -> list[Path]:
    """List the files from which the tables and figures of a study are made."""
    files = []
    for run in study.runs:
        folder = paths.run(run, results)
        files += [folder / "experiment.json", paths.provenance(folder, "collect")]
        files += [folder / f"{name}.parquet" for name in paths.COLLECTED]
    shown = {c.experiment.dataset for c in study.runs.values() if outputs.backdoored(c)}
    for dataset in sorted(shown):
        test = paths.dataset(dataset, "test", results)
        files += [test, paths.provenance(test.parent, "data")]
    return files


def _everything(study: Study, results: Path) -> list[Path]:
    """List all files of a study below the results folder, without logs."""
    experiments = [cell.experiment for cell in study.runs.values()]
    folders = {
        *(paths.run(run, results) for run in study.runs),
        *(paths.dataset(run.dataset, "test", results).parent for run in experiments),
        paths.tables(study.name, results),
        paths.figures(study.name, results),
        paths.report(study.name, results),
    }
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for partition in {run.partition_id for run in experiments}:
        path = paths.partition(partition, results)
        files += [path, paths.provenance(path.parent, partition)]
    return [path for path in files if path.exists() and not path.name.startswith(".")]


def _contents(study: Study, commit: str, files: Mapping[str, Path]) -> bytes:
    listed = {
        name: {"size": path.stat().st_size, "sha256": sha256(path)}
        for name, path in sorted(files.items())
    }
    contents = {"format": FORMAT, "study": study.name, "commit": commit, "files": listed}
    return json.dumps(contents, indent=1).encode() + b"\n"


@contextmanager
def _compressed(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a compressed archive for writing."""
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.CompressedOutputStream(file, "zstd") as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        yield archive


def _add(archive: tarfile.TarFile, name: str, file: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = file.seek(0, os.SEEK_END), 0o644
    file.seek(0)
    archive.addfile(member, file)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
