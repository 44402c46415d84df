"""Canonical types to and from Apache Arrow. What Arrow can't tell rides along as `meshkit.type` in field metadata."""

from __future__ import annotations

from typing import Any

from meshkit.errors import MeshkitError
from meshkit.types import model as m
from meshkit.types.text import parse_type

__all__ = ["TypeConversionError", "from_arrow", "from_arrow_field", "schema_of", "to_arrow", "to_arrow_field"]

METADATA_KEY = b"meshkit.type"


class TypeConversionError(MeshkitError):
    """A type of another system that has no canonical type, or the reverse."""

    code = "types.no_equivalent"


def to_arrow(data_type: m.DataType) -> Any:
    """The natural Arrow type: decimal128, time64[us], timestamp[us, UTC], month_day_nano, list, struct, map."""
    import pyarrow as pa

    if isinstance(data_type, m.Primitive):
        return _primitives(pa)[data_type.name]
    if isinstance(data_type, m.Decimal):
        return pa.decimal128(data_type.precision, data_type.scale)
    if isinstance(data_type, m.Temporal):
        if data_type.name == "time":
            return pa.time32("ms") if data_type.unit == "ms" else pa.time64(data_type.unit)
        return pa.timestamp(data_type.unit, tz="UTC" if data_type.name == "timestamptz" else None)
    if isinstance(data_type, m.List):
        return pa.list_(to_arrow_field("item", data_type.item, required=data_type.item_required))
    if isinstance(data_type, m.Map):
        value = to_arrow_field("value", data_type.value, required=data_type.value_required)
        return pa.map_(to_arrow(data_type.key), value)
    assert isinstance(data_type, m.Struct)
    return pa.struct([to_arrow_field(f.name, f.type, required=f.required) for f in data_type.fields])


def _primitives(pa: Any) -> dict[str, Any]:
    return {
        "bool": pa.bool_(), "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(), "float32": pa.float32(),
        "float64": pa.float64(), "string": pa.string(), "bytes": pa.binary(), "date": pa.date32(), "interval": pa.month_day_nano_interval(),
        "uuid": pa.string(), "json": pa.string(),
    }  # fmt: skip


def to_arrow_field(name: str, data_type: m.DataType, *, required: bool = False) -> Any:
    """A named Arrow field; uuid and json are strings whose exact type stands in the metadata."""
    import pyarrow as pa

    exact = isinstance(data_type, m.Primitive) and data_type.name in {"uuid", "json"}
    metadata = {METADATA_KEY: str(data_type).encode()} if exact else None
    return pa.field(name, to_arrow(data_type), nullable=not required, metadata=metadata)


def schema_of(row: m.Struct) -> Any:
    """Arrow schema of a row type."""
    import pyarrow as pa

    return pa.schema([to_arrow_field(f.name, f.type, required=f.required) for f in row.fields])


def from_arrow_field(field: Any) -> m.DataType:
    """Canonical type of a field: the metadata's word first, else the natural one. Raises: `TypeConversionError`."""
    if field.metadata and METADATA_KEY in field.metadata:
        return parse_type(field.metadata[METADATA_KEY].decode())
    return from_arrow(field.type)


def from_arrow(arrow: Any) -> m.DataType:
    """Canonical type of an Arrow type. Unsigned integers become the next wider signed, dictionaries their values.

    Raises: `TypeConversionError` naming the Arrow type that has no canonical one.
    """
    import pyarrow as pa

    t = pa.types
    if t.is_dictionary(arrow):
        return from_arrow(arrow.value_type)
    simple = {
        pa.bool_(): m.BOOL, pa.int8(): m.INT8, pa.int16(): m.INT16, pa.int32(): m.INT32, pa.int64(): m.INT64, pa.uint8(): m.INT16,
        pa.uint16(): m.INT32, pa.uint32(): m.INT64, pa.uint64(): m.Decimal(20, 0), pa.float16(): m.FLOAT32, pa.float32(): m.FLOAT32,
        pa.float64(): m.FLOAT64, pa.string(): m.STRING, pa.large_string(): m.STRING, pa.string_view(): m.STRING, pa.binary(): m.BYTES,
        pa.large_binary(): m.BYTES, pa.binary_view(): m.BYTES, pa.date32(): m.DATE, pa.date64(): m.DATE, pa.month_day_nano_interval(): m.INTERVAL,
        pa.time32("s"): m.Temporal("time", "ms"), pa.time32("ms"): m.Temporal("time", "ms"), pa.time64("us"): m.TIME, pa.time64("ns"): m.TIME,
    }  # fmt: skip
    if arrow in simple:
        return simple[arrow]
    if t.is_decimal(arrow) and arrow.precision <= 38 and 0 <= arrow.scale <= arrow.precision:
        return m.Decimal(arrow.precision, arrow.scale)
    if t.is_timestamp(arrow):
        unit: Any = "ms" if arrow.unit == "s" else arrow.unit
        return m.Temporal("timestamptz" if arrow.tz else "timestamp", unit)
    if t.is_fixed_size_binary(arrow):
        return m.BYTES
    return _nested(arrow, t)


def _nested(arrow: Any, t: Any) -> m.DataType:
    if (
        t.is_list(arrow)
        or t.is_large_list(arrow)
        or t.is_fixed_size_list(arrow)
        or t.is_list_view(arrow)
        or t.is_large_list_view(arrow)
    ):
        return m.List(from_arrow_field(arrow.value_field), not arrow.value_field.nullable)
    if t.is_map(arrow):
        return m.Map(from_arrow(arrow.key_type), from_arrow_field(arrow.item_field), not arrow.item_field.nullable)
    if t.is_struct(arrow):
        fields = (arrow.field(i) for i in range(arrow.num_fields))
        return m.Struct(tuple(m.StructField(f.name, from_arrow_field(f), not f.nullable) for f in fields))
    name = str(arrow)
    if getattr(arrow, "extension_name", "") in {"arrow.uuid", "arrow.json"}:
        return m.UUID if arrow.extension_name == "arrow.uuid" else m.JSON
    raise TypeConversionError(
        f"Arrow type {name} has no canonical type. Cast it, for example to string or decimal(p,s)"
    )
