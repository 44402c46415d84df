"""Row checks as DuckDB expressions: each counts the violations of one row, so that one scan answers all. Pure text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal as Number
from typing import Any

from meshkit.contracts.quality.checks import FORMATS, Check, portable_pattern
from meshkit.types import DataType, Primitive
from meshkit.types.duckdb import quote, to_duckdb

__all__ = ["Unsupported", "literal", "string_literal", "violations"]


class Unsupported(ValueError):
    """A check that this engine can't express; reported, never skipped."""


def string_literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def literal(value: Any, data_type: DataType) -> str:
    """A bound or enum value as a literal of the field's type."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | Number):
        return (
            str(value)
            if isinstance(data_type, Primitive) and data_type.is_integer
            else f"{value:f}"
            if isinstance(value, Number)
            else str(value)
        )
    if isinstance(value, date | datetime | time):
        return f"CAST({string_literal(value.isoformat())} AS {to_duckdb(data_type)})"
    return f"CAST({string_literal(str(value))} AS {to_duckdb(data_type)})"


def violations(check: Check) -> str:
    """SQL that gives the number of violations in a row (0 or 1 for a plain column, more for list items).

    Raises: `Unsupported`.
    """
    assert check.data_type is not None
    test = _test(check)
    return _count(quote(check.steps[0]), check.steps[1:], test, "TRUE", required=check.kind == "required", depth=0)


Test = Callable[[str], str]


def _count(value: str, steps: tuple[str, ...], test: Test, guard: str, *, required: bool, depth: int) -> str:
    """Descend along the steps: members under the guard that their parent is there, items by list_transform."""
    if not steps:
        condition = f"{value} IS NULL" if required else f"{value} IS NOT NULL AND ({test(value)})"
        return f"(CASE WHEN {guard} AND {condition} THEN 1 ELSE 0 END)"
    step, rest = steps[0], steps[1:]
    if step in {"[]", "{}"}:
        items = value if step == "[]" else f"map_values({value})"
        name = f"x{depth}"
        inner = _count(name, rest, test, "TRUE", required=required, depth=depth + 1)
        return f"(CASE WHEN {guard} AND {value} IS NOT NULL THEN coalesce(list_sum(list_transform({items}, lambda {name}: {inner})), 0) ELSE 0 END)"
    return _count(
        f"struct_extract({value}, {string_literal(step)})",
        rest,
        test,
        f"{guard} AND {value} IS NOT NULL",
        required=required,
        depth=depth,
    )


def _test(check: Check) -> Test:
    """SQL of the violation of a value that is not null."""
    kind, argument, data_type = check.kind, check.argument, check.data_type
    assert data_type is not None
    floating = isinstance(data_type, Primitive) and data_type.name in {"float32", "float64"}
    if kind == "required":
        return lambda v: f"{v} IS NULL"
    if kind in {"min", "max", "exclusive_min", "exclusive_max"}:
        operator = {"min": "<", "max": ">", "exclusive_min": "<=", "exclusive_max": ">="}[kind]
        bound = literal(argument, data_type)
        return (
            (lambda v: f"{v} {operator} {bound} OR isnan({v})") if floating else (lambda v: f"{v} {operator} {bound}")
        )
    if kind == "multiple_of":
        if floating:
            return lambda v: f"NOT isfinite({v}) OR abs({v} / {argument} - round({v} / {argument})) > 1e-9"
        return lambda v: f"({v}) % {argument} <> 0"
    if kind in {"min_length", "max_length"}:
        size = "octet_length" if str(data_type) == "bytes" else "length"
        return lambda v: f"{size}({v}) {'<' if kind == 'min_length' else '>'} {argument}"
    if kind in {"min_items", "max_items"}:
        return lambda v: (
            f"{'cardinality' if str(data_type).startswith('map') else 'len'}({v}) {'<' if kind == 'min_items' else '>'} {argument}"
        )
    if kind == "unique_items":
        return lambda v: f"len(list_distinct({v})) < len(list_filter({v}, lambda e: e IS NOT NULL))"
    if kind == "enum":
        members = ", ".join(literal(value, data_type) for value in argument)
        return lambda v: f"{v} NOT IN ({members})"
    return _pattern_test(check)


def _pattern_test(check: Check) -> Test:
    text = check.argument
    if check.kind == "format":
        if text not in FORMATS:
            raise Unsupported(f"format {text!r} is not known here. Use a pattern, or one of {', '.join(FORMATS)}")
        text = FORMATS[text]
    try:
        pattern = string_literal(portable_pattern(text, engine="re2"))
    except ValueError as error:
        raise Unsupported(f"the pattern has {error}. Write the set out") from None
    return lambda v: f"NOT regexp_matches({v}, {pattern})"
