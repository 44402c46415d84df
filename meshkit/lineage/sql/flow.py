"""What flows where inside one statement: the small mutable values of the resolver, and the schema it reads names from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshkit.lineage.errors import BadSchema

__all__ = ["AGGREGATION", "EXACT", "IDENTITY", "TRANSFORMATION", "Flow", "Relation", "Schema", "loosened"]

# A direct input's code is its rank, plus EXACT where the column was found without doubt.
IDENTITY, TRANSFORMATION, AGGREGATION = 1, 2, 3
EXACT = 4

Ref = tuple[str, str]
Effect = tuple[str, str, str]


class Flow:
    """Inputs of one output: direct ones with their rank, indirect ones with their subtype. Shared once built, so never changed."""

    __slots__ = ("direct", "indirect")

    def __init__(self, direct: dict[Ref, int] | None = None, indirect: dict[Effect, bool] | None = None) -> None:
        self.direct: dict[Ref, int] = {} if direct is None else direct
        self.indirect: dict[Effect, bool] = {} if indirect is None else indirect

    def absorb(self, other: Flow, rank: int, subtype: str | None) -> None:
        """Compose `other` behind a step of `rank` (direct) or `subtype` (indirect). DIRECT after DIRECT = the stronger."""
        if subtype is None:
            direct = self.direct
            for ref, code in other.direct.items():
                old = direct.get(ref, 0)
                direct[ref] = max(old & 3, code & 3, rank) | ((old | code) & EXACT)
            add_effects(self.indirect, other.indirect)
            return
        indirect = self.indirect
        for (table, column), code in other.direct.items():
            key = (table, column, subtype)
            indirect[key] = indirect.get(key, False) or bool(code & EXACT)
        for (table, column, _), exact in other.indirect.items():
            key = (table, column, subtype)
            indirect[key] = indirect.get(key, False) or exact


def add_effects(into: dict[Effect, bool], more: Mapping[Effect, bool]) -> None:
    """Union of indirect inputs; exact if either is."""
    for key, exact in more.items():
        into[key] = into.get(key, False) or exact


def loosened(flows: Iterable[Flow]) -> Flow:
    """All candidates of a name that can't be decided, none of them exact."""
    merged = Flow()
    for flow in flows:
        merged.absorb(flow, 0, None)
    return Flow({ref: code & 3 for ref, code in merged.direct.items()}, dict.fromkeys(merged.indirect, False))


class Relation:
    """A source in FROM. `columns`: key -> (shown name, flow), in order. Open relations have columns nobody listed:

    `open_tables` are the tables behind them, `open_flow` is what any of them is made of (table functions).
    """

    __slots__ = ("columns", "hidden", "names", "open_flow", "open_tables", "tables")

    def __init__(
        self,
        names: tuple[str, ...],
        columns: dict[str, tuple[str, Flow]],
        tables: tuple[str, ...] = (),
        open_tables: tuple[str, ...] = (),
        open_flow: Flow | None = None,
    ) -> None:
        self.names, self.columns, self.tables = names, columns, tables
        self.open_tables, self.open_flow = open_tables, open_flow
        self.hidden: set[str] = set()  # columns merged away by USING: found by qualified name only

    @property
    def is_open(self) -> bool:
        """Whether it may have columns that are not listed."""
        return bool(self.open_tables) or self.open_flow is not None

    def lookup(self, key: str, shown: str) -> Flow | None:
        """Flow of a column; None if it surely has none of that name."""
        hit = self.columns.get(key)
        if hit is not None:
            return hit[1]
        if self.open_flow is not None:
            return self.open_flow
        if self.open_tables:
            code = IDENTITY | (EXACT if len(self.open_tables) == 1 else 0)
            return Flow(dict.fromkeys(((table, shown) for table in self.open_tables), code))
        return None

    def whole_row(self) -> Flow:
        """Every column at once: `select t from t`, `count(t)`."""
        flow = Flow()
        for _, column in self.columns.values():
            flow.absorb(column, TRANSFORMATION, None)
        if self.open_flow is not None:
            flow.absorb(self.open_flow, TRANSFORMATION, None)
        for table in self.open_tables:
            flow.direct[(table, "*")] = TRANSFORMATION
        return flow


class Schema:
    """Columns of tables, prepared once for one grammar: pass it instead of a mapping when parsing many statements."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any] | Sequence[str]] | None, grammar: Any) -> None:
        self.grammar = grammar
        self._shown: dict[str, str] = {}
        self._columns: dict[str, dict[str, tuple[str, Flow]]] = {}
        for name, columns in (tables or {}).items():
            self.add(name, columns)

    def add(self, name: str, columns: Mapping[str, Any] | Sequence[str]) -> None:
        """List the columns of a table, in order. Raises: `BadSchema`."""
        if isinstance(columns, str) or not isinstance(columns, Mapping | Sequence):
            raise BadSchema(f"the schema of {name} is neither a mapping nor a list of column names. Give one of them")
        key = self.grammar.schema_key(name)
        prepared: dict[str, tuple[str, Flow]] = {}
        for column in columns:
            if not isinstance(column, str):
                raise BadSchema(f"a column name of {name} is not text. Give names as strings")
            prepared[self.grammar.schema_key(column)] = (column, Flow({(name, column): IDENTITY | EXACT}))
        self._columns[key], self._shown[key] = prepared, name
        domain, _, last = key.rpartition(".")
        if "." in domain:  # nested domains are also one identifier in SQL: sales_eu.orders
            flat = f"{domain.replace('.', '_')}.{last}"
            self._columns.setdefault(flat, prepared)
            self._shown.setdefault(flat, name)

    def copy(self) -> Schema:
        """A copy that may learn more tables."""
        other = Schema(None, self.grammar)
        other._shown, other._columns = dict(self._shown), dict(self._columns)  # its own kind
        return other

    def forget(self, name: str) -> None:
        """Drop a table."""
        key = self.grammar.schema_key(name)
        self._columns.pop(key, None)
        self._shown.pop(key, None)

    def table(self, key: str) -> tuple[str, dict[str, tuple[str, Flow]] | None]:
        """Shown name and columns of a folded table name; columns None if the schema doesn't list it."""
        return self._shown.get(key, key), self._columns.get(key)
