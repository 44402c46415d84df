"""Values that the gate makes of a statement: fragments with what they need, output columns with where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from meshkit.federation.names import TableInfo

if TYPE_CHECKING:
    from meshkit.ports import Decision

__all__ = [
    "And",
    "Between",
    "Compare",
    "Constant",
    "FragmentRef",
    "GatedQuery",
    "InList",
    "IsNull",
    "JoinKey",
    "Not",
    "Or",
    "Origin",
    "OutputColumn",
    "Predicate",
]

Origin = tuple[str, str]  # product, column label
Constant = int | float | str | bool | Decimal | date | datetime


@dataclass(frozen=True, slots=True)
class Compare:
    """`column op constant`; the constant has exactly the column's type."""

    column: str
    op: Literal["=", "<>", "<", "<=", ">", ">="]
    value: Constant


@dataclass(frozen=True, slots=True)
class Between:
    """`column BETWEEN low AND high`."""

    column: str
    low: Constant
    high: Constant


@dataclass(frozen=True, slots=True)
class InList:
    """`column IN (constants)`."""

    column: str
    values: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """`column IS NULL`."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """Negation, in three-valued logic."""

    part: Predicate


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the parts holds."""

    parts: tuple[Predicate, ...]


Predicate = Compare | Between | InList | IsNull | Not | And | Or


@dataclass(frozen=True, slots=True)
class FragmentRef:
    """One relation of the query, to be read by the privileged engine under `name` in the sandbox.

    `columns` are the contract columns the text names. `predicates` are conditions of the query that restrict this relation alone and
    are total by form; whether they may go down is decided with the masks (only on clear columns). `rescanned`: the engine may read it
    more than once (recursion), so it is loaded first. `shared`: it stands in a WITH query, which may be used several times.
    """

    name: str
    table: TableInfo
    columns: tuple[str, ...]
    predicates: tuple[Predicate, ...] = ()
    rescanned: bool = False
    shared: bool = False
    virtual: Literal["tables", "columns"] | None = None  # information_schema, answered from contracts and grants


@dataclass(frozen=True, slots=True)
class JoinKey:
    """Keys of `source` restrict rows of `target`: `target.column = source.column` in a join that drops unmatched target rows."""

    target: str
    target_column: str
    source: str
    source_column: str


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A column of the result: the input columns it depends on, and the one it shows unchanged, if it does."""

    name: str
    origins: frozenset[Origin] = frozenset()
    direct: Origin | None = None


@dataclass(frozen=True, slots=True)
class GatedQuery:
    """A statement that passed the gate. `sql` names fragments only; `redacted` is the user's text with literals as `?`."""

    kind: Literal["query", "explain", "describe", "show_tables"]
    sql: str
    redacted: str
    fragments: tuple[FragmentRef, ...] = ()
    join_keys: tuple[JoinKey, ...] = ()
    outputs: tuple[OutputColumn, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    described: TableInfo | None = None
