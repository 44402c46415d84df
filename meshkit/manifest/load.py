"""Text to `Manifest`: YAML with places, the model's own checks, then the rules that span several parts; all problems at once."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from pydantic import ValidationError

from meshkit import _yaml
from meshkit._diagnostics import Diagnostic, diagnostic_at, from_validation, from_yaml
from meshkit.errors import EnvironmentProblem
from meshkit.manifest.errors import ManifestError
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
        return None, from_yaml(error)
    return read_document(document, path=path)


def read_document(document: _yaml.Document, *, path: Path | None = None) -> tuple[Manifest | None, list[Diagnostic]]:
    """As `read_manifest`, from parsed YAML."""
    if not isinstance(document.data, dict):
        hint = "Run: meshkit init --name NAME --domain DOMAIN"
        return None, [diagnostic_at(document, (), "manifest.not_a_mapping", "a manifest is a mapping of keys", hint)]
    manifest, diagnostics = None, []
    try:
        manifest = Manifest.model_validate(document.data)
        manifest._document, manifest._path = document, path  # noqa: SLF001  # set once, by the only factory
    except ValidationError as error:
        diagnostics = from_validation(document, error, Manifest, module="manifest")
    if "apiVersion" not in document.data:
        diagnostics.append(
            diagnostic_at(document, (), "manifest.missing", "`apiVersion` is missing", "Add apiVersion: meshkit/v1")
        )
    if "kind" not in document.data:
        diagnostics.append(
            diagnostic_at(document, (), "manifest.missing", "`kind` is missing", "Add kind: DataProduct")
        )
    if manifest is not None:
        diagnostics += [
            diagnostic_at(document, f.path, f.code, f.message, f.hint, severity=f.severity, key=f.at_key)
            for f in check_rules(manifest)
        ]
    return manifest, sorted(diagnostics, key=lambda d: (d.line, d.column, d.code))
