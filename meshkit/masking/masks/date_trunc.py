"""`date.trunc(unit, oldest_year=1930)`: the first day of the year, quarter or month, in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshkit.masking.errors import MaskMisfit
from meshkit.masking.masks import Arguments, only, whole_number
from meshkit.types import DATE, DataType, Temporal

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]

_UNITS = ("month", "quarter", "year")  # fine to coarse
_POLARS = {"month": "1mo", "quarter": "1q", "year": "1y"}


class DateTrunc:
    """First day of the period; years before `oldest_year` become its 1 January, so that the very old do not stand out."""

    name, rank, keyed = "date.trunc", 1, False

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:  # noqa: ARG002
        only(self.name, given, "unit", "oldest_year")
        unit = given.get("unit", "year")
        if unit not in _UNITS:
            raise MaskMisfit(f"`unit` of mask `date.trunc` is one of {', '.join(_UNITS)}")
        # nanosecond timestamps begin in 1677
        return {
            "unit": str(unit),
            "oldest_year": whole_number(self.name, "oldest_year", given.get("oldest_year", 1930), 1678, 2200),
        }

    def fits(self, data_type: DataType) -> bool:
        return data_type == DATE or (isinstance(data_type, Temporal) and data_type.name != "time")

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:
        unit = max(one["unit"], other["unit"], key=_UNITS.index)
        return {"unit": unit, "oldest_year": max(one["oldest_year"], other["oldest_year"])}

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        if value is None:
            return None
        zoned = isinstance(value, datetime) and value.tzinfo is not None
        day = _utc_day(value) if zoned else value
        month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[args["unit"]]
        first = date(args["oldest_year"], 1, 1) if day.year < args["oldest_year"] else date(day.year, month, 1)
        if not isinstance(value, datetime):
            return first
        return datetime(first.year, first.month, 1, tzinfo=UTC if zoned else None)

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:
        from meshkit.types.duckdb import to_duckdb

        zoned = isinstance(data_type, Temporal) and data_type.name == "timestamptz"
        moment = column
        if zoned:  # not `AT TIME ZONE`: that is an extension's function, and the session's zone must not matter
            moment = f"system.main.make_timestamp(system.main.epoch_us({column}))"
        elif data_type != DATE:
            moment = f"TRY_CAST({column} AS TIMESTAMP)"
        day = (
            f"CASE WHEN system.main.year({moment}) < {args['oldest_year']} THEN DATE '{args['oldest_year']}-01-01' "
            f"ELSE CAST(system.main.date_trunc('{args['unit']}', {moment}) AS DATE) END"
        )
        first = (
            f"system.main.to_timestamp(system.main.epoch(CAST({day} AS TIMESTAMP)))"
            if zoned
            else f"CAST({day} AS {to_duckdb(data_type)})"
        )
        finite = column if zoned or data_type == DATE else moment
        return f"CASE WHEN {column} IS NULL OR NOT system.main.isfinite({finite}) THEN NULL ELSE {first} END"

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:  # noqa: ARG002
        import polars as pl

        from meshkit.types.polars import to_polars

        oldest = pl.lit(date(args["oldest_year"], 1, 1))
        first = column.cast(pl.Date).dt.truncate(_POLARS[args["unit"]])
        day = pl.when(column.dt.year() < args["oldest_year"]).then(oldest).when(column.is_not_null()).then(first)
        target = to_polars(data_type)
        if isinstance(data_type, Temporal) and data_type.name == "timestamptz":
            return day.cast(pl.Datetime(data_type.unit)).dt.replace_time_zone("UTC")
        return day.cast(target)


def _utc_day(value: datetime) -> date:
    """The day in UTC, also within a day of the calendar's ends, where `astimezone` raises."""
    try:
        return value.astimezone(UTC).date()
    except OverflowError:
        offset = value.utcoffset() or timedelta()
        return date.max if offset < timedelta() else date.min


MASK = DateTrunc()
