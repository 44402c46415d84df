"""Canonical types to and from JSON Schema (draft 2020-12). What JSON can't tell rides along as `x-meshkit-type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshkit.types import model as m
from meshkit.types.arrow import TypeConversionError
from meshkit.types.text import parse_type

__all__ = ["from_json_schema", "to_json_schema"]

KEY = "x-meshkit-type"
# JSON readers lose int64 above 2^53 only when they read numbers as doubles: the range is stated, the exact type rides along
_INTEGERS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}
_TIME = "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?$"
_LOCAL = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?$"
_SCALARS: dict[str, dict[str, Any]] = {
    "bool": {"type": "boolean"}, "string": {"type": "string"}, "bytes": {"type": "string", "contentEncoding": "base64"},
    "date": {"type": "string", "format": "date"}, "time": {"type": "string", "pattern": _TIME}, "timestamp": {"type": "string", "pattern": _LOCAL},
    "timestamptz": {"type": "string", "format": "date-time"}, "interval": {"type": "string", "format": "duration"},
    "uuid": {"type": "string", "format": "uuid"}, "json": {}, "float32": {"type": "number"}, "float64": {"type": "number"},
}  # fmt: skip
_NATURAL = {"boolean": m.BOOL, "integer": m.INT64, "number": m.FLOAT64, "string": m.STRING}
_FORMATS = {"date": m.DATE, "date-time": m.TIMESTAMPTZ, "duration": m.INTERVAL, "uuid": m.UUID}


def to_json_schema(data_type: m.DataType) -> dict[str, Any]:
    """The schema of a value; nullability is the container's business (`required`)."""
    if isinstance(data_type, m.List):
        return {
            "type": "array",
            "items": _nullable(data_type.item, required=data_type.item_required),
            KEY: str(data_type),
        }
    if isinstance(data_type, m.Map):
        return {
            "type": "object",
            "additionalProperties": _nullable(data_type.value, required=data_type.value_required),
            KEY: str(data_type),
        }
    if isinstance(data_type, m.Struct):
        properties = {f.name: _nullable(f.type, required=f.required) for f in data_type.fields}
        return {
            "type": "object",
            "properties": properties,
            "required": [f.name for f in data_type.fields if f.required],
            KEY: str(data_type),
        }
    if isinstance(data_type, m.Decimal):
        whole = "9" * (data_type.precision - data_type.scale) or "0"
        return {"type": "number", "minimum": -int(whole) - 1, "maximum": int(whole) + 1, KEY: str(data_type)}
    if isinstance(data_type, m.Primitive) and data_type.name in _INTEGERS:
        bits = _INTEGERS[data_type.name]
        return {"type": "integer", "minimum": -(2**bits), "maximum": 2**bits - 1, KEY: str(data_type)}
    name = data_type.name if isinstance(data_type, m.Primitive | m.Temporal) else ""
    return {**_SCALARS[name], KEY: str(data_type)}


def _nullable(data_type: m.DataType, *, required: bool) -> dict[str, Any]:
    schema = to_json_schema(data_type)
    if required or "type" not in schema:
        return schema
    return {**schema, "type": [schema["type"], "null"]}


def from_json_schema(schema: Mapping[str, Any]) -> m.DataType:
    """The exact type where it rides along, else the natural one. Raises: `TypeConversionError`."""
    if KEY in schema:
        return parse_type(str(schema[KEY]))
    kinds = schema.get("type")
    kind = next((k for k in kinds if k != "null"), None) if isinstance(kinds, list) else kinds
    if kind is None and not {"anyOf", "oneOf", "allOf", "$ref"} & set(schema):
        return m.JSON
    if kind == "array":
        items = schema.get("items")
        if not isinstance(items, Mapping):
            raise TypeConversionError("a JSON array without `items` has no canonical type. Say what it holds")
        return m.List(from_json_schema(items), not _may_be_null(items))
    if kind == "object":
        return _object(schema)
    if kind == "string" and schema.get("contentEncoding") == "base64":
        return m.BYTES
    if kind == "string":
        return _FORMATS.get(str(schema.get("format")), m.STRING)
    if kind in _NATURAL:
        return _NATURAL[str(kind)]
    raise TypeConversionError(
        f"JSON Schema type {kind!r} has no canonical type. Unions and references are not supported"
    )


def _object(schema: Mapping[str, Any]) -> m.DataType:
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        required = set(schema.get("required", ()))
        return m.Struct(
            tuple(
                m.StructField(n, from_json_schema(s), n in required and not _may_be_null(s))
                for n, s in properties.items()
            )
        )
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        return m.Map(m.STRING, from_json_schema(values), not _may_be_null(values))
    return m.JSON


def _may_be_null(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    return kinds is None or (isinstance(kinds, list) and "null" in kinds)
