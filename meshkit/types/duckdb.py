"""Canonical types to and from DuckDB SQL type names."""

from __future__ import annotations

import re

from meshkit.types import model as m
from meshkit.types.arrow import TypeConversionError
from meshkit.types.text import parse_type

__all__ = ["from_duckdb", "quote", "readable", "to_duckdb"]

_NAMES = {
    "bool": "BOOLEAN", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "float32": "FLOAT", "float64": "DOUBLE",
    "string": "VARCHAR", "bytes": "BLOB", "date": "DATE", "interval": "INTERVAL", "uuid": "UUID", "json": "JSON",
}  # fmt: skip
_BACK = {v: m.Primitive(k) for k, v in _NAMES.items()} | {  # type: ignore[arg-type]
    "UTINYINT": m.INT16, "USMALLINT": m.INT32, "UINTEGER": m.INT64, "UBIGINT": m.Decimal(20, 0), "TIME": m.TIME, "TIMESTAMP": m.TIMESTAMP,
    "TIMESTAMP_S": m.Temporal("timestamp", "ms"), "TIMESTAMP_MS": m.Temporal("timestamp", "ms"), "TIMESTAMP_NS": m.Temporal("timestamp", "ns"),
    "TIMESTAMP WITH TIME ZONE": m.TIMESTAMPTZ, "HUGEINT": m.Decimal(38, 0),
}  # fmt: skip


def quote(name: str) -> str:
    """A name as a quoted SQL identifier (DuckDB, PostgreSQL, Trino)."""
    return '"' + name.replace('"', '""') + '"'


_RESERVED = frozenset(
    "all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create default deferrable desc describe "
    "distinct do else end except false fetch for foreign from group having in initially intersect into lambda lateral leading limit not null "
    "offset on only or order pivot pivot_longer pivot_wider placing primary qualify references returning select show some summarize symmetric "
    "table then to trailing true union unique unpivot using variadic when where window with".split()
)


def readable(name: str) -> str:
    """A name as people write it: bare where SQL allows that, else quoted."""
    plain = re.fullmatch(r"[a-z][a-z0-9_]*", name) and name not in _RESERVED
    return name if plain else quote(name)


def to_duckdb(data_type: m.DataType) -> str:
    """SQL type: `DECIMAL(12,2)`, `TIMESTAMP WITH TIME ZONE`, `VARCHAR[]`, `STRUCT("sku" VARCHAR)`, `MAP(VARCHAR, BIGINT)`."""
    if isinstance(data_type, m.Primitive):
        return _NAMES[data_type.name]
    if isinstance(data_type, m.Decimal):
        return f"DECIMAL({data_type.precision},{data_type.scale})"
    if isinstance(data_type, m.Temporal):
        if data_type.name == "timestamp":
            return {"ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}[data_type.unit]
        return "TIME" if data_type.name == "time" else "TIMESTAMP WITH TIME ZONE"
    if isinstance(data_type, m.List):
        return f"{to_duckdb(data_type.item)}[]"
    if isinstance(data_type, m.Map):
        return f"MAP({to_duckdb(data_type.key)}, {to_duckdb(data_type.value)})"
    assert isinstance(data_type, m.Struct)
    return f"STRUCT({', '.join(f'{quote(f.name)} {to_duckdb(f.type)}' for f in data_type.fields)})"


def from_duckdb(text: str) -> m.DataType:
    """Canonical type of a DuckDB type name as `DESCRIBE` prints it. Raises: `TypeConversionError`."""
    body = text.strip()
    fixed = re.fullmatch(r"(.*)\[(\d*)\]", body, re.DOTALL)
    if fixed:
        return m.List(from_duckdb(fixed[1]))
    head, _, inner = body.partition("(")
    word = head.strip().upper()
    if not inner:
        if word in _BACK:
            return _BACK[word]
        raise TypeConversionError(f"DuckDB type {body} has no canonical type. Cast it")
    inner = inner.rstrip()[:-1]
    if word == "DECIMAL":
        return parse_type(f"decimal({inner})")
    if word == "ENUM":
        return m.STRING
    if word == "MAP":
        key, value = _split(inner)
        return m.Map(from_duckdb(key), from_duckdb(value))
    if word == "STRUCT":
        return m.Struct(tuple(_member(part) for part in _split(inner)))
    raise TypeConversionError(f"DuckDB type {word} has no canonical type. Cast it")


def _member(part: str) -> m.StructField:
    part = part.strip()
    if part.startswith('"'):
        end = 1
        while part[end] != '"' or part[end + 1 : end + 2] == '"':
            end += 2 if part[end] == '"' else 1
        return m.StructField(part[1:end].replace('""', '"'), from_duckdb(part[end + 1 :]))
    name, _, rest = part.partition(" ")
    return m.StructField(name, from_duckdb(rest))


def _split(text: str) -> list[str]:
    """Parts at commas outside brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for index, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted and char in "([":
            depth += 1
        elif not quoted and char in ")]":
            depth -= 1
        elif char == "," and not quoted and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]
