"""YAML 1.2 with keys that are written once."""

import re
from pathlib import Path
from typing import Any

import yaml

from skymask.study.validation import MOST_DEPTH, MOST_VALUES, NUMBER, TOO_LARGE, shown

LARGEST_FILE = 1 << 20
"""Most bytes that a study file may have."""

_MOST_DIGITS = 100
_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": NUMBER + r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
"""How each type is written without quotes: the core schema of YAML 1.2.

In YAML 1.1, of Snakemake and PyYAML, 010 is also 8, 1:30 is 90, 1_000 is 1000 and no is false.
"""


class UnreadableError(ValueError):
    """A file is not YAML; the message says where."""


def plain(text: str) -> Any:
    """Return what a text means where it is written without quotes.

    >>> [plain(text) for text in ("010", "0x1F", "1e7", "1:30", "no", "~")]
    [10, 31, 10000000.0, '1:30', 'no', None]
    """
    return _scalar(_type(text), text)


def read(file: str | Path) -> tuple[Any, list[str]]:
    """Read a file.

    Args:
        file: A YAML file, which has one document.

    Returns:
        Its value, and a sentence for each mistake that YAML or Python would pass over: a key that a
        mapping has twice, at any depth; a tag of another type; a number of very many digits; an
        alias of what contains it; too many values.

    Raises:
        FileNotFoundError: The file does not exist.
        UnreadableError: The file is not YAML, or is too large.
    """
    reader = _Reader(file)
    text = _text(file)
    try:
        root = _Composer(text).get_single_node()
        value = None if root is None else reader.value(root, "")
    except _Flood:
        return None, [TOO_LARGE]
    except yaml.YAMLError as error:
        raise _unreadable(file, _reason(error)) from error
    return value, reader.problems


def _unreadable(file: str | Path, reason: str) -> UnreadableError:
    return UnreadableError(f"{file} is not a study file, it cannot be read: {reason}")


def _text(file: str | Path) -> str:
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(file, f"{error.strerror}; name a file that can be read") from error
    except UnicodeDecodeError as error:
        raise _unreadable(file, f"byte {error.start + 1} is not UTF-8: save it as UTF-8") from error
    if len(content) > LARGEST_FILE:
        raise _unreadable(file, f"it has more than {LARGEST_FILE} bytes: is it another file?")
    return text


def _reason(error: yaml.YAMLError) -> str:
    """Return where a file is not YAML, and why, in a line."""
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", ""))
    if mark is None:
        return " ".join(str(error).split())
    if "'\\t'" in problem:
        problem = "there is a tab: indent with spaces"
    context = str(getattr(error, "context", ""))
    if problem.startswith("but "):
        problem = f"{context}, {problem}"
    if problem == "second occurrence":
        problem = context.partition(";")[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _type(text: str) -> str:
    return next((name for name, form in _PLAIN.items() if re.fullmatch(form, text)), "str")


def _scalar(kind: str, text: str) -> Any:
    """Return the value of a text that has the form of its type."""
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        # Python reads no more than thousands of digits
        return int(text[2:] if base != 10 else text, base) if len(text) <= _MOST_DIGITS else text
    if kind == "float":
        return float(re.sub(r"\.(?=[a-zA-Z])", "", text))
    return text


class _Flood(Exception):  # noqa: N818
    """A file has too many values, or too deep ones."""


class _Composer(yaml.SafeLoader):
    """The nodes of a file, with tags by YAML 1.2, and no more of them than a study may have."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        self._count += 1
        if self._depth > MOST_DEPTH + 2 or self._count > MOST_VALUES:
            raise _Flood
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return _TAG + _type(value)
        return super().resolve(kind, value, (False, True))  # type: ignore[no-untyped-call]


class _Reader:
    """Values of nodes; ``problems`` collects the mistakes."""

    def __init__(self, file: str | Path) -> None:
        self.file, self.problems = file, list[str]()
        self._known: dict[int, Any] = {}
        self._open: set[int] = set()
        self._merged = 0

    def value(self, node: yaml.Node, path: str) -> Any:
        """Return the value of a node; ``path`` names it in messages."""
        key = id(node)
        if key in self._open:
            self._report(path, node, "contains itself, by an alias,", "write it out")
            return None
        if key not in self._known:
            self._open.add(key)
            self._known[key] = self._read(node, path)
            self._open.remove(key)
        return self._known[key]

    def _report(self, path: str, node: yaml.Node, what: str, fix: str) -> None:
        line = node.start_mark.line + 1
        self.problems.append(f"{path or 'the file'}: {what} in line {line} of {self.file}: {fix}")

    def _read(self, node: yaml.Node, path: str) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.value(item, path) for item in node.value]
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, path)
        if not isinstance(node, yaml.ScalarNode) or kind not in (*_PLAIN, "str"):
            tag = node.tag.replace(_TAG, "!!")
            self._report(path, node, f"has the tag {tag}", "remove the tag")
        elif kind != "str" and not re.fullmatch(_PLAIN[kind], node.value):
            self._report(path, node, f"is tagged !!{kind}, and is none,", "remove the tag")
        elif kind == "int" and len(node.value) > _MOST_DIGITS:
            digits = f"is a number of {len(node.value)} digits"
            self._report(path, node, digits, f"write one of at most {_MOST_DIGITS}")
        else:
            return _scalar(kind, node.value)
        return None

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[Any, Any]:
        own: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        places: dict[Any, int] = {}
        for key, content in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(path, key, "has a key that is a list or a mapping", "write a name")
                continue
            written = str(key.value)
            written = written if written.isprintable() and len(written) < 100 else shown(written)
            name = f"{path}.{written}" if path else written
            known = self.value(key, name)
            line = key.start_mark.line + 1
            # 2 and 0x2 are one key, and so are 2 and "2" for a reader
            first = places.get(key.value, places.get(("value", known)))
            if first is not None:
                lines = f"line {line}" if first == line else f"lines {first} and {line}"
                self.problems.append(
                    f"{name}: is written twice, in {lines} of {self.file}: remove one"
                )
            places[key.value] = places["value", known] = line
            value = self.value(content, name)
            if key.value == "<<" and key.style is None:
                merged = self._with(merged, value, content, name)
            else:
                own[known] = value
        return merged | own

    def _with(self, merged: dict[Any, Any], value: Any, node: yaml.Node, name: str) -> Any:
        """Return mappings of a key ``<<`` with those before, which go first."""
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                self._report(name, node, "is no mapping", "write an alias of one")
                continue
            self._merged += len(part)
            if self._merged > MOST_VALUES:
                raise _Flood
            merged = part | merged
        return merged
