"""The planner: which port a fragment reads, which columns, which conditions go down, and the plan that people see. Pure.

Source: federation-and-masking section 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from meshkit.errors import UsageError
from meshkit.federation.errors import NoQueryablePort, PolicyUnavailable
from meshkit.federation.predicates import columns_of
from meshkit.federation.products import QueryablePort
from meshkit.federation.statement import Compare, FragmentRef, GatedQuery, InList, JoinKey, Predicate
from meshkit.ports import ColumnDecision, Decision, RowFilter
from meshkit.types import Decimal, Primitive

__all__ = [
    "Fragment",
    "FragmentColumn",
    "FragmentReport",
    "KeyReduction",
    "QueryPlan",
    "choose_port",
    "plan_fragment",
    "plan_reductions",
]

MAX_KEYS = 20_000
MAX_KEY_RATIO = 0.1
SPOOL_ROWS = 250_000
CLEAR = ColumnDecision(mask="clear")


@dataclass(frozen=True, slots=True)
class FragmentColumn:
    """A column of a fragment with what the policies say about it."""

    name: str
    label: str
    decision: ColumnDecision

    @property
    def is_clear(self) -> bool:
        """Shown as it is, in every visible row."""
        return self.decision.mask == "clear" and self.decision.only_rows is None


@dataclass(frozen=True, slots=True)
class Fragment:
    """What the privileged engine reads for one relation: masked columns of visible rows, fewer where the query allows."""

    ref: FragmentRef
    port: QueryablePort
    columns: tuple[FragmentColumn, ...]
    row_filters: tuple[RowFilter, ...]
    pushed: tuple[Predicate, ...]
    kept: tuple[str, ...] = ()  # why conditions stay in the sandbox
    source: str | None = None

    @property
    def hides_bytes(self) -> bool:
        """Whether sizes would count hidden rows or masked values."""
        return bool(self.row_filters) or any(not c.is_clear for c in self.columns)


@dataclass(frozen=True, slots=True)
class KeyReduction:
    """Read `source` first, then only those rows of `target` whose key is among its keys."""

    join: JoinKey
    type_name: str  # Postgres element type


@dataclass(slots=True)
class FragmentReport:
    """One line of a plan: what is read where, and how much it was. `rows` and `bytes` are None until measured or where they must be hidden."""

    table: str
    port: str
    source: str | None
    sql: str
    pushed: tuple[str, ...] = ()
    not_pushed: tuple[str, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    scans: int = 0

    def to_json(self) -> dict[str, Any]:
        """Part of `meshkit.federation.query_plan/1`."""
        return {
            "table": self.table, "port": self.port, "source": self.source, "sql": self.sql, "pushed": list(self.pushed),
            "not_pushed": list(self.not_pushed), "rows": self.rows, "bytes": self.bytes, "scans": self.scans,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """How a query runs: no DSN, path, key or filter literal in it. `print(plan)` shows it."""

    statement: str
    trust: str
    fragments: tuple[FragmentReport, ...] = ()
    seconds: float | None = None
    masked: tuple[tuple[str, str, str], ...] = field(default=())  # table, column, mask

    def to_text(self) -> str:
        """For people."""
        lines = [f"query   {self.statement}", f"engine  duckdb, {self.trust}"]
        for f in self.fragments:
            lines.append(f"read    {f.table} from port {f.port}" + (f" (source {f.source})" if f.source else ""))
            lines.append(f"        {f.sql}")
            lines.extend(f"        pushed: {p}" for p in f.pushed)
            lines.extend(f"        not pushed: {p}" for p in f.not_pushed)
            if f.scans:
                size = f", {f.bytes} bytes" if f.bytes is not None else ""
                rows = f"{f.rows} rows" if f.rows is not None else "rows hidden"
                lines.append(f"        read: {rows}{size}, {f.scans} scan{'s' if f.scans > 1 else ''}")
        lines.extend(f"masked  {table}.{column}: {mask}" for table, column, mask in self.masked)
        return "\n".join(lines)

    __str__ = to_text

    def to_json(self) -> dict[str, Any]:
        """`meshkit.federation.query_plan/1`."""
        return {
            "format": "meshkit.federation.query_plan/1",
            "statement": self.statement,
            "trust": self.trust,
            "fragments": [f.to_json() for f in self.fragments],
            "masked": [{"table": t, "column": c, "mask": m} for t, c, m in self.masked],
            "seconds": self.seconds,
        }

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


def choose_port(
    ref: FragmentRef, ports: Sequence[QueryablePort], *, wanted: str | None, keys: Sequence[str]
) -> QueryablePort:
    """Named by the caller; else Postgres for a point read on the key; else columnar; else the manifest's order.

    Raises: `UsageError` for a port that is not there or not queryable; `NoQueryablePort`.
    """
    product = ref.table.product
    if wanted is not None:
        for port in ports:
            if port.name == wanted:
                return port
        known = ", ".join(p.name for p in ports) or "none"
        raise UsageError(
            f"{product} has no queryable port {wanted!r}. Queryable are: {known}", code="federation.no_queryable_port"
        )
    if not ports:
        raise NoQueryablePort(product, detail="none is a Postgres, Parquet, CSV or JSON port")
    pointed = {p.column for p in ref.predicates if isinstance(p, InList) or (isinstance(p, Compare) and p.op == "=")}
    if pointed & set(keys):
        for port in ports:
            if port.format == "postgres":
                return port
    return next((p for p in ports if p.format == "parquet"), ports[0])


def plan_fragment(ref: FragmentRef, port: QueryablePort, decision: Decision, source: str | None) -> Fragment:
    """Columns with masks, and the conditions that may run below.

    A sensitive column that the decision does not name is `null`; a decision over columns that the contract lacks is no decision.
    Raises: `PolicyUnavailable`.
    """
    table = ref.table
    known = {table.column_label(c.name): c for c in table.columns}
    if (
        table.is_main
        and len(decision.columns)
        and any("." not in k and k not in known and k not in _roots(known) for k in decision.columns)
    ):
        raise PolicyUnavailable
    masks = {c.name: _mask(decision, table.column_label(c.name), c.name, sensitive=c.sensitive) for c in table.columns}
    columns = tuple(FragmentColumn(n, table.column_label(n), masks[n]) for n in ref.columns)
    clear = {n for n, d in masks.items() if d.mask == "clear" and d.only_rows is None}
    pushed, kept = [], []
    for predicate in ref.predicates:
        hidden = sorted(columns_of(predicate) - clear)
        if hidden:
            kept.append(f"a condition on {', '.join(hidden)}: the column is masked")
        elif port.format in {"csv", "json"}:
            kept.append(
                f"a condition on {', '.join(sorted(columns_of(predicate)))}: {port.format} text is checked against the contract first"
            )
        else:
            pushed.append(predicate)
    return Fragment(ref, port, columns, tuple(decision.row_filters), tuple(pushed), tuple(kept), source)


def _roots(known: Mapping[str, Any]) -> set[str]:
    return {k.split(".", 1)[0] for k in known}


def _mask(decision: Decision, label: str, column: str, *, sensitive: bool) -> ColumnDecision:
    found = decision.columns.get(label) or decision.columns.get(column)
    if found is not None:
        return found
    return ColumnDecision(mask="null", reason="sensitive, and the decision does not name it") if sensitive else CLEAR


_KEY_TYPES = {
    "int8": "smallint",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "string": "text",
    "date": "date",
}


def plan_reductions(gated: GatedQuery, fragments: Mapping[str, Fragment]) -> tuple[KeyReduction, ...]:
    """Joins in which the keys of one side restrict a Postgres side: clear keys of one type, the source side itself restricted or a file."""
    chosen: dict[str, KeyReduction] = {}
    for join in gated.join_keys:
        target, source = fragments.get(join.target), fragments.get(join.source)
        if (
            target is None
            or source is None
            or target.port.format != "postgres"
            or join.target in chosen
            or join.target == join.source
        ):
            continue
        if join.source in chosen or any(r.join.source == join.target for r in chosen.values()):
            continue
        if source.port.format == "postgres" and not (source.pushed and not target.pushed):
            continue
        left, right = _column(target, join.target_column), _column(source, join.source_column)
        types = {
            str(next(c.type for c in f.ref.table.columns if c.name == n))
            for f, n in ((target, join.target_column), (source, join.source_column))
        }
        if left is None or right is None or not left.is_clear or not right.is_clear or len(types) != 1:
            continue
        element = _KEY_TYPES.get(types.pop())
        if element is not None:
            chosen[join.target] = KeyReduction(join, element)
    return tuple(chosen.values())


def _column(fragment: Fragment, name: str) -> FragmentColumn | None:
    return next((c for c in fragment.columns if c.name == name), None)


def with_source(fragment: Fragment, source: str | None) -> Fragment:
    """The fragment, read through `source`."""
    return replace(fragment, source=source)


def is_exact(data_type: Any) -> bool:
    """Types whose comparison in Postgres means the same as in DuckDB: no floats, no collations."""
    return isinstance(data_type, Decimal) or (
        isinstance(data_type, Primitive) and data_type.name != "string" and not data_type.name.startswith("float")
    )
