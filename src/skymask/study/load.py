"""Study files and configurations read as checked studies."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from skymask.study import grid, strict_yaml
from skymask.study.strict_yaml import UnreadableError
from skymask.study.validation import too_large

TEMPLATE = "__use_yte__"
"""The key that makes Snakemake run the expressions in a file."""


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
            What it read as YAML 1.1 is replaced by what the files mean in YAML 1.2, and the
            overrides are written into it again, with the types that they would have in a file;
            a key that it lacks belongs to a workflow that uses this one as a module.

    Raises:
        FileNotFoundError: A file does not exist.
        StudyError: A key is written twice, or the study has mistakes; the message lists them all.
        UnreadableError: A file is not YAML, or not a study file.
    """
    overrides = overrides or {}
    strict = values(files, overrides, is_part=config is not None)
    if config is None:
        config = strict
    else:
        merged: dict[str, Any] = {}
        for content in [*map(_as_snakemake, files), overrides]:
            _merge(merged, content)
        _replace(config, merged, strict)
        _merge(config, {key: v for key, v in typed(overrides).items() if key in config})
    return from_config(config, ", ".join(map(str, files)) or "study")


def values(
    files: Sequence[str | Path], overrides: Mapping[str, Any], is_part: bool = False
) -> dict[str, Any]:
    """Read the values of study files by key, and of what overrides them; nothing is checked.

    Args:
        files: YAML files; the keys of a later one replace those of an earlier one.
        overrides: Keys that replace those of the files, as Snakemake reads its ``--config``.
        is_part: The files may be without a study, since that is given elsewhere.

    Raises:
        FileNotFoundError: A file does not exist.
        StudyError: A key is written twice, or there are too many values.
        UnreadableError: A file is not YAML, or not a study file.
    """
    result: dict[str, Any] = {}
    problems: list[str] = []
    for file in files:
        content, found = strict_yaml.read(file)
        problems += found
        if not found and (not isinstance(content, dict) or not (is_part or "study" in content)):
            raise UnreadableError(
                f"{file} is not a study file: it needs a line like study: my_study"
            )
        _merge(result, content or {})
    if TEMPLATE in result and "study" in result:
        problems.append(f"{TEMPLATE}: is for templates, whose values nothing checks: remove it")
    flood = too_large(result)
    if problems or flood:
        raise grid.StudyError(", ".join(map(str, files)) or "study", problems or [flood or ""])
    _merge(result, typed(overrides))
    return result


def typed(given: Any) -> Any:
    """Return a value of ``--config`` with the type that it would have in a study file.

    Snakemake reads numbers that stand alone, and leaves ``null`` and the items of lists as text.
    """
    if isinstance(given, Mapping):
        return {key: typed(value) for key, value in given.items()}
    if isinstance(given, list):
        return [typed(value) for value in given]
    return strict_yaml.plain(given) if isinstance(given, str) else given


def _as_snakemake(file: str | Path) -> Any:
    """Return the values of a file as Snakemake reads it, by YAML 1.1."""
    return yaml.safe_load(Path(file).read_text(encoding="utf-8"))


def _replace(config: dict[str, Any], merged: Any, values: Any) -> None:
    """Put values of the files in place of those that Snakemake read.

    Args:
        config: What Snakemake read; of a module, what the other workflow chose of it.
        merged: The values of the files by YAML 1.1; ``config`` itself unless this is a module.
        values: The same by YAML 1.2.
    """
    pairs = [*_mappings(merged, values)]
    for key, value in config.items():
        for old, new in pairs:
            if key in old and key in new and _same(value, old[key]):
                config[key] = new[key]
                break


def _mappings(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each mapping in ``old`` with its counterpart in ``new``, outermost first."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield old, new
        inner = [(old[key], new[key]) for key in old if key in new]
    elif isinstance(old, list) and isinstance(new, list):
        inner = [*zip(old, new, strict=False)]
    for pair in inner:
        yield from _mappings(*pair)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    # a NaN differs from itself
    return bool(a == b) or (a != a and b != b)


def _merge(config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Replace values of ``config``, and those of mappings key by key, as Snakemake does."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _merge(config[key], value)
        else:
            config[key] = value
