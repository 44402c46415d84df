"""Canonical types to and from Python annotations as pydantic reads them. Exact ones are `Annotated[..., parse_type("int32")]`."""

from __future__ import annotations

import types
from datetime import date, datetime, time, timedelta
from decimal import Decimal as Number
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID as Uuid  # noqa: N811  # the canonical type has that name

from pydantic import AwareDatetime, BaseModel, Field, Json, NaiveDatetime, create_model

from meshkit.types import model as m
from meshkit.types.arrow import TypeConversionError

__all__ = ["from_annotation", "to_annotation"]

_SCALARS: dict[str, Any] = {
    "bool": bool, "float64": float, "float32": float, "string": str, "bytes": bytes, "date": date, "time": time, "timestamp": NaiveDatetime,
    "timestamptz": AwareDatetime, "interval": timedelta, "uuid": Uuid, "json": Json,
}  # fmt: skip
_NATURAL: dict[Any, m.DataType] = {
    bool: m.BOOL, int: m.INT64, float: m.FLOAT64, str: m.STRING, bytes: m.BYTES, date: m.DATE, time: m.TIME, datetime: m.TIMESTAMPTZ,
    timedelta: m.INTERVAL, Uuid: m.UUID, NaiveDatetime: m.TIMESTAMP, AwareDatetime: m.TIMESTAMPTZ, Json: m.JSON, dict: m.JSON, Any: m.JSON,
}  # fmt: skip
_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}


def to_annotation(data_type: m.DataType, *, name: str = "Row") -> Any:
    """An annotation that validates values of the type; structs become models called `name`."""
    if isinstance(data_type, m.Decimal):
        return Annotated[Number, Field(max_digits=data_type.precision, decimal_places=data_type.scale), data_type]
    if isinstance(data_type, m.Primitive) and data_type.name in _BITS:
        bits = _BITS[data_type.name]
        return Annotated[int, Field(ge=-(2**bits), le=2**bits - 1), data_type]
    if isinstance(data_type, m.List):
        item = to_annotation(data_type.item, name=name)
        return list[item] if data_type.item_required else list[item | None]  # type: ignore[valid-type]
    if isinstance(data_type, m.Map):
        key, value = to_annotation(data_type.key, name=name), to_annotation(data_type.value, name=name)
        return dict[key, value] if data_type.value_required else dict[key, value | None]  # type: ignore[valid-type]
    if isinstance(data_type, m.Struct):
        fields: dict[str, Any] = {}
        for number, f in enumerate(data_type.fields):
            inner = to_annotation(f.type, name=f"{name}_{number}")
            # names that are no attributes, or that a model has already, go by alias
            own = (
                f.name
                if f.name.isidentifier() and not f.name.startswith("_") and not hasattr(BaseModel, f.name)
                else f"field_{number}"
            )
            fields[own] = (
                (inner, Field(alias=f.name)) if f.required else (Union[inner, None], Field(default=None, alias=f.name))
            )
        return create_model(name, **fields)
    assert isinstance(data_type, m.Primitive | m.Temporal)
    return Annotated[_SCALARS[data_type.name], data_type]


def from_annotation(annotation: Any) -> m.DataType:
    """Canonical type of an annotation or model. Plain int is int64, datetime timestamptz. Raises: `TypeConversionError`."""
    if get_origin(annotation) is Annotated:
        base, *extras = get_args(annotation)
        exact = next((e for e in extras if isinstance(e, m.DataType)), None)
        if exact is not None:
            return exact
        digits = next((e for e in extras if getattr(e, "metadata", None)), None)
        return _digits(digits) or from_annotation(base) if base is Number else from_annotation(base)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return from_annotation(_single(annotation))
    if origin is list:
        item = arguments[0]
        return m.List(from_annotation(item), not _is_optional(item))
    if origin is dict:
        return m.Map(from_annotation(arguments[0]), from_annotation(arguments[1]), not _is_optional(arguments[1]))
    if origin is Literal:
        kinds = {type(a) for a in arguments}
        if len(kinds) == 1:
            return from_annotation(kinds.pop())
    if annotation in _NATURAL:
        return _NATURAL[annotation]
    raise TypeConversionError(
        f"annotation {annotation!r} has no canonical type. Decimals need max_digits and decimal_places; unions are not supported"
    )


def _digits(field: Any) -> m.Decimal | None:
    known = {type(x).__name__: x for x in field.metadata} if field is not None else {}
    values = {k: v for x in known.values() for k, v in getattr(x, "__dict__", {}).items()}
    if values.get("max_digits") is None:
        return None
    return m.Decimal(values["max_digits"], values.get("decimal_places") or 0)


def _struct(model: type[BaseModel]) -> m.Struct:
    fields = []
    for name, info in model.model_fields.items():
        annotation = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation  # type: ignore[type-abstract, unused-ignore]
        exact = next((x for x in info.metadata if isinstance(x, m.DataType)), None)
        data_type = exact or _decimal(info) or from_annotation(annotation)
        fields.append(
            m.StructField(info.alias or name, data_type, info.is_required() and not _is_optional(info.annotation))
        )
    return m.Struct(tuple(fields))


def _decimal(info: Any) -> m.Decimal | None:
    return (
        _digits(info)
        if (_single(info.annotation) if _is_optional(info.annotation) else info.annotation) is Number
        else None
    )


def _is_optional(annotation: Any) -> bool:
    return get_origin(annotation) in {Union, types.UnionType} and type(None) in get_args(annotation)


def _single(annotation: Any) -> Any:
    members = [a for a in get_args(annotation) if a is not type(None)]
    if len(members) != 1:
        raise TypeConversionError(f"a union of {len(members)} types has no canonical type. Choose one")
    return members[0]
