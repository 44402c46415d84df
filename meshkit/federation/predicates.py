"""Conditions of the query that may run in the source: total by form, constants of exactly the column's type.

Total means: cannot raise on any value. One that can raise, run beside a row filter, shows hidden rows in its error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal as Number
from typing import Any

from meshkit.federation.statement import And, Between, Compare, Constant, InList, IsNull, Not, Or, Predicate
from meshkit.types import FLOAT64, DataType, Decimal, Primitive, Temporal

__all__ = ["columns_of", "conjuncts", "constant_sql", "predicate_of", "to_duckdb"]

_OPS = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_INT_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
MAX_LIST = 1_000

Find = Callable[[Any], tuple[str, DataType] | None]  # a Column node of this relation -> its contract column, else None


def conjuncts(node: Any) -> list[Any]:
    """Parts of a condition that must all hold."""
    found, stack = [], [node]
    while stack:
        part = stack.pop()
        name = type(part).__name__
        if name == "And":
            stack.extend((part.expression, part.this))
        elif name == "Paren":
            stack.append(part.this)
        else:
            found.append(part)
    return found


def predicate_of(node: Any, find: Find, parameters: Mapping[str, Any], depth: int = 0) -> Predicate | None:
    """The condition as a value if it is total by form and about one relation; else None, and it stays above."""
    name = type(node).__name__
    if depth > 40:
        return None
    if name == "Paren":
        return predicate_of(node.this, find, parameters, depth + 1)
    if name == "Not":
        part = predicate_of(node.this, find, parameters, depth + 1)
        return None if part is None else Not(part)
    if name in {"And", "Or"}:
        left = predicate_of(node.this, find, parameters, depth + 1)
        right = predicate_of(node.expression, find, parameters, depth + 1)
        if left is None or right is None:
            return None
        return And((left, right)) if name == "And" else Or((left, right))
    if name in _OPS:
        return _compare(node, _OPS[name], find, parameters)
    if name == "Is" and type(node.expression).__name__ == "Null":
        column = _column(node.this, find)
        return None if column is None else IsNull(column[0])
    if name == "Between" and not node.args.get("symmetric"):
        column = _column(node.this, find)
        if column is None:
            return None
        low, high = (_constant(node.args[k], column[1], parameters) for k in ("low", "high"))
        return None if low is None or high is None else Between(column[0], low, high)
    if name == "In" and not node.args.get("query") and not node.args.get("unnest") and not node.args.get("field"):
        return _in_list(node, find, parameters)
    return None


def _column(node: Any, find: Find) -> tuple[str, DataType] | None:
    while type(node).__name__ == "Paren":
        node = node.this
    return find(node) if type(node).__name__ == "Column" else None


def _compare(node: Any, op: str, find: Find, parameters: Mapping[str, Any]) -> Predicate | None:
    for side, other, operator in ((node.this, node.expression, op), (node.expression, node.this, _FLIPPED[op])):
        column = _column(side, find)
        if column is not None:
            value = _constant(other, column[1], parameters)
            return None if value is None else Compare(column[0], operator, value)  # type: ignore[arg-type]
    return None


def _in_list(node: Any, find: Find, parameters: Mapping[str, Any]) -> Predicate | None:
    column = _column(node.this, find)
    if column is None or not node.expressions or len(node.expressions) > MAX_LIST:
        return None
    values = tuple(_constant(e, column[1], parameters) for e in node.expressions)
    known = tuple(v for v in values if v is not None)
    return InList(column[0], known) if len(known) == len(values) else None


def _constant(node: Any, data_type: DataType, parameters: Mapping[str, Any]) -> Constant | None:
    """The literal as a value of exactly `data_type`, else None. NULL is no constant: its comparisons stay above."""
    name, sign = type(node).__name__, 1
    while name in {"Paren", "Neg"}:
        sign, node = (-sign if name == "Neg" else sign), node.this
        name = type(node).__name__
    if name == "Literal":
        exponent = not node.is_string and "e" in str(node.this).lower()
        if exponent and data_type != FLOAT64:
            return None  # 1e5 is a DOUBLE: comparing with it rounds the column
        raw: Any = str(node.this) if node.is_string else Number(str(node.this))
    elif name == "Boolean":
        raw = bool(node.this)
    elif name == "Placeholder" and node.args.get("this"):
        raw = parameters.get(str(node.this))
        raw = Number(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    elif name == "Cast" and type(node.this).__name__ == "Literal" and node.this.is_string:
        return _of_type(str(node.this.this), data_type) if _same_type(node, data_type) and sign == 1 else None
    else:
        return None
    if sign == -1:
        if not isinstance(raw, Number):
            return None
        raw = -raw
    return _of_type(raw, data_type)


def _same_type(cast: Any, data_type: DataType) -> bool:
    written = cast.args["to"].sql(dialect="duckdb").upper()
    wanted = {"date": {"DATE"}, "timestamp": {"TIMESTAMP"}, "timestamptz": {"TIMESTAMPTZ"}}
    return written in wanted.get(str(data_type), set())


def _of_type(raw: Any, data_type: DataType) -> Constant | None:
    if isinstance(data_type, Primitive):
        if data_type.name in _INT_BITS:
            limit = 1 << (_INT_BITS[data_type.name] - 1)
            whole = isinstance(raw, Number) and raw.is_finite() and raw == raw.to_integral_value()
            return int(raw) if whole and -limit <= raw < limit else None
        if data_type.name == "string":
            return raw if isinstance(raw, str) and "\x00" not in raw else None
        if data_type.name == "float64":
            return _double(raw)
        if data_type.name == "bool":
            return raw if isinstance(raw, bool) else None
        if data_type.name == "date":
            return _date(raw)
    if isinstance(data_type, Decimal):
        return _decimal(raw, data_type)
    if isinstance(data_type, Temporal) and data_type.unit == "us" and data_type.name in {"timestamp", "timestamptz"}:
        return _instant(raw, zoned=data_type.name == "timestamptz")
    return None


def _double(raw: Any) -> float | None:
    """Numbers that every reader turns into the same double: at most 15 digits, a small exponent."""
    if (
        not isinstance(raw, Number)
        or not raw.is_finite()
        or len(raw.as_tuple().digits) > 15
        or not -20 <= raw.adjusted() <= 20
    ):
        return None
    return float(raw)


def _decimal(raw: Any, data_type: Decimal) -> Number | None:
    if not isinstance(raw, Number) or not raw.is_finite() or len(raw.as_tuple().digits) > 60:
        return None
    exponent = raw.normalize().as_tuple().exponent
    fits = (
        isinstance(exponent, int)
        and -exponent <= data_type.scale
        and abs(raw) < Number(10) ** (data_type.precision - data_type.scale)
    )
    return raw if fits else None


def _date(raw: Any) -> date | None:
    if isinstance(raw, datetime):
        return None
    if isinstance(raw, date):
        return raw
    try:
        return date.fromisoformat(raw) if isinstance(raw, str) and len(raw) == 10 else None
    except ValueError:
        return None


def _instant(raw: Any, *, zoned: bool) -> datetime | None:
    try:
        at = (
            raw
            if isinstance(raw, datetime)
            else datetime.fromisoformat(raw)
            if isinstance(raw, str) and len(raw) >= 10
            else None
        )
        if at is None or (at.tzinfo is not None) != zoned:
            return None
        return at.astimezone(UTC) if zoned else at
    except (ValueError, OverflowError):
        return None


def columns_of(predicate: Predicate) -> set[str]:
    """Columns a predicate looks at."""
    if isinstance(predicate, Not):
        return columns_of(predicate.part)
    if isinstance(predicate, And | Or):
        return set().union(*(columns_of(p) for p in predicate.parts))
    return {predicate.column}


def constant_sql(value: Constant) -> str:
    """A typed literal, the same in DuckDB and Postgres (standard_conforming_strings on)."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime):
        kind = "TIMESTAMPTZ" if value.tzinfo is not None else "TIMESTAMP"
        return f"CAST('{value.isoformat(sep=' ')}' AS {kind})"
    if isinstance(value, date):
        return f"CAST('{value.isoformat()}' AS DATE)"
    if isinstance(value, float):
        return f"CAST('{value!r}' AS DOUBLE PRECISION)"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"{value:f}" if isinstance(value, Number) else str(value)


def to_duckdb(predicate: Predicate, column_sql: Callable[[str], str]) -> str:
    """The predicate as SQL text; `column_sql` gives the quoted expression of a column."""
    if isinstance(predicate, Compare):
        return f"({column_sql(predicate.column)} {predicate.op} {constant_sql(predicate.value)})"
    if isinstance(predicate, Between):
        return (
            f"({column_sql(predicate.column)} BETWEEN {constant_sql(predicate.low)} AND {constant_sql(predicate.high)})"
        )
    if isinstance(predicate, InList):
        return f"({column_sql(predicate.column)} IN ({', '.join(map(constant_sql, predicate.values))}))"
    if isinstance(predicate, IsNull):
        return f"({column_sql(predicate.column)} IS NULL)"
    if isinstance(predicate, Not):
        return f"(NOT {to_duckdb(predicate.part, column_sql)})"
    word = " AND " if isinstance(predicate, And) else " OR "
    return "(" + word.join(to_duckdb(p, column_sql) for p in predicate.parts) + ")"
