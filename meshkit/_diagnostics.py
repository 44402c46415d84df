"""Diagnostics of YAML files that a pydantic model describes: manifest, mesh.yaml, policies, linkage models. One form, one mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError

from meshkit import _yaml

__all__ = ["Diagnostic", "diagnostic_at", "from_validation", "from_yaml"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding in a file: what, where, and what to do. `path` is the way to the value, step by step."""

    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    file: str = "<text>"
    line: int = 1
    column: int = 1
    path: tuple[str | int, ...] = ()

    @property
    def place(self) -> str:
        """`file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"

    def __str__(self) -> str:
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.message} ({self.place}).{hint}"

    def to_json(self) -> dict[str, Any]:
        """As in `meshkit.manifest.report/1`."""
        return {
            "code": self.code, "severity": self.severity, "message": self.message, "hint": self.hint,
            "file": self.file, "line": self.line, "column": self.column, "path": list(self.path),
        }  # fmt: skip


def diagnostic_at(
    document: _yaml.Document,
    path: Sequence[str | int],
    code: str,
    message: str,
    hint: str = "",
    *,
    severity: Any = "error",
    key: bool = False,
) -> Diagnostic:
    """A diagnostic at the value (or `key`) of `path` in the text."""
    span = document.span(path, key=key)
    return Diagnostic(code, message, hint, severity, document.source, span.line, span.column, tuple(path))


def from_yaml(error: _yaml.YamlSyntaxError) -> list[Diagnostic]:
    """Diagnostics of a text that is no acceptable YAML."""
    return [Diagnostic(p.code, p.message, p.hint, "error", error.source, p.line, p.column) for p in error.problems]


def from_validation(
    document: _yaml.Document, error: ValidationError, model: type[BaseModel], *, module: str
) -> list[Diagnostic]:
    """Diagnostics of a pydantic error with places in the text and did-you-mean; codes are `<module>.<what>`."""
    return [_one(document, e, model, module) for e in error.errors(include_url=False)]


_OWN_KINDS = {
    "null",
    "control_character",
    "quantity",
    "type",
    "bound",
    "quality",
    "port",
    "password",
    "input",
    "flag",
    "day",
    "count",
    "text",
}


def _one(document: _yaml.Document, error: Any, model: type[BaseModel], module: str) -> Diagnostic:
    path = _written_path(document, error["loc"])
    kind, name = error["type"], str(path[-1]) if path else ""
    shown = _shown(name)
    if kind == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        near = get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"Did you mean `{near[0]}`?" if near else f"Known here: {', '.join(sorted(known)[:30])}."
        return diagnostic_at(document, path, f"{module}.unknown_key", f"unknown key `{shown}`", hint, key=True)
    if kind == "missing":
        parent = ".".join(map(str, path[:-1]))
        where = f" in `{_shown(parent)}`" if parent else ""
        return diagnostic_at(
            document, path[:-1], f"{module}.missing", f"`{shown}` is missing{where}", f"Add `{shown}`."
        )
    if kind in {"literal_error", "union_tag_invalid"}:
        expected = [
            part.strip(" '")
            for part in (error["ctx"].get("expected") or error["ctx"]["expected_tags"])
            .replace(" or ", ", ")
            .split(", ")
        ]
        found = error["ctx"].get("tag", error["input"])
        near = get_close_matches(str(found), expected, n=1, cutoff=0.6)
        hint = f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(expected)}."
        return diagnostic_at(document, path, f"{module}.value", f"`{shown}` is not one of the allowed words", hint)
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return diagnostic_at(
            document,
            path,
            f"{module}.value",
            f"`{shown}` needs a mapping of keys here",
            "Write `key: value` lines below it.",
        )
    if kind == "list_type":
        return diagnostic_at(
            document,
            path,
            f"{module}.value",
            f"`{shown}` needs a list here",
            "Write [a, b] or lines that start with a dash.",
        )
    message, _, hint = str(error["msg"]).removeprefix("Value error, ").partition(". ")
    subject = f"`{shown}`: " if name and f"`{name}`" not in message else ""
    code = f"{module}.{kind if kind in _OWN_KINDS else 'value'}"
    return diagnostic_at(document, path, code, subject + message, f"{hint}." if hint and hint[-1] not in ".?" else hint)


def _written_path(document: _yaml.Document, loc: tuple[Any, ...]) -> tuple[str | int, ...]:
    """Pydantic's `loc` holds union branches and validator names too: keep the steps that the text has, and the last one."""
    path: list[str | int] = []
    node: Any = document.data
    for index, step in enumerate(loc):
        if (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        ):
            node = node[step]
        elif not (
            index == len(loc) - 1 and isinstance(node, dict) and isinstance(step, str) and "[" not in step
        ):  # else: a missing key
            continue
        path.append(step)
    return tuple(path)


def _shown(name: str) -> str:
    cleaned = "".join(c if c.isprintable() else "?" for c in name)
    return cleaned if len(cleaned) <= 80 else cleaned[:77] + "..."


def _keys_at(model: Any, path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Keys that the model knows at a path, for did-you-mean."""
    for step in path:
        model = _child(model, str(step)) if isinstance(step, str) else model
        if model is None:
            return ()
    return tuple(f.alias or name for name, f in model.model_fields.items())


@cache
def _child(model: Any, step: str) -> Any:
    """The model below a key: that of the field, or of the mapping's values (then the next step is a free name)."""
    if isinstance(model, _Values):
        return model.model
    for name, field in model.model_fields.items():
        if step in {name, field.alias}:
            return _model_of(field.annotation)
    return None


class _Values:
    """A mapping with free names whose values are `model`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.model_fields: dict[str, Any] = {}


@cache
def _model_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = get_args(annotation)
    if getattr(annotation, "__origin__", None) is dict:
        inner = _model_of(arguments[1])
        return _Values(inner) if inner is not None else None
    return next((found for found in map(_model_of, arguments) if found is not None), None)
