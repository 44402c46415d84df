"""Natural Python values of canonical types: read from written values and JSON, and made ready for JSON with every digit."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal as Number
from decimal import InvalidOperation
from typing import Any

from meshkit.publisher.errors import RowFailure
from meshkit.types import DataType, Decimal, List, Map, Primitive, Struct, Temporal

__all__ = ["from_written", "json_ready"]

_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def from_written(value: Any, data_type: DataType) -> Any:
    """A value as written in YAML or JSON (numbers as int or `Decimal`) as the type's natural value. Raises: `RowFailure`."""
    if value is None:
        return None
    try:
        return _read(value, data_type)
    except (ValueError, TypeError, InvalidOperation, OverflowError):
        raise RowFailure("type_mismatch", f"a value is no {data_type}") from None


def _read(value: Any, data_type: DataType) -> Any:
    if isinstance(data_type, Decimal):
        return _decimal(value, data_type)
    if isinstance(data_type, Temporal):
        return _temporal(value, data_type)
    if isinstance(data_type, List):
        return [from_written(v, data_type.item) for v in _as(value, list)]
    if isinstance(data_type, Struct):
        members = _as(value, dict)
        return {f.name: _member(members, f) for f in data_type.fields}
    if isinstance(data_type, Map):
        return {k: from_written(v, data_type.value) for k, v in _as(value, dict).items()}
    assert isinstance(data_type, Primitive)
    return _primitive(value, data_type.name)


def _member(members: dict[str, Any], wanted: Any) -> Any:
    value = members.get(wanted.name)
    if value is None and wanted.required:
        raise RowFailure("required_null", f"member {wanted.name} is null")
    return from_written(value, wanted.type)


def _as(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _primitive(value: Any, name: str) -> Any:
    if name in _BITS:
        whole = (
            int(value)
            if isinstance(value, int | Number) and not isinstance(value, bool) and value == int(value)
            else _as(None, int)
        )
        if not -(1 << _BITS[name] - 1) <= whole < 1 << _BITS[name] - 1:
            raise ValueError
        return whole
    if name.startswith("float"):
        return (
            float(value)
            if isinstance(value, int | float | Number) and not isinstance(value, bool)
            else _as(None, float)
        )
    if name == "bool":
        return _as(value, bool)
    if name == "date":
        return date.fromisoformat(_as(value, str)) if isinstance(value, str) else _as(value, date)
    if name == "bytes":
        return base64.b64decode(_as(value, str), validate=True)
    if name == "json":
        return _dumped(value)
    return _as(value, str)


def _dumped(value: Any) -> str:
    """JSON text with every digit of numbers."""
    import json

    if isinstance(value, Number):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_dumped(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumped, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _decimal(value: Any, data_type: Decimal) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | Number | str):
        raise TypeError
    number = Number(value)
    fixed = rescaled(number, data_type.scale)
    if fixed != number or (fixed and fixed.adjusted() >= data_type.precision - data_type.scale):
        raise ValueError
    return fixed


def rescaled(number: Number, scale: int) -> Number:
    """The same number with `scale` digits after the point, rounded half up where it has more."""
    import decimal

    return number.quantize(Number(1).scaleb(-scale), "ROUND_HALF_UP", decimal.Context(prec=100))


def _temporal(value: Any, data_type: Temporal) -> Any:
    if data_type.name == "time":
        return time.fromisoformat(value) if isinstance(value, str) else _as(value, time)
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else _as(value, datetime)
    if (parsed.tzinfo is None) == (data_type.name == "timestamptz"):
        raise ValueError
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed


_NEWLINES = re.compile(r"[\n\r\t]")


def json_ready(data_type: DataType) -> Callable[[Any], Any] | None:
    """What turns a non-null natural value into something orjson writes as documented; None if it does so by itself."""
    import orjson

    if isinstance(data_type, Decimal):
        return lambda v: orjson.Fragment(format(v, "f"))
    if isinstance(data_type, Temporal) and data_type.name == "timestamptz":
        return instant_text
    if isinstance(data_type, Temporal) and data_type.name == "timestamp":
        return datetime.isoformat
    if isinstance(data_type, List):
        return _list_ready(json_ready(data_type.item))
    if isinstance(data_type, Struct):
        return _struct_ready({f.name: json_ready(f.type) for f in data_type.fields})
    if isinstance(data_type, Map):
        inner = json_ready(data_type.value)
        return None if inner is None else lambda v: {k: None if x is None else inner(x) for k, x in v.items()}
    assert isinstance(data_type, Primitive | Temporal)
    if data_type.name == "json":
        return lambda v: orjson.Fragment(v if "\n" not in v else compact(v))
    if data_type.name == "bytes":
        return lambda v: base64.b64encode(v).decode()
    return None


def compact(text: str) -> str:
    """JSON text on one line; a raw line break can only stand between tokens."""
    return _NEWLINES.sub(" ", text)


def instant_text(value: datetime) -> str:
    """`2025-12-28T10:00:00Z`: UTC, a fraction only if there is one."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _list_ready(inner: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if inner is None:
        return None

    def ready(values: Any) -> Any:
        return [None if v is None else ready(v) if isinstance(v, list) else inner(v) for v in values]

    return ready


def _struct_ready(members: dict[str, Callable[[Any], Any] | None]) -> Callable[[Any], Any] | None:
    if all(inner is None for inner in members.values()):
        return None
    return lambda v: {n: x if (f := members.get(n)) is None or x is None else f(x) for n, x in v.items()}
