"""Canonical types to and from PostgreSQL type names (as `format_type` prints them)."""

from __future__ import annotations

import re

from meshkit.types import model as m
from meshkit.types.arrow import TypeConversionError

__all__ = ["from_postgres", "to_postgres"]

_NAMES = {
    "bool": "boolean", "int8": "smallint", "int16": "smallint", "int32": "integer", "int64": "bigint", "float32": "real",
    "float64": "double precision", "string": "text", "bytes": "bytea", "date": "date", "interval": "interval", "uuid": "uuid", "json": "jsonb",
}  # fmt: skip
_BACK: dict[str, m.DataType] = {
    "boolean": m.BOOL, "smallint": m.INT16, "integer": m.INT32, "bigint": m.INT64, "real": m.FLOAT32, "double precision": m.FLOAT64,
    "text": m.STRING, "character varying": m.STRING, "character": m.STRING, "citext": m.STRING, "name": m.STRING, "bytea": m.BYTES,
    "date": m.DATE, "interval": m.INTERVAL, "uuid": m.UUID, "json": m.JSON, "jsonb": m.JSON, "oid": m.INT64,
    "time": m.TIME, "timestamp": m.TIMESTAMP, "timestamptz": m.TIMESTAMPTZ, "time without time zone": m.TIME, "timestamp without time zone": m.TIMESTAMP, "timestamp with time zone": m.TIMESTAMPTZ,
}  # fmt: skip


def to_postgres(data_type: m.DataType) -> str:
    """Column type for DDL; struct and map are `jsonb`, lists of scalars arrays."""
    if isinstance(data_type, m.Primitive):
        return _NAMES[data_type.name]
    if isinstance(data_type, m.Decimal):
        return f"numeric({data_type.precision},{data_type.scale})"
    if isinstance(data_type, m.Temporal):
        name = {"time": "time", "timestamp": "timestamp", "timestamptz": "timestamp with time zone"}[data_type.name]
        return name.replace("time", "time(3)", 1) if data_type.unit == "ms" and data_type.name == "time" else name
    if isinstance(data_type, m.List) and not data_type.item.is_nested:
        return f"{to_postgres(data_type.item)}[]"
    return "jsonb"


def from_postgres(text: str) -> m.DataType:
    """Canonical type of a PostgreSQL type name.

    Raises: `TypeConversionError` for types without one: unbounded numeric, ranges, time with time zone, composite types.
    """
    body = text.strip().lower()
    if body.endswith("[]"):
        return m.List(from_postgres(body[:-2]))
    sized = re.fullmatch(r"numeric\((\d+),\s*(\d+)\)", body)
    if sized:
        return m.Decimal(int(sized[1]), int(sized[2]))
    if body == "numeric":
        raise TypeConversionError(
            "PostgreSQL numeric without digits has no canonical type. Declare decimal(p,s), or cast to text"
        )
    bare = re.sub(r"\(\d+\)", "", body)
    if bare in _BACK:
        found = _BACK[bare]
        precise = re.search(r"\((\d)\)", body)
        if isinstance(found, m.Temporal) and precise and int(precise[1]) <= 3:
            return m.Temporal(found.name, "ms")
        return found
    raise TypeConversionError(f"PostgreSQL type {text} has no canonical type. Cast it to text")
