"""`parse_type("list<decimal(12,2)>")`: the text form of types, canonical names and the aliases people write."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, cast

from meshkit.errors import MeshkitError
from meshkit.types import model as m

__all__ = ["TypeTextError", "parse_type"]

_TOKEN = re.compile(r'\s*(?:([A-Za-z_][A-Za-z0-9_]*)|(\d+)|("(?:[^"]|"")*")|([<>(),:]))')
_UNITS = {"ms": "ms", "us": "us", "ns": "ns", "3": "ms", "6": "us", "9": "ns"}

# alias -> canonical; SQL names and those of common systems. `char`, `numeric` without digits and unsigned types need a decision.
_ALIASES: dict[str, m.DataType] = {
    "bool": m.BOOL, "boolean": m.BOOL,
    "int8": m.INT8, "tinyint": m.INT8,
    "int16": m.INT16, "smallint": m.INT16, "int2": m.INT16,
    "int32": m.INT32, "int": m.INT32, "integer": m.INT32, "int4": m.INT32,
    "int64": m.INT64, "bigint": m.INT64, "long": m.INT64,
    "float32": m.FLOAT32, "real": m.FLOAT32, "float4": m.FLOAT32,
    "float64": m.FLOAT64, "double": m.FLOAT64, "float8": m.FLOAT64, "float": m.FLOAT64,
    "string": m.STRING, "text": m.STRING, "varchar": m.STRING,
    "bytes": m.BYTES, "binary": m.BYTES, "bytea": m.BYTES, "varbinary": m.BYTES, "blob": m.BYTES,
    "date": m.DATE, "interval": m.INTERVAL, "uuid": m.UUID, "json": m.JSON, "jsonb": m.JSON,
    "time": m.TIME, "timestamp": m.TIMESTAMP, "datetime": m.TIMESTAMP, "timestamptz": m.TIMESTAMPTZ,
}  # fmt: skip
_CONTAINERS = {"list": "list", "array": "list", "struct": "struct", "row": "struct", "map": "map"}
_KNOWN = (*_ALIASES, *_CONTAINERS, "decimal", "numeric")


class TypeTextError(MeshkitError):
    """A type text that can't be read; the message names the word and the nearest type."""

    code = "types.unknown"


@lru_cache(maxsize=4096)
def parse_type(text: str) -> m.DataType:
    """Read a type: `int64`, `decimal(12,2)`, `timestamp(ms)`, `list<string>`, `map<string, int64>`, `struct<sku: string required>`.

    Names are case-insensitive; SQL aliases (`bigint`, `varchar(20)`, `timestamp with time zone`) are understood.
    Raises: `TypeTextError`.
    """
    parser = _Parser(text)
    result = parser.type()
    if parser.peek() is not None:
        raise TypeTextError(f"type {text!r} has {parser.peek()!r} after its end. Remove it")
    return result


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._split(text)
        self.at = 0
        self.depth = 0

    def _split(self, text: str) -> list[str]:
        tokens, position, body = [], 0, text.rstrip()
        if len(body) > 10_000:
            raise TypeTextError("the type text has more than 10,000 characters. Write nested types as `fields`")
        while position < len(body):
            match = _TOKEN.match(body, position)
            if not match:
                raise TypeTextError(
                    f"type {text!r} can't be read at character {position + 1}. Write for example list<decimal(12,2)>"
                )
            tokens.append(match.group().strip())
            position = match.end()
        return tokens

    def peek(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def next(self) -> str:
        token = self.peek()
        if token is None:
            raise TypeTextError(f"type {self.text!r} ends too early. Close every bracket")
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        found = self.next()
        if found != token:
            raise TypeTextError(f"type {self.text!r} has {found!r} where {token!r} is needed")

    def accept(self, token: str) -> bool:
        if (self.peek() or "").lower() == token:
            self.at += 1
            return True
        return False

    def type(self) -> m.DataType:
        self.depth += 1
        if self.depth > 64:
            raise TypeTextError("the type is nested deeper than 64 levels. Flatten it")
        try:
            return self._type(self.next().lower())
        finally:
            self.depth -= 1

    def _type(self, word: str) -> m.DataType:
        if word in {"decimal", "numeric"}:
            return self._decimal(word)
        if word in _CONTAINERS:
            return self._container(_CONTAINERS[word])
        if word == "double" and self.accept("precision"):
            return m.FLOAT64
        if word == "character" and self.accept("varying"):
            word = "varchar"
        known = _ALIASES.get(word)
        if known is None:
            near = get_close_matches(word, _KNOWN, n=1)
            raise TypeTextError(
                f"unknown type {word!r}. " + (f"Did you mean {near[0]!r}?" if near else "See docs/reference/types")
            )
        if isinstance(known, m.Temporal):
            return self._temporal(known)
        if word == "varchar" and self.accept("("):
            self.next()
            self.expect(")")
        return known

    def _decimal(self, word: str) -> m.DataType:
        if not self.accept("("):
            raise TypeTextError(f"{word} needs its digits. Write decimal(precision,scale), for example decimal(12,2)")
        precision, scale = self._number(), 0
        if self.accept(","):
            scale = self._number()
        self.expect(")")
        try:
            return m.Decimal(precision, scale)
        except ValueError as error:
            raise TypeTextError(str(error)) from None

    def _number(self) -> int:
        token = self.next()
        if not token.isdigit() or len(token) > 4:
            raise TypeTextError(f"type {self.text!r} has {token!r} where a number is needed")
        return int(token)

    def _temporal(self, known: m.Temporal) -> m.DataType:
        unit, name = "us", known.name
        if self.accept("("):
            token = self.next().lower()
            if token not in _UNITS:
                raise TypeTextError(f"type {self.text!r} has unit {token!r}. Use ms, us or ns")
            unit = _UNITS[token]
            self.expect(")")
        if self.accept("with"):
            self.expect("time")
            self.expect("zone")
            if name == "time":
                raise TypeTextError("time with time zone has no canonical type. Use timestamptz or string")
            name = "timestamptz"
        elif self.accept("without"):
            self.expect("time")
            self.expect("zone")
        if name == "time" and unit == "ns":
            raise TypeTextError("time(ns) is not supported. Use time(us)")
        return m.Temporal(cast(Any, name), cast(Any, unit))

    def _container(self, kind: str) -> m.DataType:
        if not self.accept("<"):
            raise TypeTextError(
                f"{kind} needs its content. Write {'list<string>' if kind == 'list' else 'map<string, int64>'}, or `items`, `fields`"
            )
        result: m.DataType
        if kind == "list":
            result = m.List(self.type(), self.accept("required"))
        elif kind == "map":
            key = self.type()
            self.expect(",")
            result = m.Map(key, self.type(), self.accept("required"))
        else:
            result = self._struct()
        self.expect(">")
        return result

    def _struct(self) -> m.DataType:
        fields = [self._field()]
        while self.accept(","):
            fields.append(self._field())
        names = [f.name for f in fields]
        if len(set(names)) != len(names):
            raise TypeTextError(f"type {self.text!r} names a struct member twice. Keep one")
        return m.Struct(tuple(fields))

    def _field(self) -> m.StructField:
        token = self.next()
        name = token[1:-1].replace('""', '"') if token.startswith('"') else token
        self.accept(":")
        return m.StructField(name, self.type(), self.accept("required"))
