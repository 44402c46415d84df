"""Canonical JSON, RFC 8785 (JCS): one text per value, so that a hash of it means the value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["canonical"]


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON-like value of objects, arrays, text, integers within 2^53, booleans and null.

    Raises: `ValueError` for anything else, floats too: audit records have none, and their form is where implementations differ.
    """
    return _text(value).encode("utf-8")  # lone surrogates raise UnicodeEncodeError, a ValueError


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, int):
        if abs(value) >= 2**53:
            raise ValueError("an integer beyond 2^53 has no canonical JSON form")
        return str(value)
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise ValueError("an object key is no text")
        # RFC 8785 section 3.2.3: by UTF-16 code units
        items = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{json.dumps(str(k), ensure_ascii=False)}:{_text(v)}" for k, v in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    raise ValueError(f"a {type(value).__name__} has no canonical JSON form here")
