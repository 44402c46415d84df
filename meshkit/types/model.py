"""The canonical type model: frozen values that every converter maps to and from. Source: manifest-and-contracts section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "BOOL",
    "BYTES",
    "DATE",
    "FLOAT32",
    "FLOAT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "INTERVAL",
    "JSON",
    "STRING",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "UUID",
    "DataType",
    "Decimal",
    "List",
    "Map",
    "Primitive",
    "Struct",
    "StructField",
    "Temporal",
]  # fmt: skip

Unit = Literal["ms", "us", "ns"]
PrimitiveName = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "bytes",
    "date",
    "interval",
    "uuid",
    "json",
]


@dataclass(frozen=True, slots=True)
class DataType:
    """Base of all types. `str(t)` is the canonical text that `parse_type` reads back."""

    @property
    def is_integer(self) -> bool:
        """int8 to int64."""
        return False

    @property
    def is_numeric(self) -> bool:
        """Integers, floats, decimals."""
        return self.is_integer

    @property
    def is_temporal(self) -> bool:
        """date, time, timestamp, timestamptz."""
        return False

    @property
    def is_nested(self) -> bool:
        """list, struct, map."""
        return False


@dataclass(frozen=True, slots=True)
class Primitive(DataType):
    """A type without parameters, by canonical name."""

    name: PrimitiveName

    def __str__(self) -> str:
        return self.name

    @property
    def is_integer(self) -> bool:
        return self.name in {"int8", "int16", "int32", "int64"}

    @property
    def is_numeric(self) -> bool:
        return self.is_integer or self.name in {"float32", "float64"}

    @property
    def is_temporal(self) -> bool:
        return self.name == "date"


@dataclass(frozen=True, slots=True)
class Decimal(DataType):
    """Exact number with `precision` digits (1 to 38) of which `scale` stand after the point."""

    precision: int
    scale: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.precision <= 38 or not 0 <= self.scale <= self.precision:
            raise ValueError(f"decimal({self.precision},{self.scale}): precision is 1 to 38, scale 0 to precision")

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})"

    @property
    def is_numeric(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Temporal(DataType):
    """time, timestamp (wall clock) or timestamptz (instant), in milli-, micro- or nanoseconds."""

    name: Literal["time", "timestamp", "timestamptz"]
    unit: Unit = "us"

    def __str__(self) -> str:
        return self.name if self.unit == "us" else f"{self.name}({self.unit})"

    @property
    def is_temporal(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class List(DataType):
    """A sequence of `item`; `item_required` says that no item is null."""

    item: DataType
    item_required: bool = False

    def __str__(self) -> str:
        return f"list<{self.item}{' required' if self.item_required else ''}>"

    @property
    def is_nested(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class StructField:
    """One member of a struct."""

    name: str
    type: DataType
    required: bool = False

    def __str__(self) -> str:
        return f"{_quoted(self.name)}: {self.type}{' required' if self.required else ''}"


@dataclass(frozen=True, slots=True)
class Struct(DataType):
    """Named members, in order."""

    fields: tuple[StructField, ...]

    def __str__(self) -> str:
        return f"struct<{', '.join(map(str, self.fields))}>"

    @property
    def is_nested(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Map(DataType):
    """Values by key; keys are never null."""

    key: DataType
    value: DataType
    value_required: bool = False

    def __str__(self) -> str:
        return f"map<{self.key}, {self.value}{' required' if self.value_required else ''}>"

    @property
    def is_nested(self) -> bool:
        return True


def _quoted(name: str) -> str:
    plain = name.isidentifier() and name.isascii()
    return name if plain else '"' + name.replace('"', '""') + '"'


BOOL = Primitive("bool")
INT8 = Primitive("int8")
INT16 = Primitive("int16")
INT32 = Primitive("int32")
INT64 = Primitive("int64")
FLOAT32 = Primitive("float32")
FLOAT64 = Primitive("float64")
STRING = Primitive("string")
BYTES = Primitive("bytes")
DATE = Primitive("date")
INTERVAL = Primitive("interval")
UUID = Primitive("uuid")
JSON = Primitive("json")
TIME = Temporal("time")
TIMESTAMP = Temporal("timestamp")
TIMESTAMPTZ = Temporal("timestamptz")
