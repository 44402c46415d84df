"""`bucket(width)`: the value rounded down to a multiple of `width`, below zero too."""

from __future__ import annotations

import math
from decimal import Decimal as Number
from decimal import InvalidOperation, localcontext
from typing import TYPE_CHECKING, Any

from meshkit.masking.errors import MaskMisfit
from meshkit.masking.masks import Arguments, only
from meshkit.types import DataType, Decimal

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]

# Largest magnitude whose buckets are exact: all integers of the type, and all that a float holds without gaps.
_LIMITS = {"int8": 2**7, "int16": 2**15, "int32": 2**31, "int64": 2**63, "float32": 2**24, "float64": 2**53}
_MAX_WIDTH = 2**62


class Bucket:
    """Floor to a multiple. NaN, infinity and buckets that the type can't hold are NULL.

    Computed as `c - mod(mod(c, w) + w, w)` on whole numbers (floats are floored first: the same bucket, exactly) and decimals, so
    no engine's division or rounding can make a difference.
    """

    name, rank, keyed = "bucket", 1, False

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:
        only(self.name, given, "width")
        width = _width(given.get("width"))
        if data_type is not None:
            if isinstance(data_type, Decimal):
                if -_exponent(width) > data_type.scale or width >= Number(10) ** (38 - data_type.scale) / 2:
                    raise MaskMisfit(
                        f"`width` of mask `bucket` does not fit {data_type}. Use at most {data_type.scale} decimal places"
                    )
            elif self.fits(data_type) and width != width.to_integral_value():
                raise MaskMisfit(f"`width` of mask `bucket` on {data_type} is a whole number")
        whole = width == width.to_integral_value()
        return {"width": int(width) if whole else str(width)}

    def fits(self, data_type: DataType) -> bool:
        return str(data_type) in _LIMITS or isinstance(data_type, Decimal)

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:
        small, large = sorted((one, other), key=lambda a: Number(a["width"]))
        with localcontext(prec=60):
            nested = Number(large["width"]) % Number(small["width"]) == 0
        return large if nested else None  # overlapping buckets show more together than either

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        low, high = _range(data_type, args)
        with localcontext(prec=60):
            if not low <= value <= high:
                return None
            if isinstance(data_type, Decimal):
                width = Number(args["width"])
                result = value - ((value % width) + width) % width
                return result.quantize(Number(1).scaleb(-data_type.scale))
            whole = math.floor(value)
            return type(value)(whole - whole % args["width"])

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:
        from meshkit.types.duckdb import to_duckdb

        low, high = _range(data_type, args)
        target = to_duckdb(data_type)
        exact = f"DECIMAL(38,{data_type.scale})" if isinstance(data_type, Decimal) else "BIGINT"
        value = column if data_type.is_integer or isinstance(data_type, Decimal) else f"system.main.floor({column})"
        inner, width = f"CAST({value} AS {exact})", f"CAST('{args['width']}' AS {exact})"
        rest = f"system.main.mod(system.main.add(system.main.mod({inner}, {width}), {width}), {width})"
        bound = target if not data_type.is_integer else "HUGEINT"
        guard = f"{column} >= CAST('{low}' AS {bound}) AND {column} <= CAST('{high}' AS {bound})"
        return f"CASE WHEN {guard} THEN CAST(system.main.subtract({inner}, {rest}) AS {target}) ELSE NULL END"

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:  # noqa: ARG002
        import polars as pl

        from meshkit.types.polars import to_polars

        low, high = _range(data_type, args)
        target = to_polars(data_type)
        if isinstance(data_type, Decimal):
            exact: pl.DataType = pl.Decimal(38, data_type.scale)
            width = pl.lit(str(args["width"])).cast(exact)
            inner = (
                pl.when((column >= pl.lit(low).cast(target)) & (column <= pl.lit(high).cast(target)))
                .then(column)
                .cast(exact)
            )
        else:
            exact = pl.Int64()
            width = pl.lit(args["width"], dtype=exact)
            bound = pl.Int64() if data_type.is_integer else target
            compared = column.cast(pl.Int64) if data_type.is_integer else column
            inside = (
                (compared >= pl.lit(low, dtype=bound))
                & (compared <= pl.lit(high, dtype=bound))
                & compared.is_not_null()
            )
            if not data_type.is_integer:
                inside &= column.is_finite()
                column = column.floor()
            inner = pl.when(inside).then(column).cast(exact, strict=False)
        return (inner - inner % width).cast(target)


def _range(data_type: DataType, args: Arguments) -> tuple[Any, Any]:
    """Lowest value whose bucket the type can hold, and highest value of the type (of the exact floats)."""
    with localcontext(prec=60):
        width = Number(args["width"])
        if isinstance(data_type, Decimal):
            top = (Number(10) ** data_type.precision - 1).scaleb(-data_type.scale)
            return -(top // width) * width, top
        limit = _LIMITS[str(data_type)]
        low = -int(limit // width * width)
        return low, limit - 1 if data_type.is_integer else limit


def _width(value: Any) -> Number:
    try:
        width = Number(str(value)) if value is not None and not isinstance(value, bool) else Number(0)
    except InvalidOperation:
        width = Number(0)
    if not width.is_finite() or not 0 < width <= _MAX_WIDTH or _exponent(width) < -18:
        raise MaskMisfit("mask `bucket` needs `width`, a number above 0 and up to 2^62. Write {bucket: {width: 10000}}")
    return width


def _exponent(width: Number) -> int:
    return int(width.normalize().as_tuple().exponent)


MASK = Bucket()
