"""Query parameters of `GET /products/{domain}/{name}` to SQL with parameters. Pure: no input value becomes part of the text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from meshkit.gateway.problems import Problem
from meshkit.types import DataType, Primitive, Temporal
from meshkit.types.duckdb import quote, to_duckdb

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["ProductQuery", "read_query"]

_KNOWN = {"columns", "where", "limit", "cursor"}
_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
LARGEST_PAGE = 10_000
DEFAULT_PAGE = 1_000


class ProductQuery:
    """SQL and its parameters; `limit` is None where the caller named none."""

    def __init__(self, sql: str, parameters: dict[str, Any], limit: int | None) -> None:
        self.sql, self.parameters, self.limit = sql, parameters, limit


def read_query(manifest: Manifest, table: str, params: Sequence[tuple[str, str]]) -> ProductQuery:
    """Read the parameters. Raises: `Problem` 400 for an unknown parameter, column, operator or a value that is not of the column's type."""
    for name, _ in params:
        if name not in _KNOWN:
            raise _bad(
                f"there is no parameter {_shown(name)}. Known: {', '.join(sorted(_KNOWN))}", "gateway.unknown_parameter"
            )
    single = {name: [v for n, v in params if n == name] for name in ("columns", "limit", "cursor")}
    for name, values in single.items():
        if len(values) > 1:
            raise _bad(f"parameter {name} stands twice. Keep one", "gateway.repeated_parameter")
    if single["cursor"]:
        raise _bad(
            "paging by cursor follows in a later release. Stream with Accept: application/x-ndjson", "gateway.no_cursor"
        )
    fields = {name: f.data_type for name, f in manifest.objects[manifest.main_object].fields.items()}
    columns = [c for c in single["columns"][0].split(",") if c] if single["columns"] else []
    selected = ", ".join(quote(c) for c in columns) or "*"
    parameters: dict[str, Any] = {}
    conditions = [_condition(text, fields, parameters) for name, text in params if name == "where"]
    sql = f"SELECT {selected} FROM {table}" + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
    return ProductQuery(sql, parameters, _limit(single["limit"]))


def _limit(values: Sequence[str]) -> int | None:
    if not values:
        return None
    if not values[0].isdigit() or len(values[0]) > 9 or int(values[0]) > LARGEST_PAGE:
        raise _bad(f"limit is a number up to {LARGEST_PAGE:,}. Stream for more", "gateway.limit")
    return int(values[0])


def _condition(text: str, fields: Mapping[str, DataType], parameters: dict[str, Any]) -> str:
    """`column:op:value`; several are joined with AND. Values are compared with what the caller sees, masks included."""
    column, _, rest = text.partition(":")
    operator, has_value, value = rest.partition(":")
    # an unknown column is left to the gate, which answers the same for hidden and absent ones
    data_type = fields.get(column)
    name = quote(column)
    if operator in {"null", "notnull"}:
        if has_value:
            raise _bad(f"operator {operator} takes no value. Write where=column:{operator}", "gateway.where")
        return f"{name} IS {'NOT ' if operator == 'notnull' else ''}NULL"
    if not has_value:
        raise _bad("a condition is column:operator:value, for example where=total:ge:100", "gateway.where")
    if operator in _OPERATORS:
        return f"{name} {_OPERATORS[operator]} {_bound(value, data_type, parameters)}"
    if operator == "in":
        return f"{name} IN ({', '.join(_bound(v, data_type, parameters) for v in _listed(value))})"
    if operator == "between":
        ends = _listed(value)
        if len(ends) != 2:
            raise _bad("between takes two values: where=total:between:10,20", "gateway.where")
        return f"{name} BETWEEN {_bound(ends[0], data_type, parameters)} AND {_bound(ends[1], data_type, parameters)}"
    if operator == "prefix":
        return f"starts_with({name}, {_bound(value, data_type, parameters)})"
    known = ", ".join([*_OPERATORS, "in", "between", "prefix", "null", "notnull"])
    raise _bad(f"there is no such operator. Known: {known}", "gateway.where")


def _listed(text: str) -> list[str]:
    """Comma-separated values; one with a comma is a JSON string."""
    try:
        if text.startswith('"'):
            return [str(v) for v in json.loads(f"[{text}]")]
    except ValueError:
        raise _bad('a list of JSON strings can\'t be read. Write where=name:in:"a,b","c"', "gateway.where") from None
    return text.split(",")


def _bound(text: str, data_type: DataType | None, parameters: dict[str, Any]) -> str:
    name = f"p{len(parameters)}"
    parameters[name] = _typed(text, data_type)
    return (
        f"CAST(:{name} AS {to_duckdb(data_type)})" if data_type is not None and not data_type.is_nested else f":{name}"
    )


def _typed(text: str, data_type: DataType | None) -> Any:
    try:
        if isinstance(data_type, Primitive):
            return _primitive(text, data_type)
        if isinstance(data_type, Temporal):
            if data_type.name == "time":
                return time.fromisoformat(text)
            return datetime.fromisoformat(text)
        if data_type is not None and data_type.is_numeric:
            return Decimal(text)
    except (ValueError, InvalidOperation):
        raise _bad(f"a value is not of the column's type {data_type}", "gateway.value") from None
    return text


def _primitive(text: str, data_type: Primitive) -> Any:
    if data_type.name == "bool":
        if text not in {"true", "false"}:
            raise ValueError
        return text == "true"
    if data_type.is_integer:
        return int(text)
    if data_type.is_numeric:
        return float(text)
    return date.fromisoformat(text) if data_type.name == "date" else text


def _bad(message: str, code: str) -> Problem:
    return Problem(400, message, code=code)


def _shown(name: str) -> str:
    return repr("".join(c if c.isprintable() else "?" for c in name[:40]))
