"""YAML to plain values with positions, without the traps of YAML 1.1.

Scalars stay text as written (`on`, `1.10`, `010`, `2024-01-01`): the schema of the reader decides what they are, not YAML. Every
node's place is kept, so that a diagnostic can name file, line and column. Duplicate keys, unknown tags, several documents, nesting
over 64, more than 100,000 nodes after aliases and more than 4 MiB are refused before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from meshkit.errors import MeshkitError

__all__ = ["Document", "Null", "Plain", "Span", "YamlProblem", "YamlSyntaxError", "parse", "resolve"]

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 10 x faster; same node tree
_TAGS = {
    f"tag:yaml.org,2002:{t}"
    for t in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value")
}

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a text: `line` and `column` from 1, `end_line` and `end_column` exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class YamlProblem:
    """What is wrong with a YAML text, and where."""

    code: str
    message: str
    hint: str
    line: int
    column: int


class YamlSyntaxError(MeshkitError):
    """The text is no acceptable YAML document; `problems` has all that could be found."""

    code = "yaml.invalid"

    def __init__(self, source: str, problems: Sequence[YamlProblem]) -> None:
        self.source, self.problems = source, tuple(problems)
        lines = [f"{p.message} ({source}:{p.line}:{p.column}). {p.hint}" for p in self.problems]
        super().__init__("\n".join(lines), code=self.problems[0].code)


class Plain(str):
    """An unquoted scalar: text that a reader may understand as a number or boolean where its schema says so."""

    __slots__ = ()


class Null(Plain):
    """`null`, `~` or nothing at all after a colon, as written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed text: `data` of dict, list and text; `spans` of values, `key_spans` of mapping keys, both by path."""

    source: str
    data: Any
    spans: Mapping[Path, Span] = field(repr=False)
    key_spans: Mapping[Path, Span] = field(repr=False)

    def span(self, path: Sequence[str | int], *, key: bool = False) -> Span:
        """Place of the value (or mapping key) at `path`; of the nearest parent if that path is not written in the text."""
        steps = tuple(path)
        if key and steps in self.key_spans:
            return self.key_spans[steps]
        while steps and steps not in self.spans:
            if steps in self.key_spans:
                return self.key_spans[steps]
            steps = steps[:-1]
        return self.spans.get(steps, Span(1, 1, 1, 1))


class _Refused(Exception):  # control flow inside this file
    def __init__(self, problem: YamlProblem) -> None:
        self.problem = problem


def parse(text: str | bytes, *, source: str = "<text>") -> Document:
    """Parse one YAML document.

    Raises: `YamlSyntaxError` with every duplicate key and unknown tag, or the first syntax error or limit.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_BYTES:
        raise _error(source, "yaml.too_large", f"the file has {len(raw):,} bytes, more than 4 MiB", "Split it.", 1, 1)
    try:
        decoded = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _error(source, "yaml.not_utf8", "the file is not UTF-8", "Save it as UTF-8.", line, 1) from None
    _refuse_deep(decoded, source)
    try:
        node = yaml.compose(decoded, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = error.problem or "no valid YAML"
        if "expected a single document" in str(error):
            raise _error(
                source, "yaml.several_documents", "the file holds several documents", "Keep one.", line, column
            ) from None
        raise _error(
            source, "yaml.syntax", f"no valid YAML: {what}", "Check indentation, colons and quotes.", line, column
        ) from None
    except yaml.YAMLError as error:
        what = str(getattr(error, "reason", "unreadable text"))
        raise _error(source, "yaml.syntax", f"no valid YAML: {what}", "Remove control characters.", 1, 1) from None
    if node is None:
        raise _error(source, "yaml.empty", "the file is empty", "Run: meshkit init --name NAME --domain DOMAIN", 1, 1)
    builder = _Builder()
    try:
        data = builder.build(node, (), 0)
    except _Refused as refused:
        raise YamlSyntaxError(source, [refused.problem]) from None
    if builder.problems:
        raise YamlSyntaxError(source, builder.problems)
    return Document(source, data, builder.spans, builder.key_spans)


def _refuse_deep(text: str, source: str) -> None:
    """Bound flow nesting before libyaml recurses; block nesting costs an indent per level and is bounded by the builder."""
    depth = 0
    for number, line in enumerate(text.split("\n"), 1):
        if "[" not in line and "{" not in line and "]" not in line and "}" not in line:
            continue
        for char in line:
            if char in "[{":
                depth += 1
                if depth > 10 * MAX_DEPTH:  # brackets inside quoted text count too, hence the slack
                    raise _error(
                        source, "yaml.too_deep", f"nesting is deeper than {MAX_DEPTH}", "Flatten it.", number, 1
                    )
            elif char in "]}":
                depth = max(0, depth - 1)


def _error(source: str, code: str, message: str, hint: str, line: int, column: int) -> YamlSyntaxError:
    return YamlSyntaxError(source, [YamlProblem(code, message, hint, line, column)])


class _Builder:
    def __init__(self) -> None:
        self.spans: dict[Path, Span] = {}
        self.key_spans: dict[Path, Span] = {}
        self.problems: list[YamlProblem] = []
        self.nodes = 0

    def build(self, node: Node, path: Path, depth: int) -> Any:
        self.nodes += 1
        start, end = node.start_mark, node.end_mark
        if self.nodes > MAX_NODES:
            raise _Refused(
                _problem("yaml.too_many_nodes", f"more than {MAX_NODES:,} nodes after aliases", "Remove aliases.", node)
            )
        if depth > MAX_DEPTH:
            raise _Refused(_problem("yaml.too_deep", f"nesting is deeper than {MAX_DEPTH}", "Flatten it.", node))
        self.spans[path] = Span(start.line + 1, start.column + 1, end.line + 1, end.column + 1)
        if node.tag not in _TAGS:
            self.problems.append(
                _problem("yaml.unknown_tag", f"unknown tag {_short(node.tag)}", "Remove the tag.", node)
            )
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if isinstance(node, SequenceNode):
            return [self.build(child, (*path, i), depth + 1) for i, child in enumerate(node.value)]
        assert isinstance(node, MappingNode)
        return self._mapping(node, path, depth)

    def _mapping(self, node: MappingNode, path: Path, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.problems.append(
                    _problem("yaml.complex_key", "a key must be plain text", "Write a name.", key_node)
                )
                continue
            key = str(key_node.value)
            if key == "<<" and not key_node.style:
                self.problems.append(
                    _problem("yaml.merge_key", "merge keys are not supported", "Write the keys out.", key_node)
                )
                continue
            if key in result:
                first = self.key_spans[*path, key]
                self.problems.append(
                    _problem(
                        "yaml.duplicate_key",
                        f"key {_short(key)} stands twice, first in line {first.line}",
                        "Keep one.",
                        key_node,
                    )
                )
                continue
            mark, end = key_node.start_mark, key_node.end_mark
            self.key_spans[*path, key] = Span(mark.line + 1, mark.column + 1, end.line + 1, end.column + 1)
            result[key] = self.build(value_node, (*path, key), depth + 1)
        return result


def _problem(code: str, message: str, hint: str, node: Node) -> YamlProblem:
    return YamlProblem(code, message, hint, node.start_mark.line + 1, node.start_mark.column + 1)


def _short(text: str) -> str:
    cleaned = "".join(c if c.isprintable() else "?" for c in text)
    return repr(cleaned if len(cleaned) <= 60 else cleaned[:57] + "...")


def _scalar(node: ScalarNode) -> str:
    if node.style:  # libyaml says "" and pure Python None for a plain scalar
        return str(node.value)
    return Null(node.value) if node.value in {"", "~", "null", "Null", "NULL"} else Plain(node.value)


def resolve(value: Any) -> Any:
    """Free content (`custom`, `args`) as JSON-like values by the YAML 1.2 core schema: only unquoted scalars change.

    `true` and `false` become booleans, integers and decimal floats numbers, `null` None; all else stays text.
    """
    if isinstance(value, dict):
        return {str(k): resolve(v) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(v) for v in value]
    if isinstance(value, Null):
        return None
    if isinstance(value, Plain):
        return _core_scalar(str(value))
    return value


def _core_scalar(text: str) -> Any:
    if text in {"true", "false"}:
        return text == "true"
    body = text[1:] if text[:1] in {"+", "-"} else text
    if body.isascii() and body.isdigit() and (body == "0" or body[0] != "0"):
        return int(text) if len(text) < 40 else text
    if body[:1].isdigit() and set(body) <= set("0123456789.eE+-"):
        try:
            return float(text) if body[0] != "0" or body[1:2] in {".", "e", "E", ""} else text
        except ValueError:
            return text
    return text
