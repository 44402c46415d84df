"""`from_x(to_x(t)) == t` where the target can tell, the target's natural type where it can't."""

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from strategies import types

from meshkit.types import (
    DATE,
    FLOAT32,
    INT16,
    INT32,
    INT64,
    JSON,
    STRING,
    TIMESTAMP,
    Decimal,
    List,
    Map,
    Struct,
    StructField,
    Temporal,
    parse_type,
)
from meshkit.types.arrow import TypeConversionError, from_arrow, from_arrow_field, to_arrow_field
from meshkit.types.duckdb import from_duckdb, quote, to_duckdb
from meshkit.types.polars import from_polars, to_polars
from meshkit.types.postgres import from_postgres, to_postgres


def plain_keys(data_type):
    """The key of an Arrow map has no metadata: uuid and json keys are strings there."""
    if isinstance(data_type, Map):
        key = STRING if str(data_type.key) in {"uuid", "json"} else data_type.key
        return Map(key, plain_keys(data_type.value), data_type.value_required)
    if isinstance(data_type, List):
        return List(plain_keys(data_type.item), data_type.item_required)
    if isinstance(data_type, Struct):
        return Struct(tuple(StructField(f.name, plain_keys(f.type), f.required) for f in data_type.fields))
    return data_type


@settings(deadline=None, max_examples=150)
@given(types)
def test_arrow_carries_every_type(data_type):
    assert from_arrow_field(to_arrow_field("f", data_type)) == plain_keys(data_type)


@settings(deadline=None, max_examples=80)
@given(types)
def test_duckdb_accepts_and_describes_every_type_name(data_type):
    name = to_duckdb(data_type)
    with duckdb.connect() as connection:
        described = connection.execute(f"SELECT NULL::{name} AS c").description[0][1]
    assert from_duckdb(str(described)) == from_duckdb(name)


@settings(deadline=None, max_examples=80)
@given(types)
def test_polars_dtypes_are_constructible(data_type):
    dtype = to_polars(data_type)
    assert pl.Series([], dtype=dtype).dtype == dtype


@pytest.mark.parametrize(
    "text",
    ["int64", "decimal(12,2)", "timestamptz", "timestamp", "string", "bytes", "date", "list<int32>", "bool", "float32"],
)
def test_scalars_survive_polars(text):
    assert from_polars(to_polars(parse_type(text))) == parse_type(text)


@pytest.mark.parametrize(
    "text",
    [
        "bool",
        "int16",
        "int32",
        "int64",
        "float32",
        "float64",
        "decimal(9,3)",
        "string",
        "bytes",
        "date",
        "time",
        "uuid",
        "json",
        "list<int64>",
    ],
)
def test_scalars_survive_postgres(text):
    assert from_postgres(to_postgres(parse_type(text))) == parse_type(text)


def test_inbound_widening():
    assert from_arrow(pa.uint8()) == INT16
    assert from_arrow(pa.uint64()) == Decimal(20, 0)
    assert from_arrow(pa.float16()) == FLOAT32
    assert from_arrow(pa.dictionary(pa.int8(), pa.string())) == STRING
    assert from_polars(pl.UInt16()) == INT32
    assert from_postgres("timestamp(3) without time zone") == Temporal("timestamp", "ms")
    assert from_duckdb('STRUCT("a ""b" VARCHAR, c INTEGER[])') == Struct(
        (StructField('a "b', STRING), StructField("c", List(INT32)))
    )
    assert from_duckdb("MAP(VARCHAR, STRUCT(x BIGINT))") == Map(STRING, Struct((StructField("x", INT64),)))


@pytest.mark.parametrize(
    "convert, foreign",
    [(from_postgres, "numeric"), (from_postgres, "int4range"), (from_arrow, pa.null()), (from_duckdb, "BIT")],
)
def test_a_type_without_canonical_form_is_refused(convert, foreign):
    with pytest.raises(TypeConversionError):
        convert(foreign)


def test_exact_types_ride_along_in_arrow_metadata():
    assert from_arrow_field(to_arrow_field("f", JSON)) == JSON
    assert from_arrow(pa.date64()) == DATE
    assert from_arrow(pa.timestamp("us")) == TIMESTAMP


def test_quoting_doubles_quotes():
    assert quote('a"b') == '"a""b"'


@settings(deadline=None, max_examples=120)
@given(types)
def test_json_schema_carries_every_type(data_type):
    from meshkit.types.json_schema import from_json_schema, to_json_schema

    assert from_json_schema(to_json_schema(data_type)) == data_type


def test_json_schemas_accept_values_of_their_type():
    import jsonschema_rs

    from meshkit.types.json_schema import to_json_schema

    row = parse_type(
        "struct<id: int32 required, total: decimal(5,2), tags: list<string>, at: timestamptz, day: date, attrs: map<string, int8>>"
    )
    validator = jsonschema_rs.validator_for(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **to_json_schema(row)}
    )
    good = {
        "id": 1,
        "total": 999.99,
        "tags": ["a", None],
        "at": "2026-11-24T09:00:00Z",
        "day": "2026-11-24",
        "attrs": {"a": 1},
    }
    assert validator.is_valid(good)
    for bad in ({}, good | {"id": 2**31}, good | {"total": 1001}, good | {"attrs": {"a": 200}}, good | {"tags": [1]}):
        assert not validator.is_valid(bad)


def test_foreign_json_schemas_have_their_natural_type():
    from meshkit.types.json_schema import from_json_schema

    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": ["string", "null"], "format": "uuid"}},
        "required": ["a"],
    }
    assert from_json_schema(schema) == parse_type("struct<a: int64 required, b: uuid>")
    with pytest.raises(TypeConversionError):
        from_json_schema({"anyOf": [{"type": "string"}, {"type": "integer"}]})


@settings(deadline=None, max_examples=80)
@given(types)
def test_pydantic_annotations_carry_every_type(data_type):
    from pydantic import TypeAdapter

    from meshkit.types.pydantic import from_annotation, to_annotation

    annotation = to_annotation(data_type)
    TypeAdapter(annotation)
    assert from_annotation(annotation) == data_type


def test_a_model_is_a_row_type():
    from datetime import datetime
    from typing import Literal

    from pydantic import BaseModel, Field

    from meshkit.types.pydantic import from_annotation

    class Line(BaseModel):
        sku: str

    class Order(BaseModel):
        id: int
        total: __import__("decimal").Decimal = Field(max_digits=12, decimal_places=2)
        state: Literal["open", "paid"]
        at: datetime | None = None
        lines: list[Line]

    expected = "struct<id: int64 required, total: decimal(12,2) required, state: string required, at: timestamptz, lines: list<struct<sku: string required> required> required>"
    assert from_annotation(Order) == parse_type(expected)
