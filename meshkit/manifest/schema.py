"""The `schema` of a manifest: objects, their fields at any depth, and quality rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal as Number
from decimal import InvalidOperation
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from meshkit import _yaml
from meshkit.manifest.scalars import Count, Day, Flag, Free, Identifier, Scalar, Tag, Text, ThresholdText
from meshkit.types import DataType, List, Map, Primitive, Struct, StructField, Temporal, TypeTextError, parse_type

__all__ = ["CLASSES", "DataObject", "Deprecation", "FieldSchema", "QualityRule", "Value", "is_personal"]

CLASSES = ("public", "internal", "confidential", "restricted")

Value = int | Number | bool | str | date | datetime | time


class Part(BaseModel):
    """A part of a manifest: frozen, unknown keys refused, `None` and defaults left out of dumps."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)


class Deprecation(Part):
    """That something goes away: since which version, until when it stays, what replaces it."""

    since: Identifier | None = None
    sunset: Day | None = None
    replacement: Identifier | None = None


class FieldSchema(Part):
    """One field. `data_type` is its full canonical type; `required` = present and not null. Source: manifest section 2."""

    type: Identifier
    items: FieldSchema | None = None
    keys: FieldSchema | None = None
    values: FieldSchema | None = None
    fields: dict[str, FieldSchema] = Field(default_factory=dict)
    required: Flag = False
    unique: Flag = False
    key: Count | None = None
    references: Identifier | None = None
    enum: list[Scalar] | None = None
    open_enum: Flag = False
    min: Scalar | None = None
    max: Scalar | None = None
    exclusive_min: Scalar | None = None
    exclusive_max: Scalar | None = None
    multiple_of: Scalar | None = None
    min_length: Count | None = None
    max_length: Count | None = None
    min_items: Count | None = None
    max_items: Count | None = None
    unique_items: Flag = False
    pattern: Text | None = None
    format: Identifier | None = None
    timezone: Identifier | None = None
    unit: Text | None = None
    physical: Identifier | None = None
    partition: Count | None = None
    classification: Literal["public", "internal", "confidential", "restricted"] | None = None
    critical: Flag = False
    encrypted_name: Identifier | None = None
    examples: list[Scalar] = Field(default_factory=list)
    physical_name: Identifier | None = None
    tags: list[Tag] = Field(default_factory=list)
    renamed_from: Identifier | None = None
    deprecated: Deprecation | None = None
    title: Text | None = None
    id: Identifier | None = None
    description: Text | None = None
    publish: Literal["clear"] | None = None
    declassified: Free | None = None
    custom: Free = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) and not isinstance(value, _yaml.Null) else value

    @model_validator(mode="after")
    def _shape(self) -> FieldSchema:
        data_type = self.data_type  # reads the type text: an unknown type is an error of this field
        for name in ("min", "max", "exclusive_min", "exclusive_max", "multiple_of"):
            written = getattr(self, name)
            if written is not None:
                self.__dict__[name] = _bound(name, written, data_type)
        if self.enum is not None:
            self.__dict__["enum"] = [_member(v, data_type) for v in self.enum]
        if self.examples:
            self.__dict__["examples"] = [_member(v, data_type) for v in self.examples]
        return self

    @cached_property
    def data_type(self) -> DataType:
        """The canonical type with all nested parts."""
        word = self.type.strip().lower()
        if word in {"list", "array"} and self.items:
            return List(self.items.data_type, self.items.required)
        if word in {"struct", "row"} and self.fields:
            return Struct(tuple(StructField(n, f.data_type, f.required) for n, f in self.fields.items()))
        if word == "map" and self.values:
            key = self.keys.data_type if self.keys else parse_type("string")
            return Map(key, self.values.data_type, self.values.required)
        extra = next((n for n in ("items", "keys", "values", "fields") if getattr(self, n)), None)
        if extra:
            kind = {"items": "list", "keys": "map", "values": "map", "fields": "struct"}[extra]
            raise PydanticCustomError(
                "type", "`{extra}` goes with type {kind}, not {type}", {"extra": extra, "kind": kind, "type": self.type}
            )
        try:
            return parse_type(self.type)
        except TypeTextError as error:
            raise PydanticCustomError("type", "{message}", {"message": error.message}) from None

    def children(self) -> Mapping[str, FieldSchema]:
        """Members by step name: struct members, or `[]` for list items and `{}` for map values."""
        if self.fields:
            return self.fields
        if self.items:
            return {"[]": self.items}
        return {"{}": self.values} if self.values else {}

    @property
    def is_personal(self) -> bool:
        """Whether this field itself is tagged as personal data."""
        return any(is_personal(tag) for tag in self.tags)


