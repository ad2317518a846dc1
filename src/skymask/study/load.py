"""Study files and configurations read as checked studies."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from skymask.study import grid


def from_config(config: Mapping[str, Any], file: str = "study") -> grid.Study:
    """Read a study from its values by key, such as ``snakemake.config``.

    Args:
        config: The values; they are not changed.
        file: What messages call the study.

    Raises:
        StudyError: The study has mistakes; the message lists them all.
    """
    return grid.read(config, file)


def from_files(
    files: Sequence[str | Path],
    overrides: Mapping[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> grid.Study:
    """Read a study from its files, for the Snakefile and the commands alike.

    Args:
        files: YAML files; the keys of a later one replace those of an earlier one.
        overrides: Keys that replace those of the files, as Snakemake reads its ``--config``.
        config: The values of the files and overrides, where Snakemake has merged them already.
            The overrides are written into it again, with the types that they would have in a file;
            a key that it lacks belongs to a workflow that uses this one as a module.

    Raises:
        FileNotFoundError: A file does not exist.
        StudyError: A key is written twice, or the study has mistakes; the message lists them all.
        ValueError: A file is not YAML, or not a study file.
    """
    overrides = typed(overrides or {})
    if config is None:
        config = {}
        for values in [*map(_read, files), overrides]:
            _merge(config, values)
    shown = ", ".join(map(str, files)) or "study"
    repeated = [problem for file in files for problem in repeated_keys(file)]
    if repeated:
        raise grid.StudyError(shown, repeated)
    _merge(config, {key: value for key, value in overrides.items() if key in config})
    return from_config(config, shown)


def typed(given: Any) -> Any:
    """Return a value of ``--config`` with the type that it would have in a study file.

    Snakemake reads numbers that stand alone, and leaves ``null`` and the items of lists as text.
    """
    if isinstance(given, Mapping):
        return {key: typed(value) for key, value in given.items()}
    if isinstance(given, list):
        return [typed(value) for value in given]
    if not isinstance(given, str):
        return given
    try:
        value = yaml.safe_load(given)
    except (yaml.YAMLError, ValueError, RecursionError):
        return given
    # a date, or a mapping in quotes, was meant as text
    return value if value is None or isinstance(value, bool | int | float) else given


def repeated_keys(file: str | Path) -> list[str]:
    """Return a sentence for each key that a mapping of a YAML file has twice.

    YAML keeps the last value and drops the others without a word.
    """
    root = yaml.compose(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    return [*_repeated(root, "", set(), str(file))] if root else []


def _repeated(node: yaml.Node, path: str, seen: set[int], file: str) -> Iterator[str]:
    if id(node) in seen:
        return  # an alias, perhaps of a node that contains it
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, path, seen, file)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = f"{path}.{key.value}" if path else str(key.value)
            line = key.start_mark.line + 1
            if name in lines:
                yield (
                    f"{name}: is written twice, in lines {lines[name]} and {line} of {file}: "
                    "remove one"
                )
            lines[name] = line
            yield from _repeated(value, name, seen, file)


def _read(path: str | Path) -> dict[str, Any]:
    """Return the values of a study file."""
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # not only YAML's own errors: bytes that are not UTF-8, a date that does not exist
        raise ValueError(f"{path} is not a study file, it cannot be read: {error}") from error
    if not isinstance(config, dict) or "study" not in config:
        raise ValueError(f"{path} is not a study file: it needs a line like study: my_study")
    return config


def _merge(config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Replace values of ``config``, and those of mappings key by key, as Snakemake does."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _merge(config[key], value)
        else:
            config[key] = value
