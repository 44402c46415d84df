"""JSON Schema (draft 2020-12) of the manifest file format, for editors and other tools."""

from __future__ import annotations

from typing import Any

__all__ = ["manifest_schema"]


def manifest_schema() -> dict[str, Any]:
    """The schema of what may stand in a file: short forms included, text scalars where YAML readers see numbers."""
    from meshkit.manifest.model import Manifest

    schema = Manifest.model_json_schema(by_alias=True, mode="validation")
    definitions = schema.get("$defs", {})
    for name in ("FieldSchema", "InputPort"):
        if name in definitions:
            definitions[name] = {"anyOf": [{"type": "string"}, definitions[name]]}
    schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "meshkit data product manifest",
        **_text_forms(schema),
    }


def _text_forms(node: Any) -> Any:
    """Values written as text in YAML (durations, ratios) are strings or numbers for an editor."""
    if isinstance(node, dict):
        return {key: _text_forms(value) for key, value in node.items() if key != "default" or value is not None}
    if isinstance(node, list):
        return [_text_forms(item) for item in node]
    return node
