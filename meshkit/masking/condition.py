"""Conditions of policies (row filters, `only_rows`): read from SQL into a closed tree, typed against the contract, rendered.

Only what can raise on no value is in the tree, so that a filter's error can never show a hidden row: comparison of a column with a
constant of exactly its type, IN, BETWEEN, IS NULL, LIKE, AND, OR, NOT, `lower`, `length`, `coalesce`. Attributes of the principal
(`:name`) become typed literals. Nothing of the written text reaches the rendered SQL but names, which are quoted, and literals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshkit.masking.literals import Misfit, sql_literal, sql_name, typed_value
from meshkit.types import BOOL, INT64, STRING, DataType, Struct

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Attr",
    "BadCondition",
    "Both",
    "Col",
    "Compare",
    "Condition",
    "InList",
    "IsNull",
    "Like",
    "Lit",
    "Node",
    "Not",
    "Truth",
]

_FLOATS = {"float32", "float64"}


class BadCondition(ValueError):
    """The text is no condition that policies may hold; the message says why."""


@dataclass(frozen=True, slots=True)
class Col:
    """A column, or `lower(column)`, `length(column)`: what a comparison is about."""

    name: str
    function: str | None = None
    default: Lit | None = None  # coalesce(column, default)


@dataclass(frozen=True, slots=True)
class Lit:
    """A constant of the policy; its type is the column's."""

    value: Any


@dataclass(frozen=True, slots=True)
class Attr:
    """An attribute of the principal."""

    name: str


@dataclass(frozen=True, slots=True)
class Compare:
    """`left operator right`; two columns only of one type."""

    operator: str
    left: Col
    right: Col | Lit | Attr


