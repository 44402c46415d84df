"""Row checks as polars expressions: the number of violations in each row. Equal to `duck.py` on every value (conformance test)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshkit.contracts.quality.checks import FORMATS, Check, portable_pattern
from meshkit.contracts.quality.duck import Unsupported
from meshkit.types import Map, Primitive
from meshkit.types.polars import to_polars

if TYPE_CHECKING:
    import polars as pl

__all__ = ["violations"]

Test = Callable[["pl.Expr"], "pl.Expr"]


def violations(check: Check) -> pl.Expr:
    """UInt32 expression: how often the row breaks the check. Raises: `Unsupported`."""
    import polars as pl

    counted = _count(
        pl.col(check.steps[0]), check.steps[1:], _test(check), pl.lit(True), required=check.kind == "required"
    )
    return counted.cast(pl.UInt32).fill_null(0)


def _count(value: pl.Expr, steps: tuple[str, ...], test: Test, guard: pl.Expr, *, required: bool) -> pl.Expr:
    import polars as pl

    if not steps:
        condition = value.is_null() if required else value.is_not_null() & test(value)
        return (guard & condition).fill_null(value=False).cast(pl.UInt32)
    step, rest = steps[0], steps[1:]
    if step in {"[]", "{}"}:
        items = value if step == "[]" else value.map.values()
        inner = _count(pl.element(), rest, test, pl.lit(True), required=required)
        return pl.when(guard).then(items.list.eval(inner).list.sum()).otherwise(0)
    return _count(value.struct.field(step), rest, test, guard & value.is_not_null(), required=required)


def _test(check: Check) -> Test:
    import polars as pl

    kind, argument, data_type = check.kind, check.argument, check.data_type
    assert data_type is not None
    floating = isinstance(data_type, Primitive) and data_type.name in {"float32", "float64"}
    if kind == "required":
        return lambda v: v.is_null()
    if kind in {"min", "max", "exclusive_min", "exclusive_max"}:
        bound = _bound(argument, check)
        compared: dict[str, Test] = {
            "min": lambda v: v < bound, "max": lambda v: v > bound,
            "exclusive_min": lambda v: v <= bound, "exclusive_max": lambda v: v >= bound,
        }  # fmt: skip
        plain = compared[kind]
        return (lambda v: plain(v) | v.is_nan()) if floating else plain
    if kind == "multiple_of":
        if floating:
            return lambda v: ~v.is_finite() | ((v / argument - (v / argument).round()).abs() > 1e-9)
        return lambda v: v % pl.lit(argument) != 0
    if kind in {"min_length", "max_length"}:
        size: Test = (lambda v: v.bin.size()) if str(data_type) == "bytes" else (lambda v: v.str.len_chars())
        return (lambda v: size(v) < argument) if kind == "min_length" else (lambda v: size(v) > argument)
    if kind in {"min_items", "max_items"}:
        items: Test = (lambda v: v.map.len()) if isinstance(data_type, Map) else (lambda v: v.list.len())
        return (lambda v: items(v) < argument) if kind == "min_items" else (lambda v: items(v) > argument)
    if kind == "unique_items":
        return lambda v: v.list.drop_nulls().list.n_unique() < v.list.drop_nulls().list.len()
    if kind == "enum":
        members = pl.Series(list(argument), dtype=to_polars(data_type), strict=False)
        return lambda v: ~v.is_in(members.implode())
    return _pattern_test(check)


def _bound(argument: Any, check: Check) -> pl.Expr:
    import polars as pl

    assert check.data_type is not None
    if isinstance(check.data_type, Primitive) and check.data_type.is_integer:
        return pl.lit(argument)
    if str(check.data_type).startswith("decimal"):
        return pl.lit(argument)
    return pl.lit(float(argument) if check.data_type.is_numeric else argument).cast(to_polars(check.data_type))


def _pattern_test(check: Check) -> Test:
    text = check.argument
    if check.kind == "format":
        if text not in FORMATS:
            raise Unsupported(f"format {text!r} is not known here. Use a pattern, or one of {', '.join(FORMATS)}")
        text = FORMATS[text]
    try:
        pattern = portable_pattern(text, engine="rust")
    except ValueError as error:
        raise Unsupported(f"the pattern has {error}. Write the set out") from None
    return lambda v: ~v.str.contains(pattern)
