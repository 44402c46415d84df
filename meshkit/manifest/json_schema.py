"""JSON Schema (draft 2020-12) of the manifest file format, for editors and other tools."""

from __future__ import annotations

from typing import Any

__all__ = ["manifest_schema"]


def manifest_schema() -> dict[str, Any]:
    """The schema of what may stand in a file, short forms included."""
    from meshkit.manifest.model import Manifest

    schema = Manifest.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    for name in ("FieldSchema", "InputPort"):
        definitions[name] = {"anyOf": [{"type": "string"}, definitions[name]]}
    required = sorted({*schema["required"], "apiVersion", "kind"})
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "meshkit data product manifest"}
    return {**schema, **head, "required": required}
