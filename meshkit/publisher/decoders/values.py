"""PostgreSQL binary values to natural Python values, exactly: numeric to `Decimal`, json to its text, uuid and the like to text.

What Python or JSON can't hold (NaN, infinities, years outside 1 to 9999, 24:00:00) comes out as `Unrepresentable` with its PostgreSQL
text, so that each field's rule decides. Source: publisher section 3, layouts from the `*_send` functions of PostgreSQL.
"""

from __future__ import annotations

import ipaddress
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal as Number
from typing import Any

from meshkit.types import model as m

__all__ = ["ARRAYS", "KINDS", "PgType", "Unrepresentable", "canonical", "decoder", "to_text"]

# base type OID -> kind
KINDS: dict[int, str] = {
    16: "bool", 17: "bytea", 18: "text", 19: "text", 20: "int8", 21: "int2", 23: "int4", 25: "text", 26: "oid", 114: "json", 142: "text",
    700: "float4", 701: "float8", 1042: "bpchar", 1043: "text", 1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz",
    1186: "interval", 1266: "timetz", 1560: "bit", 1562: "bit", 1700: "numeric", 2950: "uuid", 3802: "jsonb", 869: "inet", 650: "cidr",
    829: "macaddr",
}  # fmt: skip
ARRAYS: dict[int, int] = {
    1000: 16, 1001: 17, 1002: 18, 1003: 19, 1016: 20, 1005: 21, 1007: 23, 1009: 25, 1028: 26, 199: 114, 143: 142, 1021: 700, 1022: 701,
    1014: 1042, 1015: 1043, 1182: 1082, 1183: 1083, 1115: 1114, 1185: 1184, 1187: 1186, 1270: 1266, 1561: 1560, 1563: 1562, 1231: 1700,
    2951: 2950, 3807: 3802, 1041: 869, 651: 650, 1040: 829,
}  # fmt: skip

_CANONICAL: dict[str, m.DataType] = {
    "bool": m.BOOL, "int2": m.INT16, "int4": m.INT32, "int8": m.INT64, "oid": m.INT64, "float4": m.FLOAT32, "float8": m.FLOAT64,
    "text": m.STRING, "bpchar": m.STRING, "uuid": m.UUID, "json": m.JSON, "jsonb": m.JSON, "bytea": m.BYTES, "date": m.DATE,
    "time": m.TIME, "timestamp": m.TIMESTAMP, "timestamptz": m.TIMESTAMPTZ, "interval": m.STRING, "timetz": m.STRING, "bit": m.STRING,
    "inet": m.STRING, "cidr": m.STRING, "macaddr": m.STRING,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PgType:
    """Type of a column after domains are resolved: its kind here, its name as people write it, digits of a numeric."""

    kind: str
    name: str
    precision: int | None = None
    scale: int | None = None
    item: PgType | None = None
    oid: int = 0

    @property
    def is_toastable(self) -> bool:
        """Whether an update may leave the value out because it is stored apart and unchanged."""
        return self.kind in {"bytea", "text", "bpchar", "json", "jsonb", "numeric", "bit", "list", "inet", "cidr"}


@dataclass(frozen=True, slots=True)
class Unrepresentable:
    """A value that the public type can't hold, as PostgreSQL writes it."""

    text: str


def canonical(pg: PgType) -> m.DataType | None:
    """The canonical type whose natural values the decoder gives; None for a numeric without digits or over 38."""
    if pg.kind == "list":
        item = canonical(pg.item) if pg.item else None
        return None if item is None else m.List(item)
    if pg.kind == "numeric":
        if pg.precision is None or pg.scale is None or not 0 <= pg.scale <= pg.precision <= 38:
            return None
        return m.Decimal(pg.precision, pg.scale)
    return _CANONICAL.get(pg.kind)


def decoder(pg: PgType) -> Callable[[bytes], Any]:
    """The function from the bytes of a value to its natural Python value."""
    if pg.kind == "list":
        assert pg.item is not None
        item = decoder(pg.item)
        return lambda raw: _array(raw, item)
    return _DECODERS[pg.kind]


_INT2, _INT4, _INT8 = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">q")
_UINT4, _FLOAT4, _FLOAT8 = struct.Struct(">I"), struct.Struct(">f"), struct.Struct(">d")
_EPOCH_DAY = date(2000, 1, 1).toordinal()
_EPOCH, _EPOCH_UTC = datetime(2000, 1, 1), datetime(2000, 1, 1, tzinfo=UTC)  # noqa: DTZ001  # wall clock by meaning
_MIN_US, _MAX_US = -63082281600000000, 252455615999999999  # years 1 to 9999
_DAY_US = 86_400_000_000
_DIGITS = struct.Struct(">HhHH")


