"""The search box: words, `"phrase"`, `-word`, `field OP value`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshkit.catalog.errors import QuerySyntax
from meshkit.errors import MeshkitError
from meshkit.types.quantities import parse_duration, parse_ratio

__all__ = ["FIELDS", "Filter", "Query", "parse_query"]

_ITEM = re.compile(r'\s*(-?)(?:([A-Za-z_.]+)\s*(<=|>=|:|=|<|>)\s*("[^"]*"|[^\s"]+)|"([^"]*)"|(\S+))')

# field -> kind of its value
FIELDS = {
    "domain": "text", "owner": "text", "tag": "text", "status": "text", "version": "text", "column": "text", "port.kind": "text",
    "classification": "text", "state": "text", "trust": "number", "usage": "number", "freshness": "duration", "sla.freshness": "duration",
    "sla.availability": "ratio", "sla.completeness": "ratio", "sla.quality": "ratio",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """One typed condition; a product without the value never matches."""

    field: str
    operator: str
    value: Any
    negated: bool = False

    def holds(self, values: Any) -> bool:
        """Whether the product's values (one or several) meet it."""
        found = values if isinstance(values, list | tuple | set | frozenset) else () if values is None else (values,)
        matched = any(self._one(v) for v in found)
        return matched != self.negated

    def _one(self, actual: Any) -> bool:
        if isinstance(self.value, str):
            text = str(actual).casefold()
            return text == self.value or (self.operator == ":" and self.value in text)
        tests: dict[str, Callable[[Any, Any], bool]] = {
            ":": lambda a, b: a == b, "=": lambda a, b: a == b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b,
            ">=": lambda a, b: a >= b,
        }  # fmt: skip
        return tests[self.operator](actual, self.value)


@dataclass(frozen=True, slots=True)
class Query:
    """A read search."""

    text: str
    words: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()


def parse_query(text: str) -> Query:
    """Read a search. Raises: `QuerySyntax` with the nearest field names."""
    if len(text) > 1000:
        raise QuerySyntax("the search has more than 1,000 characters. Shorten it")
    words: list[str] = []
    phrases: list[str] = []
    excluded: list[str] = []
    filters: list[Filter] = []
    position = 0
    while position < len(text.rstrip()):
        found = _ITEM.match(text, position)
        assert found is not None  # the last branch takes any text
        position = found.end()
        minus, field, operator, value, phrase, word = found.groups()
        if field and (field.casefold() in FIELDS or not _looks_like_text(field, value)):
            filters.append(_filter(field.casefold(), operator, value.strip('"'), negated=bool(minus)))
        elif phrase is not None:
            (excluded if minus else phrases).append(phrase)
        else:
            whole = word if word is not None else f"{field}{operator}{value}"
            (excluded if minus else words).append(whole)
    return Query(text.strip(), tuple(words), tuple(phrases), tuple(excluded), tuple(filters))


def _looks_like_text(field: str, value: str) -> bool:
    """`urn:mesh:sales:orders` is an address, not a filter."""
    return field.casefold() == "urn" or value.startswith("//")


def _filter(field: str, operator: str, value: str, *, negated: bool) -> Filter:
    kind = FIELDS.get(field)
    if kind is None:
        from difflib import get_close_matches

        near = get_close_matches(field, FIELDS, n=3, cutoff=0.5)
        raise QuerySyntax(
            f"there is no field {field!r}. {'Did you mean ' + ', '.join(near) + '?' if near else 'Fields: ' + ', '.join(FIELDS)}"
        )
    if kind == "text":
        if operator not in {":", "="}:
            raise QuerySyntax(f"field {field} takes : or =, not {operator}")
        return Filter(field, operator, value.casefold(), negated)
    try:
        number = (
            parse_duration(value).timedelta().total_seconds()
            if kind == "duration"
            else parse_ratio(value)
            if kind == "ratio"
            else float(value)
        )
    except (MeshkitError, ValueError):
        example = {"duration": "1h", "ratio": "99.9%", "number": "98"}[kind]
        raise QuerySyntax(f"field {field} needs a {kind}, for example {field}{operator}{example}") from None
    return Filter(field, operator, number, negated)
