"""Scalar types of the manifest: text as written in YAML becomes a typed value here, and only here."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from meshkit import _yaml
from meshkit.errors import MeshkitError
from meshkit.types.quantities import (
    Duration,
    Threshold,
    VersionRange,
    parse_duration,
    parse_range,
    parse_ratio,
    parse_threshold,
)

__all__ = [
    "Count", "Day", "DurationText", "Flag", "Free", "Identifier", "Ratio", "Scalar", "Tag", "Text", "ThresholdText", "VersionRangeText",
]  # fmt: skip

T = TypeVar("T")


def _refuse_null(value: Any) -> Any:
    if value is None or isinstance(value, _yaml.Null):
        raise PydanticCustomError("null", "no value is given. Remove the key or give it a value")
    return value


def _text(value: Any) -> Any:
    value = _refuse_null(value)
    if isinstance(value, str):
        if any((ord(c) < 32 and c not in "\n\t") or ord(c) == 127 for c in value):
            raise PydanticCustomError("control_character", "the text holds a control character. Remove it")
        return str(value)
    if isinstance(value, bool | int | float | list | dict):
        raise PydanticCustomError("text", "text is needed here")
    return value


def _flag(value: Any) -> Any:
    value = _refuse_null(value)
    if isinstance(value, bool):
        return value
    if value in {"true", "false"} and isinstance(value, _yaml.Plain):
        return value == "true"
    raise PydanticCustomError("flag", "true or false is needed here, in lower case and without quotes")


def _count(value: Any) -> Any:
    value = _refuse_null(value)
    if isinstance(value, bool) or (isinstance(value, str) and not re.fullmatch(r"-?(0|[1-9]\d{0,17})", value)):
        raise PydanticCustomError("count", "a whole number is needed here")
    return int(value) if isinstance(value, str) else value


def _parsed(parse: Callable[[str], T], kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        value = _refuse_null(value)
        if isinstance(value, kind) and not isinstance(value, str):
            return value
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise PydanticCustomError("text", "text is needed here")
        try:
            return parse(str(value))
        except MeshkitError as error:
            raise PydanticCustomError("quantity", "{message}", {"message": error.message}) from None

    return read


def _ratio(value: Any) -> Any:
    value = _refuse_null(value)
    if isinstance(value, list | dict | bool):
        raise PydanticCustomError(
            "quantity", "a ratio is needed here. Write a percentage such as 99.9% or a number from 0 to 1"
        )
    try:
        return parse_ratio(value)
    except MeshkitError as error:
        raise PydanticCustomError("quantity", "{message}", {"message": error.message}) from None


def _day(value: Any) -> Any:
    value = _refuse_null(value)
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise PydanticCustomError("day", "a day is needed here. Write for example 2027-03-01") from None
    return value


def _scalar(value: Any) -> Any:
    """A bound, enum value or example: kept as text or number until the field's type says what it is."""
    value = _refuse_null(value)
    if isinstance(value, list | dict):
        raise PydanticCustomError("scalar", "a single value is needed here")
    return str(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_text), StringConstraints(max_length=20_000)]
Identifier = Annotated[str, BeforeValidator(_text), StringConstraints(max_length=255)]
Tag = Annotated[
    str, BeforeValidator(_text), StringConstraints(pattern=r"^[a-z0-9_]+([:.\-/][a-z0-9_*]+)*$", max_length=100)
]
Flag = Annotated[bool, BeforeValidator(_flag)]
Count = Annotated[int, BeforeValidator(_count)]
Ratio = Annotated[
    float,
    BeforeValidator(_ratio),
    WithJsonSchema({"type": ["string", "number"], "description": "99.9% or a number from 0 to 1"}),
]
Day = Annotated[date, BeforeValidator(_day)]
Scalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Free = Annotated[dict[str, Any], BeforeValidator(_yaml.resolve), WithJsonSchema({"type": "object"})]
DurationText = Annotated[
    Duration,
    BeforeValidator(_parsed(parse_duration, Duration)),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "description": "90s 15m 1h 2d 1w 6mo 3y or ISO 8601"}),
]
ThresholdText = Annotated[
    Threshold,
    BeforeValidator(_parsed(parse_threshold, Threshold)),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "description": "= 0, < 1 %, between 5 and 10"}),
]
VersionRangeText = Annotated[
    VersionRange,
    BeforeValidator(_parsed(parse_range, VersionRange)),
    PlainSerializer(str),
    WithJsonSchema({"type": ["string", "number"], "description": "1, 1.2 or >=1.2,<2"}),
]
