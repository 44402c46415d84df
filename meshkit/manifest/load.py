"""Text to `Manifest`: YAML with places, the model's own checks, then the rules that span several parts; all problems at once."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from meshkit import _yaml
from meshkit.errors import EnvironmentProblem
from meshkit.manifest.errors import Diagnostic, ManifestError
from meshkit.manifest.model import Manifest
from meshkit.manifest.rules import check_rules

__all__ = ["load_manifest", "parse_manifest", "read_bytes", "read_manifest"]


def load_manifest(path: str | PathLike[str]) -> Manifest:
    """Read and check a file; see `Manifest.load`."""
    manifest, diagnostics = read_manifest(read_bytes(path), source=str(path), path=Path(path))
    return _accepted(manifest, diagnostics)


def parse_manifest(text: str | bytes, *, source: str = "<text>") -> Manifest:
    """Read and check a text; see `Manifest.parse`."""
    manifest, diagnostics = read_manifest(text, source=source)
    return _accepted(manifest, diagnostics)


def _accepted(manifest: Manifest | None, diagnostics: list[Diagnostic]) -> Manifest:
    if manifest is None or any(d.severity == "error" for d in diagnostics):
        raise ManifestError(diagnostics)
    return manifest


def read_bytes(path: str | PathLike[str]) -> bytes:
    """Content of a file. Raises: `EnvironmentProblem` naming path and cause."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_yaml.MAX_BYTES + 1)
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise EnvironmentProblem(
            f"{path} can't be read: {cause}. Check the path and its permissions", code="manifest.unreadable"
        ) from None


def read_manifest(
    text: str | bytes, *, source: str, path: Path | None = None
) -> tuple[Manifest | None, list[Diagnostic]]:
    """The manifest if the model accepts it, and all diagnostics, in text order. Never raises for bad content."""
    try:
        document = _yaml.parse(text, source=source)
    except _yaml.YamlSyntaxError as error:
        return None, [Diagnostic(p.code, p.message, p.hint, "error", source, p.line, p.column) for p in error.problems]
    return read_document(document, path=path)


def read_document(document: _yaml.Document, *, path: Path | None = None) -> tuple[Manifest | None, list[Diagnostic]]:
    """As `read_manifest`, from parsed YAML."""
    if not isinstance(document.data, dict):
        return None, [
            _at(
                document,
                (),
                "manifest.not_a_mapping",
                "a manifest is a mapping of keys",
                "Run: meshkit init --name NAME --domain DOMAIN",
            )
        ]
    manifest, diagnostics = None, []
    try:
        manifest = Manifest.model_validate(document.data)
        manifest._document, manifest._path = document, path  # noqa: SLF001  # set once, by the only factory
    except ValidationError as error:
        diagnostics = [_from_pydantic(document, e) for e in error.errors(include_url=False)]
    if "apiVersion" not in document.data:
        diagnostics.append(
            _at(document, (), "manifest.missing", "`apiVersion` is missing", "Add apiVersion: meshkit/v1")
        )
    if "kind" not in document.data:
        diagnostics.append(_at(document, (), "manifest.missing", "`kind` is missing", "Add kind: DataProduct"))
    if manifest is not None:
        diagnostics += [
            _at(document, f.path, f.code, f.message, f.hint, f.severity, key=f.at_key) for f in check_rules(manifest)
        ]
    return manifest, sorted(diagnostics, key=lambda d: (d.line, d.column, d.code))


def _at(
    document: _yaml.Document,
    path: tuple[str | int, ...],
    code: str,
    message: str,
    hint: str = "",
    severity: Any = "error",
    *,
    key: bool = False,
) -> Diagnostic:
    span = document.span(path, key=key)
    return Diagnostic(code, message, hint, severity, document.source, span.line, span.column, path)


def _from_pydantic(document: _yaml.Document, error: Any) -> Diagnostic:
    path = _written_path(document, error["loc"])
    kind, name = error["type"], str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        near = get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"Did you mean `{near[0]}`?" if near else f"Known here: {', '.join(sorted(known)[:30])}."
        return _at(document, path, "manifest.unknown_key", f"unknown key `{_shown(name)}`", hint, key=True)
    if kind == "missing":
        parent = ".".join(map(str, path[:-1]))
        where = f" in `{_shown(parent)}`" if parent else ""
        return _at(document, path[:-1], "manifest.missing", f"`{name}` is missing{where}", f"Add `{name}`.")
    if kind == "literal_error":
        expected = [str(v) for v in _literals(error["ctx"]["expected"])]
        near = get_close_matches(str(error["input"]), expected, n=1, cutoff=0.6)
        hint = f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(expected)}."
        return _at(document, path, "manifest.value", f"`{name}` is not one of the allowed words", hint)
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return _at(
            document,
            path,
            "manifest.value",
            f"`{name}` needs a mapping of keys here",
            "Write `key: value` lines below it.",
        )
    if kind == "list_type":
        return _at(
            document,
            path,
            "manifest.value",
            f"`{name}` needs a list here",
            "Write [a, b] or lines that start with a dash.",
        )
    message, _, hint = str(error["msg"]).partition(". ")
    subject = f"`{_shown(name)}`: " if name and f"`{name}`" not in message else ""
    return _at(
        document,
        path,
        f"manifest.{kind if kind in _OWN_KINDS else 'value'}",
        subject + message,
        f"{hint}." if hint and hint[-1] not in ".?" else hint,
    )


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


def _written_path(document: _yaml.Document, loc: tuple[Any, ...]) -> tuple[str | int, ...]:
    """Pydantic's `loc` holds union branches and validator names too: keep the steps that the text has, and the last one."""
    path: list[str | int] = []
    node: Any = document.data
    for index, step in enumerate(loc):
        if (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        ):
            node = node[step]
        elif index == len(loc) - 1 and isinstance(node, dict) and isinstance(step, str) and "[" not in step:
            pass  # a missing key
        else:
            continue
        path.append(step)
    return tuple(path)


def _shown(name: str) -> str:
    cleaned = "".join(c if c.isprintable() else "?" for c in name)
    return cleaned if len(cleaned) <= 80 else cleaned[:77] + "..."


def _literals(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ", ").split(", ")]


def _keys_at(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Keys that the model knows at a path, for did-you-mean."""
    model: Any = Manifest
    for step in path:
        model = _child(model, str(step)) if isinstance(step, str) else model
        if model is None:
            return ()
    return _aliases(model)


@cache
def _aliases(model: Any) -> tuple[str, ...]:
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
    origin = getattr(annotation, "__origin__", None)
    if origin is dict:
        inner = _model_of(arguments[1])
        return _Values(inner) if inner is not None else None
    for argument in arguments:
        found = _model_of(argument)
        if found is not None:
            return found
    return None