def _int2(raw: bytes) -> int:
    return int(_INT2.unpack(raw)[0])


def _int4(raw: bytes) -> int:
    return int(_INT4.unpack(raw)[0])


def _int8(raw: bytes) -> int:
    return int(_INT8.unpack(raw)[0])


def _oid(raw: bytes) -> int:
    return int(_UINT4.unpack(raw)[0])


def _float8(raw: bytes) -> Any:
    value: float = _FLOAT8.unpack(raw)[0]
    return value if math.isfinite(value) else Unrepresentable(_odd_float(value))


def _float4(raw: bytes) -> Any:
    value: float = _FLOAT4.unpack(raw)[0]
    return shortest_float4(value) if math.isfinite(value) else Unrepresentable(_odd_float(value))


def shortest_float4(value: float) -> float:
    """The double whose shortest text is that of the single: 0.1, not 0.10000000149011612."""
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if _FLOAT4.pack(short) == _FLOAT4.pack(value):
            return short
    return value


def _odd_float(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _bool(raw: bytes) -> bool:
    return raw == b"\x01" if len(raw) == 1 else _wrong("bool")


def _text(raw: bytes) -> str:
    return str(raw, "utf-8")


def _jsonb(raw: bytes) -> str:
    return str(raw[1:], "utf-8") if raw[:1] == b"\x01" else _wrong("jsonb")


def _uuid(raw: bytes) -> str:
    text = raw.hex() if len(raw) == 16 else _wrong("uuid")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _wrong(name: str) -> Any:
    raise ValueError(f"bytes are no {name}")


def _numeric(raw: bytes) -> Any:
    count, weight, sign, scale = _DIGITS.unpack_from(raw)
    if sign >= 0xC000:
        return Unrepresentable({0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign])
    if len(raw) != 8 + 2 * count:
        _wrong("numeric")
    value = 0
    for digit in struct.unpack_from(f">{count}H", raw, 8):
        value = value * 10000 + digit
    shift = (
        weight - count + 1
    ) * 4 + scale  # value x 10^shift is a whole number of units of the scale, as far as digits are sent
    value = value * 10**shift if shift >= 0 else value // 10**-shift
    return Number(f"{'-' if sign == 0x4000 else ''}{value}E-{scale}")


def _date(raw: bytes) -> Any:
    days = _INT4.unpack(raw)[0]
    if days in {2147483647, -2147483648}:
        return Unrepresentable("infinity" if days > 0 else "-infinity")
    ordinal = days + _EPOCH_DAY
    return date.fromordinal(ordinal) if 1 <= ordinal <= 3652059 else Unrepresentable(_far_date(days))


def _time(raw: bytes) -> Any:
    us = _INT8.unpack(raw)[0]
    return Unrepresentable("24:00:00") if us >= _DAY_US else time_of(us)


def time_of(us: int) -> time:
    """Time of day from microseconds since midnight."""
    seconds, micro = divmod(us, 1_000_000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, micro)


def _timestamp(raw: bytes) -> Any:
    us = _INT8.unpack(raw)[0]
    return _EPOCH + timedelta(microseconds=us) if _MIN_US <= us <= _MAX_US else _far_instant(us, "")


def _timestamptz(raw: bytes) -> Any:
    us = _INT8.unpack(raw)[0]
    return _EPOCH_UTC + timedelta(microseconds=us) if _MIN_US <= us <= _MAX_US else _far_instant(us, "+00")


def _far_instant(us: int, zone: str) -> Unrepresentable:
    if us in {9223372036854775807, -9223372036854775808}:
        return Unrepresentable("infinity" if us > 0 else "-infinity")
    days, rest = divmod(us, _DAY_US)
    text, _, era = _far_date(days).partition(" ")
    return Unrepresentable(f"{text} {time_of(rest).isoformat()}{zone}{' ' + era if era else ''}")


def _far_date(days: int) -> str:
    """Proleptic Gregorian date of any year, as PostgreSQL writes it; a cycle of 400 years has 146,097 days."""
    cycles, rest = divmod(days, 146_097)
    near = date.fromordinal(_EPOCH_DAY + rest)
    year = near.year + 400 * cycles
    return f"{year if year > 0 else 1 - year:04d}-{near.month:02d}-{near.day:02d}{'' if year > 0 else ' BC'}"


def _interval(raw: bytes) -> Any:
    us, days, months = struct.unpack(">qii", raw)
    if (us, days, months) == (2**63 - 1, 2**31 - 1, 2**31 - 1):
        return Unrepresentable("infinity")
    if (us, days, months) == (-(2**63), -(2**31), -(2**31)):
        return Unrepresentable("-infinity")
    years, month = int(months / 12), int(math.fmod(months, 12))
    sign, whole = ("-" if us < 0 else ""), abs(us)
    hours, minutes, micro = whole // 3_600_000_000, whole // 60_000_000 % 60, whole % 60_000_000
    seconds = f"{micro // 1_000_000}" + (f".{micro % 1_000_000:06d}".rstrip("0") if micro % 1_000_000 else "")
    day_part = "".join(f"{n}{u}" for n, u in ((years, "Y"), (month, "M"), (days, "D")) if n)
    time_part = "".join(f"{sign}{n}{u}" for n, u in ((hours, "H"), (minutes, "M")) if n) + (
        f"{sign}{seconds}S" if micro else ""
    )
    return f"P{day_part}{'T' + time_part if time_part else ''}" if day_part or time_part else "PT0S"


def _timetz(raw: bytes) -> str:
    us, west = struct.unpack(">qi", raw)
    sign, rest = ("-" if west > 0 else "+"), abs(west)
    zone = (
        f"{sign}{rest // 3600:02d}"
        + (f":{rest // 60 % 60:02d}" if rest % 3600 else "")
        + (f":{rest % 60:02d}" if rest % 60 else "")
    )
    if us >= _DAY_US:
        return f"24:00:00{zone}"
    shown = time_of(us).isoformat()
    return (shown.rstrip("0") if "." in shown else shown) + zone


def _bit(raw: bytes) -> str:
    length = _INT4.unpack_from(raw)[0]
    return "".join(f"{byte:08b}" for byte in raw[4:])[:length]


def _inet(raw: bytes) -> str:
    bits, is_cidr, size = raw[1], raw[2], raw[3]
    address = ipaddress.ip_address(bytes(raw[4 : 4 + size]))
    return str(address) if bits == size * 8 and not is_cidr else f"{address}/{bits}"


def _macaddr(raw: bytes) -> str:
    return raw.hex(":")


def _array(raw: bytes, item: Callable[[bytes], Any]) -> Any:
    dimensions, _, _ = struct.unpack_from(">iii", raw)
    if dimensions == 0:
        return []
    shape = [struct.unpack_from(">i", raw, 12 + 8 * d)[0] for d in range(dimensions)]
    offset = 12 + 8 * dimensions
    flat: list[Any] = []
    for _ in range(math.prod(shape)):
        size = _INT4.unpack_from(raw, offset)[0]
        offset += 4
        if size < 0:
            flat.append(None)
            continue
        value = item(raw[offset : offset + size])
        if isinstance(value, Unrepresentable):
            return value
        flat.append(value)
        offset += size
    if offset != len(raw):
        _wrong("array")
    for length in reversed(shape[1:]):
        flat = [flat[i : i + length] for i in range(0, len(flat), length)]
    return flat


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "bool": _bool, "int2": _int2, "int4": _int4, "int8": _int8, "oid": _oid, "float4": _float4, "float8": _float8, "numeric": _numeric,
    "text": _text, "bpchar": _text, "json": _text, "jsonb": _jsonb, "uuid": _uuid, "bytea": bytes, "date": _date, "time": _time,
    "timestamp": _timestamp, "timestamptz": _timestamptz, "interval": _interval, "timetz": _timetz, "bit": _bit, "inet": _inet,
    "cidr": _inet, "macaddr": _macaddr,
}  # fmt: skip


def to_text(value: Any) -> str | None:
    """A natural value as PostgreSQL's `::text` writes it (ISO styles, UTC); for casts, keys of snapshots and dead letters."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Unrepresentable):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return format(value, "f")
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime):
        zone = "+00" if value.tzinfo else ""
        plain = value.replace(tzinfo=None).isoformat(" ")
        return (plain.rstrip("0") if "." in plain else plain) + zone
    if isinstance(value, time):
        shown = value.isoformat()
        return shown.rstrip("0") if "." in shown else shown
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return "{" + ",".join(_element(v) for v in value) + "}"
    return str(value)


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    text = to_text(value) or ""
    if isinstance(value, list):
        return text
    if text == "" or text.upper() == "NULL" or any(c in '{},"\\' or c.isspace() for c in text):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return ("t" if value else "f") if isinstance(value, bool) else text


def _float_text(value: float) -> str:
    """PostgreSQL's shortest text: exponent form below 1e-4 and from 1e15 on."""
    if value == 0 or 1e-4 <= abs(value) < 1e15:
        text = format(Number(repr(value)), "f")
        return text.removesuffix(".0")
    mantissa, _, exponent = f"{Number(repr(value)):E}".partition("E")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent):+03d}"