class QualityRule(Part):
    """A promise about the data that the schema cannot say: a metric or an SQL statement, and what its result must be."""

    metric: Identifier | None = None
    sql: Text | None = None
    field: Identifier | None = None
    args: Free = Field(default_factory=dict)
    must: ThresholdText
    severity: Literal["error", "warning"] = "error"
    dimension: Identifier | None = None
    title: Text | None = None
    id: Identifier | None = None
    description: Text | None = None
    tags: list[Tag] = Field(default_factory=list)
    custom: Free = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_body(self) -> QualityRule:
        if (self.metric is None) == (self.sql is None):
            raise PydanticCustomError("quality", "exactly one of `metric` and `sql` is needed")
        return self


class DataObject(Part):
    """One table-like object of the product."""

    fields: dict[str, FieldSchema]
    grain: Text | None = None
    kind: Literal["table", "view"] = "table"
    quality: dict[str, QualityRule] = Field(default_factory=dict)
    physical_name: Identifier | None = None
    tags: list[Tag] = Field(default_factory=list)
    renamed_from: Identifier | None = None
    deprecated: Deprecation | None = None
    title: Text | None = None
    id: Identifier | None = None
    description: Text | None = None
    custom: Free = Field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the primary key fields, in key order; empty if none is declared."""
        keyed = [(f.key, n) for n, f in self.fields.items() if f.key is not None]
        return tuple(name for _, name in sorted(keyed))

    @property
    def data_type(self) -> Struct:
        """The row type."""
        return Struct(tuple(StructField(n, f.data_type, f.required) for n, f in self.fields.items()))

    def walk(self) -> Iterator[tuple[tuple[str, ...], FieldSchema]]:
        """Every field at any depth with its path of steps (`("lines", "[]", "sku")`)."""
        stack: list[tuple[tuple[str, ...], FieldSchema]] = [
            ((name,), field) for name, field in reversed(list(self.fields.items()))
        ]
        while stack:
            path, field = stack.pop()
            yield path, field
            stack.extend(((*path, step), child) for step, child in reversed(list(field.children().items())))


def is_personal(tag: str) -> bool:
    """`pii`, `pii:*` and `pii.*` mark personal data."""
    return tag == "pii" or tag.startswith(("pii:", "pii."))


def _member(written: Any, data_type: DataType) -> Any:
    """An enum value or example as the field's type has it."""
    if isinstance(written, str) and data_type.is_numeric:
        return _number(written, data_type, "enum")
    if isinstance(written, str) and isinstance(data_type, Primitive) and data_type.name == "bool":
        if written not in {"true", "false"}:
            raise PydanticCustomError("bound", "an enum value is not of the field's type bool")
        return written == "true"
    return written


def _bound(name: str, written: Any, data_type: DataType) -> Any:
    if data_type.is_numeric:
        return _number(written, data_type, name)
    if data_type.is_temporal and name != "multiple_of":
        return _instant(name, written, data_type)
    raise PydanticCustomError(
        "bound", "`{name}` needs a number or time, not type {type}", {"name": name, "type": str(data_type)}
    )


def _number(written: Any, data_type: DataType, name: str) -> int | Number:
    try:
        value = Number(str(written))
    except InvalidOperation:
        value = Number("NaN")
    if not value.is_finite():
        raise PydanticCustomError(
            "bound", "`{name}` is no number, but the field's type is {type}", {"name": name, "type": str(data_type)}
        )
    return int(value) if value == value.to_integral_value() and abs(value) < 10**38 else value


def _instant(name: str, written: Any, data_type: DataType) -> date | time | datetime:
    if not isinstance(written, str):
        return written  # type: ignore[no-any-return]  # a date or time given from Python
    try:
        if isinstance(data_type, Temporal):
            parsed = time.fromisoformat(written) if data_type.name == "time" else datetime.fromisoformat(written)
            if isinstance(parsed, datetime) and (parsed.tzinfo is None) == (data_type.name == "timestamptz"):
                raise ValueError
            return parsed
        return date.fromisoformat(written)
    except ValueError:
        message = (
            "`{name}` does not fit type {type}. Write ISO 8601, with zone for timestamptz and without for timestamp"
        )
        raise PydanticCustomError("bound", message, {"name": name, "type": str(data_type)}) from None
