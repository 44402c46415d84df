"""Constants of policies and attributes of principals as values and SQL literals of exactly a column's type."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal as Number
from decimal import InvalidOperation, localcontext
from typing import Any

from meshkit.types import BOOL, DATE, STRING, DataType, Decimal, Primitive, Temporal

__all__ = ["Misfit", "NumberText", "sql_literal", "sql_name", "typed_value"]

_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}
_FLOATS = {"float32", "float64"}

# DuckDB 1.5: `SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'`, and words that are values by themselves
_RESERVED = frozenset({
    "all", "analyse", "analyze", "and", "anti", "any", "array", "as", "asc", "asof", "asymmetric", "at",
    "authorization", "between", "bigint", "binary", "bit", "boolean", "both", "by", "case", "cast", "char",
    "character", "check", "coalesce", "collate", "collation", "column", "columns", "concurrently", "constraint",
    "create", "cross", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "dec", "decimal", "default", "deferrable", "desc", "describe", "distinct",
    "do", "else", "end", "except", "exists", "extract", "false", "fetch", "float", "for", "foreign", "freeze",
    "from", "full", "generated", "glob", "group", "grouping", "grouping_id", "having", "ilike", "in", "initially",
    "inner", "inout", "int", "integer", "intersect", "interval", "into", "is", "isnull", "join", "lambda",
    "lateral", "leading", "left", "like", "limit", "localtime", "localtimestamp", "map", "national", "natural",
    "nchar", "none", "not", "notnull", "null", "nullif", "numeric", "offset", "on", "only", "or", "order", "out",
    "outer", "overlaps", "overlay", "pivot", "pivot_longer", "pivot_wider", "placing", "position", "positional",
    "precision", "primary", "qualify", "real", "references", "returning", "right", "row", "rowid", "select", "semi",
    "session_user", "setof", "show", "similar", "smallint", "some", "struct", "substring", "summarize", "symmetric",
    "table", "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim", "true", "try_cast",
    "union", "unique", "unpack", "unpivot", "user", "using", "values", "varchar", "variadic", "verbose", "when",
    "where", "window", "with", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists", "xmlforest",
    "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
})  # fmt: skip


class NumberText(str):
    """A number as written in SQL; it never fits a text column."""

    __slots__ = ()


class Misfit(ValueError):
    """A value is not of the column's type; the message names the column and never the value."""


def sql_name(name: str) -> str:
    """A column name, quoted where it is no plain lower-case word."""
    plain = name.isascii() and name.isidentifier() and name == name.lower() and name not in _RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


def typed_value(value: Any, kind: DataType, *, name: str, from_text: bool = True) -> Any:
    """`value` as a Python value of type `kind`, exactly; `from_text`: a number is text, as SQL and YAML have it.

    Raises: `Misfit` if it is of another type, out of range or would lose digits.
    """
    number_text = isinstance(value, NumberText)
    try:
        typed: Any = None
        if kind == STRING:
            typed = str(value) if isinstance(value, str) and not number_text and "\0" not in value else None
        elif kind == BOOL:
            typed = value if isinstance(value, bool) else None
        elif kind.is_numeric:
            usable = (
                number_text if from_text else isinstance(value, int | float | Number) and not isinstance(value, bool)
            )
            typed = _number(value, kind) if usable else None
        elif kind == DATE or isinstance(kind, Temporal):
            typed = _moment(value, kind) if isinstance(value, str | date | time) and not number_text else None
    except (ValueError, InvalidOperation, OverflowError):
        typed = None
    if typed is None:
        raise Misfit(f"`{name}` is compared with something that is no {kind}. Write a constant of exactly that type")
    return typed


def _number(value: Any, kind: DataType) -> Any:
    with localcontext(prec=80):
        exact = Number(str(value))
        if not exact.is_finite():
            return None
        if kind.is_integer:
            limit = 2 ** _BITS[str(kind)]
            return int(exact) if exact == exact.to_integral_value() and -limit <= exact < limit else None
        if isinstance(kind, Decimal):
            scaled = exact.scaleb(kind.scale)
            fits = scaled == scaled.to_integral_value() and abs(scaled) < Number(10) ** kind.precision
            return exact.quantize(Number(1).scaleb(-kind.scale)) if fits else None
    return float(exact) if math.isfinite(float(exact)) else None


def _moment(value: Any, kind: DataType) -> Any:
    if kind == DATE:
        if isinstance(value, datetime):
            return None
        return value if isinstance(value, date) else date.fromisoformat(value)
    assert isinstance(kind, Temporal)
    if kind.name == "time":
        parsed_time = value if isinstance(value, time) else time.fromisoformat(value)
        return parsed_time if parsed_time.tzinfo is None else None
    parsed = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    zoned = kind.name == "timestamptz"
    if (parsed.tzinfo is not None) != zoned or (kind.unit == "ms" and parsed.microsecond % 1000):
        return None
    return parsed.astimezone(UTC) if zoned else parsed


def sql_literal(value: Any, kind: DataType) -> str:
    """A typed DuckDB literal of a value that `typed_value` gave."""
    from meshkit.types.duckdb import to_duckdb

    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value) if abs(value) < 2**63 else f"CAST('{value}' AS {to_duckdb(kind)})"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    text = repr(value) if isinstance(value, float) else str(value)
    if isinstance(kind, Primitive) and kind.name == "date":
        return f"DATE '{text}'"
    return f"CAST('{text}' AS {to_duckdb(kind)})"