@dataclass(frozen=True, slots=True)
class InList:
    """`left in (...)`; an attribute in it stands for all its values."""

    left: Col
    items: tuple[Lit | Attr, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """`left like 'pattern'`, the pattern a constant."""

    left: Col
    pattern: str


@dataclass(frozen=True, slots=True)
class IsNull:
    """`left is null`."""

    left: Col


@dataclass(frozen=True, slots=True)
class Truth:
    """TRUE, FALSE, or a boolean column alone."""

    value: bool | Col


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Both:
    """`left and right`, `left or right`."""

    word: str
    left: Node
    right: Node


Node = Compare | InList | Like | IsNull | Truth | Not | Both


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as read; `check` it against a contract, then render it for a principal."""

    text: str
    root: Node

    @property
    def columns(self) -> frozenset[str]:
        """Names as written."""
        return frozenset(c.name for c in _cols(self.root))

    @property
    def attributes(self) -> frozenset[str]:
        """Attributes of the principal that it needs."""
        return frozenset(a.name for a in _attrs(self.root))

    def check(self, row: Struct) -> list[str]:
        """What is wrong with it on rows of that type; empty if nothing."""
        problems: list[str] = []
        for node in _nodes(self.root):
            try:
                _check_node(node, row)
            except (BadCondition, Misfit) as error:
                problems.append(str(error))
        return list(dict.fromkeys(problems))

    def sql(self, row: Struct, attributes: Mapping[str, Any]) -> str | None:
        """DuckDB SQL over the raw columns; None if the condition is false for everyone with these attributes.

        That is so when an attribute is missing, empty or of a wrong type, or the condition does not fit the contract.
        """
        if self.check(row):
            return None
        try:
            return _sql(self.root, row, attributes)
        except Misfit:
            return None

    def polars(self, row: Struct, attributes: Mapping[str, Any]) -> pl.Expr | None:
        """The same as a polars expression."""
        if self.check(row):
            return None
        try:
            return _polars(self.root, row, attributes)
        except Misfit:
            return None


# Checking -----------------------------------------------------------------------------------------------------------------------------


def _nodes(root: Node) -> Iterator[Node]:
    yield root
    if isinstance(root, Both):
        yield from _nodes(root.left)
        yield from _nodes(root.right)
    elif isinstance(root, Not):
        yield from _nodes(root.inner)


def _cols(root: Node) -> Iterator[Col]:
    for node in _nodes(root):
        if isinstance(node, Compare | InList | Like | IsNull):
            yield node.left
        if isinstance(node, Compare) and isinstance(node.right, Col):
            yield node.right
        if isinstance(node, Truth) and isinstance(node.value, Col):
            yield node.value


def _attrs(root: Node) -> Iterator[Attr]:
    for node in _nodes(root):
        candidates = (node.right,) if isinstance(node, Compare) else node.items if isinstance(node, InList) else ()
        yield from (c for c in candidates if isinstance(c, Attr))


def _check_node(node: Node, row: Struct) -> None:
    if isinstance(node, Compare):
        kind = _comparable(node.left, row)
        if isinstance(node.right, Col) and _type(node.right, row) != kind:
            raise BadCondition(
                f"`{node.left.name}` and `{node.right.name}` have different types. Compare columns of one type"
            )
        if isinstance(node.right, Lit):
            typed_value(node.right.value, kind, name=node.left.name)
    elif isinstance(node, InList):
        kind = _comparable(node.left, row)
        for item in node.items:
            if isinstance(item, Lit):
                typed_value(item.value, kind, name=node.left.name)
    elif isinstance(node, Like):
        if _type(node.left, row) != STRING:
            raise BadCondition(f"LIKE needs a text column; `{node.left.name}` is none")
    elif isinstance(node, IsNull):
        _type(node.left, row)
    elif isinstance(node, Truth) and isinstance(node.value, Col) and _type(node.value, row) != BOOL:
        raise BadCondition(f"`{node.value.name}` is no boolean. Compare it with something")


def _comparable(column: Col, row: Struct) -> DataType:
    kind = _type(column, row)
    if kind.is_nested or str(kind) in {"json", "bytes", "interval", "uuid"}:
        raise BadCondition(f"`{column.name}` of type {kind} can't be compared in policy SQL")
    return kind


def _member(name: str, row: Struct) -> tuple[str, DataType]:
    """Name and type of a column: as written, else regardless of case if that is one."""
    exact = [f for f in row.fields if f.name == name]
    found = exact or [f for f in row.fields if f.name.lower() == name.lower()]
    if len(found) != 1:
        raise BadCondition(
            f"there is no column `{name}` in the contract" if not found else f"`{name}` is several columns: quote it"
        )
    return found[0].name, found[0].type


def _type(column: Col, row: Struct) -> DataType:
    kind = _member(column.name, row)[1]
    if column.function is not None and kind != STRING:
        raise BadCondition(f"`{column.function}` needs a text column; `{column.name}` is {kind}")
    if column.default is not None:
        typed_value(column.default.value, kind, name=column.name)
    return INT64 if column.function == "length" else kind


# Rendering ----------------------------------------------------------------------------------------------------------------------------


def _values(item: Lit | Attr, kind: DataType, name: str, attributes: Mapping[str, Any], *, many: bool) -> list[Any]:
    """Typed values of a constant or attribute. Raises: `Misfit` for an attribute that is missing, empty or of a wrong type."""
    if isinstance(item, Lit):
        return [typed_value(item.value, kind, name=name)]
    value = attributes.get(item.name)
    listed = list(value) if isinstance(value, list | tuple | set | frozenset) else None
    if value is None or (listed is not None and (not many or not listed)):
        raise Misfit("attribute")
    return [typed_value(v, kind, name=name, from_text=False) for v in (listed if listed is not None else [value])]


def _sql(node: Node, row: Struct, attributes: Mapping[str, Any]) -> str:
    if isinstance(node, Both):
        return f"({_sql(node.left, row, attributes)} {node.word} {_sql(node.right, row, attributes)})"
    if isinstance(node, Not):
        return f"(NOT {_sql(node.inner, row, attributes)})"
    if isinstance(node, Truth):
        return _sql_column(node.value, row) if isinstance(node.value, Col) else str(node.value).upper()
    if isinstance(node, IsNull):
        return f"{_sql_column(node.left, row)} IS NULL"
    left = _sql_compared(node.left, row)
    kind = _type(node.left, row)
    if isinstance(node, Like):
        return f"{left} LIKE {sql_literal(node.pattern, STRING)}"
    if isinstance(node, InList):
        values = [v for item in node.items for v in _values(item, kind, node.left.name, attributes, many=True)]
        return f"{left} IN ({', '.join(sql_literal(v, kind) for v in values)})"
    if isinstance(node.right, Col):
        return f"{left} {node.operator} {_sql_compared(node.right, row)}"
    (value,) = _values(node.right, kind, node.left.name, attributes, many=False)
    return f"{left} {node.operator} {sql_literal(value, kind)}"


def _sql_compared(column: Col, row: Struct) -> str:
    """The column as one side of a comparison. NaN is NULL there: engines, and DuckDB's scans among themselves, order it differently."""
    text = _sql_column(column, row)
    return (
        f"CASE WHEN system.main.isnan({text}) THEN NULL ELSE {text} END" if str(_type(column, row)) in _FLOATS else text
    )


def _polars_compared(column: Col, row: Struct) -> pl.Expr:
    import polars as pl

    expression = _polars_column(column, row)
    return pl.when(expression.is_not_nan()).then(expression) if str(_type(column, row)) in _FLOATS else expression


def _sql_column(column: Col, row: Struct) -> str:
    name, kind = _member(column.name, row)
    quoted = sql_name(name)
    if column.function is not None:
        return f"system.main.{column.function}({quoted})"
    if column.default is not None:
        return f"COALESCE({quoted}, {sql_literal(typed_value(column.default.value, kind, name=name), kind)})"
    return quoted


def _polars(node: Node, row: Struct, attributes: Mapping[str, Any]) -> pl.Expr:
    import polars as pl

    if isinstance(node, Both):
        left, right = _polars(node.left, row, attributes), _polars(node.right, row, attributes)
        return left & right if node.word == "AND" else left | right
    if isinstance(node, Not):
        return ~_polars(node.inner, row, attributes)
    if isinstance(node, Truth):
        return _polars_column(node.value, row) if isinstance(node.value, Col) else pl.lit(node.value)
    if isinstance(node, IsNull):
        return _polars_column(node.left, row).is_null()
    column = _polars_compared(node.left, row)
    kind = _type(node.left, row)
    if isinstance(node, Like):
        return column.str.contains(_like_pattern(node.pattern))
    if isinstance(node, InList):
        values = [v for item in node.items for v in _values(item, kind, node.left.name, attributes, many=True)]
        equal = [column == _polars_literal(v, kind) for v in values]
        return pl.any_horizontal(equal)
    if isinstance(node.right, Col):
        other = _polars_compared(node.right, row)
    else:
        (value,) = _values(node.right, kind, node.left.name, attributes, many=False)
        other = _polars_literal(value, kind)
    operators: dict[str, Any] = {
        "=": column.eq,
        "<>": column.ne,
        ">": column.gt,
        ">=": column.ge,
        "<": column.lt,
        "<=": column.le,
    }
    expression: pl.Expr = operators[node.operator](other)
    return expression


def _polars_column(column: Col, row: Struct) -> pl.Expr:
    import polars as pl

    name, kind = _member(column.name, row)
    expression = pl.col(name)
    if column.function == "lower":
        return expression.str.to_lowercase()
    if column.function == "length":
        return expression.str.len_chars().cast(pl.Int64)
    if column.default is not None:
        return pl.coalesce(expression, _polars_literal(typed_value(column.default.value, kind, name=name), kind))
    return expression


def _polars_literal(value: Any, kind: DataType) -> pl.Expr:
    import polars as pl

    from meshkit.types.polars import to_polars

    return pl.lit(value).cast(to_polars(kind))


def _like_pattern(pattern: str) -> str:
    """The pattern of LIKE as a regular expression: `%` any text, `_` one character."""
    return "(?s)^" + "".join({"%": ".*", "_": "."}.get(c) or _escaped(c) for c in pattern) + "$"


def _escaped(character: str) -> str:
    return re.escape(character) if character.isascii() else character
