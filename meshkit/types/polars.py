"""Canonical types to and from polars dtypes. uuid and json are String, interval is Struct(months, days, nanoseconds)."""

from __future__ import annotations

from typing import Any

from meshkit.types import model as m
from meshkit.types.arrow import TypeConversionError

__all__ = ["from_polars", "to_polars"]


def _primitives() -> dict[str, Any]:
    import polars as pl

    return {
        "bool": pl.Boolean(), "int8": pl.Int8(), "int16": pl.Int16(), "int32": pl.Int32(), "int64": pl.Int64(), "float32": pl.Float32(),
        "float64": pl.Float64(), "string": pl.String(), "bytes": pl.Binary(), "date": pl.Date(), "uuid": pl.String(), "json": pl.String(),
        "interval": pl.Struct({"months": pl.Int32(), "days": pl.Int32(), "nanoseconds": pl.Int64()}),
    }  # fmt: skip


def to_polars(data_type: m.DataType) -> Any:
    """The natural polars dtype."""
    import polars as pl

    if isinstance(data_type, m.Primitive):
        return _primitives()[data_type.name]
    if isinstance(data_type, m.Decimal):
        return pl.Decimal(data_type.precision, data_type.scale)
    if isinstance(data_type, m.Temporal):
        if data_type.name == "time":
            return pl.Time()
        return pl.Datetime(data_type.unit, "UTC" if data_type.name == "timestamptz" else None)
    if isinstance(data_type, m.List):
        return pl.List(to_polars(data_type.item))
    if isinstance(data_type, m.Map):
        return pl.Map(to_polars(data_type.key), to_polars(data_type.value))
    assert isinstance(data_type, m.Struct)
    return pl.Struct({f.name: to_polars(f.type) for f in data_type.fields})


def from_polars(dtype: Any) -> m.DataType:
    """Canonical type of a polars dtype. Raises: `TypeConversionError`."""
    import polars as pl

    for name, known in _primitives().items():
        if dtype == known and name not in {"uuid", "json"}:
            return m.Primitive(name)  # type: ignore[arg-type]
    unsigned = {pl.UInt8(): m.INT16, pl.UInt16(): m.INT32, pl.UInt32(): m.INT64, pl.UInt64(): m.Decimal(20, 0)}
    if dtype in unsigned:
        return unsigned[dtype]
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return m.STRING
    if isinstance(dtype, pl.Decimal):
        return m.Decimal(dtype.precision or 38, dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return m.Temporal("timestamptz" if dtype.time_zone else "timestamp", dtype.time_unit)
    if isinstance(dtype, pl.Time):
        return m.TIME
    if isinstance(dtype, pl.List | pl.Array):
        return m.List(from_polars(dtype.inner))
    if isinstance(dtype, pl.Map):
        return m.Map(from_polars(dtype.key), from_polars(dtype.value))
    if isinstance(dtype, pl.Struct):
        return m.Struct(tuple(m.StructField(f.name, from_polars(f.dtype)) for f in dtype.fields))
    raise TypeConversionError(f"polars type {dtype} has no canonical type. Cast it")
