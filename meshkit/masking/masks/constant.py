"""`constant(value)`: one value of the policy in place of every value; nothing but nullness is read."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal as Number
from decimal import InvalidOperation, localcontext
from typing import TYPE_CHECKING, Any

from meshkit.masking.errors import MaskMisfit
from meshkit.masking.masks import Arguments, only, sql_text
from meshkit.types import BOOL, DATE, FLOAT64, STRING, DataType, Decimal

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]

_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}


class Constant:
    """Every value becomes `value`, which has the column's type: text, bool, integer, float64, decimal or date."""

    name, rank, keyed = "constant", 4, False

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:
        only(self.name, given, "value")
        if given.get("value") is None:
            raise MaskMisfit("mask `constant` needs `value`. Write {constant: {value: ...}}, or use `null`")
        if data_type is not None and self.fits(data_type):
            _typed(given["value"], data_type)
        return {"value": given["value"]}

    def fits(self, data_type: DataType) -> bool:
        return data_type in {STRING, BOOL, DATE, FLOAT64} or data_type.is_integer or isinstance(data_type, Decimal)

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:
        same = type(one["value"]) is type(other["value"]) and one["value"] == other["value"]
        return one if same else None

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        return None if value is None else _typed(args["value"], data_type)

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:
        from meshkit.types.duckdb import to_duckdb

        value = _typed(args["value"], data_type)
        literal = f"CAST({sql_text(repr(value) if isinstance(value, float) else str(value))} AS {to_duckdb(data_type)})"
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE {literal} END"

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:  # noqa: ARG002
        import polars as pl

        from meshkit.types.polars import to_polars

        value = pl.lit(_typed(args["value"], data_type)).cast(to_polars(data_type))
        return pl.when(column.is_not_null()).then(value)


def _typed(value: Any, data_type: DataType) -> Any:
    """The argument as a value of the column's type. Raises: `MaskMisfit`."""
    if data_type == STRING and isinstance(value, str) and "\0" not in value:
        return str(value)
    if data_type == BOOL and isinstance(value, bool):
        return value
    if data_type == DATE and isinstance(value, str | date):
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            pass
    if isinstance(value, int | float | str | Number) and not isinstance(value, bool):
        number = _number(value, data_type)
        if number is not None:
            return number
    raise MaskMisfit(f"`value` of mask `constant` is no {data_type}. Write one that is")


def _number(value: float | str | Number, data_type: DataType) -> Any:
    if isinstance(value, str) and not isinstance(data_type, Decimal):
        return None
    try:
        exact = Number(str(value))
    except InvalidOperation:
        return None
    if not exact.is_finite():
        return None
    if data_type == FLOAT64:
        return float(value) if math.isfinite(float(value)) else None
    if data_type.is_integer:
        limit = 2 ** _BITS[str(data_type)]
        return int(exact) if exact == exact.to_integral_value() and -limit <= exact < limit else None
    if isinstance(data_type, Decimal):
        with localcontext(prec=80):
            scaled = exact.scaleb(data_type.scale)
            fits = scaled == scaled.to_integral_value() and abs(scaled) < Number(10) ** data_type.precision
            return exact.quantize(Number(1).scaleb(-data_type.scale)) if fits else None
    return None


MASK = Constant()
