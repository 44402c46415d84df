"""SQL of one fragment for the privileged engine: `SELECT masks FROM port WHERE row filters AND copied predicates`. Text in, text out.

All text is generated here or by the policies; nothing of the user's query gets in but typed constants of total predicates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from meshkit.errors import MeshkitError
from meshkit.federation.errors import PolicyUnavailable, SchemaDrift
from meshkit.federation.names import TableInfo, fold
from meshkit.federation.plan import Fragment, FragmentColumn
from meshkit.federation.predicates import columns_of, conjuncts, predicate_of, to_duckdb
from meshkit.federation.statement import Predicate
from meshkit.ports import ColumnDecision, MaskCompiler
from meshkit.types import DataType, Decimal, Primitive, Temporal
from meshkit.types.duckdb import from_duckdb, quote
from meshkit.types.duckdb import to_duckdb as type_sql

__all__ = [
    "ArrowMask",
    "Conditions",
    "FragmentSql",
    "PolicySql",
    "Reader",
    "Relation",
    "build",
    "casts_totally",
    "conditions_of",
    "policy_sql",
]


TextFormat = Literal["", "csv", "json"]


@dataclass(frozen=True, slots=True)
class Relation:
    """The raw rows of a port: SQL after FROM for the columns wanted, and all columns with their DuckDB types.

    `text`: values are unchecked text of this format.
    """

    sql: Callable[[Sequence[str]], str]
    types: Mapping[str, str]
    text: TextFormat = ""


Reader = Callable[[str, str], tuple[TableInfo, Relation]]  # domain, table of a policy's subquery -> its raw rows


@dataclass(frozen=True, slots=True)
class ArrowMask:
    """A column that is masked after the fetch: its key must never stand in SQL. `condition`: fetched column that says where it applies."""

    column: str
    type: DataType
    decision: ColumnDecision
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class FragmentSql:
    """The statement, what is masked after the fetch, and what only helped with that."""

    sql: str
    arrow: tuple[ArrowMask, ...] = ()
    helpers: tuple[str, ...] = ()


_BITS = {"int8": (8, 3), "int16": (16, 5), "int32": (32, 10), "int64": (64, 19)}


def casts_totally(source: DataType, target: DataType) -> bool:
    """Whether every value of `source` has an exact counterpart in `target`, so that the cast cannot raise."""
    if source == target:
        return True
    if isinstance(source, Primitive) and source.name in _BITS:
        if isinstance(target, Primitive):
            wide = _BITS.get(target.name)
            return (
                target.name == "string"
                or (wide is not None and wide[0] > _BITS[source.name][0])
                or (target.name == "float64" and source.name != "int64")
            )
        return isinstance(target, Decimal) and target.precision - target.scale >= _BITS[source.name][1]
    if isinstance(source, Decimal) and isinstance(target, Decimal):
        return target.scale >= source.scale and target.precision - target.scale >= source.precision - source.scale
    if isinstance(target, Primitive) and target.name == "string":
        return not source.is_nested and str(source) != "bytes"
    if isinstance(source, Primitive) and isinstance(target, Primitive):
        return (source.name, target.name) in {("float32", "float64"), ("json", "string")}
    if isinstance(source, Temporal) and isinstance(target, Temporal):
        return source.name == target.name and source.unit == "ns"
    return False


@dataclass(frozen=True, slots=True)
class PolicySql:
    """A condition of a policy as DuckDB SQL, and the contract columns it looks at."""

    sql: str
    columns: frozenset[str]
    predicates: tuple[Predicate, ...] = ()  # parts that are total by form: they may also run in the source


@dataclass(frozen=True, slots=True)
class Conditions:
    """Row filters and `only_rows` of a fragment, parsed; what the fragment needs to read."""

    filters: tuple[PolicySql, ...]
    only_rows: Mapping[str, PolicySql]
    checked: frozenset[str]
    needed: frozenset[str]


def conditions_of(fragment: Fragment, read: Reader) -> Conditions:
    """Raises: `PolicyUnavailable` for filters that cannot be evaluated."""
    table, alias = fragment.ref.table, _alias(fragment)
    filters = tuple(policy_sql(f.sql, table, alias, read) for f in fragment.row_filters)
    only_rows = {
        c.name: policy_sql(c.decision.only_rows, table, alias, read)
        for c in fragment.columns
        if c.decision.only_rows is not None
    }
    checked = frozenset().union(
        *(f.columns for f in filters),
        *(c.columns for c in only_rows.values()),
        *(columns_of(p) for p in fragment.pushed),
    )
    shown = {c.name for c in fragment.columns if c.decision.mask != "null" or c.decision.only_rows is not None}
    return Conditions(filters, only_rows, checked, frozenset(shown | checked))


def _alias(fragment: Fragment) -> str:
    return fragment.ref.table.product.rpartition(".")[2]


def build(fragment: Fragment, relation: Relation, conditions: Conditions, compiler: MaskCompiler) -> FragmentSql:
    """The statement of a fragment. Raises: `SchemaDrift` for columns that the source lacks, or has with another type where that is unsafe."""
    alias = _alias(fragment)
    inner, outer = _columns(fragment, relation, conditions, alias)
    items, arrow, helpers = _select(fragment, compiler, conditions, outer)
    where = [f"({f.sql})" for f in conditions.filters]
    where += [to_duckdb(p, lambda c: f"{quote(alias)}.{quote(c)}") for p in fragment.pushed]
    have = {fold(n): n for n in relation.types}
    source = relation.sql([have[fold(c.name)] for c in fragment.ref.table.columns if c.name in conditions.needed])
    body = ", ".join(inner) or '1 AS "_"'
    sql = f"SELECT {', '.join(items) or NOTHING} FROM (SELECT {body} FROM {source}) AS {quote(alias)}"
    return FragmentSql(sql + (" WHERE " + " AND ".join(where) if where else ""), tuple(arrow), tuple(helpers))


NOTHING = '1::TINYINT AS "_"'  # a query that counts rows needs a column to count


def _columns(
    fragment: Fragment, relation: Relation, conditions: Conditions, alias: str
) -> tuple[list[str], dict[str, str]]:
    """Columns below the filters, and how the select list reads them: what can raise stands above the filters only."""
    table, have = fragment.ref.table, {fold(n): n for n in relation.types}
    lacking = tuple(c.name for c in table.columns if c.name in conditions.needed and fold(c.name) not in have)
    if lacking:
        raise SchemaDrift(
            product=table.product, port=fragment.port.name, columns=lacking, what="lacks columns of the contract"
        )
    shown = {c.name: c for c in fragment.columns}
    inner, outer = [], {}
    for column in table.columns:
        if column.name not in conditions.needed:
            continue
        source = have[fold(column.name)]
        below, above = _typed(
            fragment, relation, source, column.name, column.type, shown.get(column.name), conditions.checked
        )
        inner.append(f"{below} AS {quote(column.name)}")
        outer[column.name] = above.replace("{}", f"{quote(alias)}.{quote(column.name)}", 1)
    return inner, outer


def _typed(
    fragment: Fragment,
    relation: Relation,
    source: str,
    name: str,
    data_type: DataType,
    column: FragmentColumn | None,
    checked: Collection[str],
) -> tuple[str, str]:
    """The column below the filters and the expression over it above them, with the contract's type."""
    wanted, raw = type_sql(data_type), quote(source)
    if relation.text:
        if name in checked:
            return _from_text(relation.text, raw, wanted, "TRY_CAST"), "{}"
        return raw, _from_text(relation.text, "{}", wanted, "CAST")
    actual = _source_type(relation.types[source])
    if relation.types[source] == wanted:
        return raw, "{}"
    if (actual is not None and casts_totally(actual, data_type)) or (
        relation.types[source].startswith("ENUM(") and wanted == "VARCHAR"
    ):
        return f"CAST({raw} AS {wanted})", "{}"
    if name in checked:
        raise SchemaDrift(
            product=fragment.ref.table.product,
            port=fragment.port.name,
            columns=(name,),
            what="has columns of another type than the contract",
        )
    if column is None or not column.is_clear:
        return f"CAST(NULL AS {wanted})", "{}"
    return raw, f"CAST({{}} AS {wanted})"


def _source_type(text: str) -> DataType | None:
    try:
        return from_duckdb(text)
    except MeshkitError:
        return None


def _from_text(form: str, raw: str, wanted: str, cast: str) -> str:
    if form == "csv":
        return raw if wanted == "VARCHAR" else f"{cast}({raw} AS {wanted})"
    if wanted == "JSON":
        return raw
    if wanted.endswith("]") or wanted.startswith(("STRUCT", "MAP")):
        return f"{cast}({raw} AS {wanted})"
    return f"({raw}->>'$')" if wanted == "VARCHAR" else f"{cast}(({raw}->>'$') AS {wanted})"


def text_value(fragment: Fragment, column: str, data_type: DataType) -> str:
    """Condition that a text value is there and does not have its contract type."""
    wanted, raw = type_sql(data_type), quote(column)
    there = (
        f"{raw} IS NOT NULL" if fragment.port.format == "csv" else f"({raw} IS NOT NULL AND ({raw}->>'$') IS NOT NULL)"
    )
    return f"({there} AND {_from_text(fragment.port.format, raw, wanted, 'TRY_CAST')} IS NULL)"


def _select(
    fragment: Fragment, compiler: MaskCompiler, conditions: Conditions, outer: Mapping[str, str]
) -> tuple[list[str], list[ArrowMask], list[str]]:
    items: list[str] = []
    arrow: list[ArrowMask] = []
    helpers: list[str] = []
    types = {c.name: c.type for c in fragment.ref.table.columns}
    for column in fragment.columns:
        data_type, condition = types[column.name], conditions.only_rows.get(column.name)
        raw = outer.get(column.name, f"CAST(NULL AS {type_sql(data_type)})")
        expression = _masked(raw, data_type, column.decision, condition, compiler)
        if expression is None:
            helper = None
            if condition is not None:
                helper = f"__mask_{len(helpers)}"
                helpers.append(helper)
                items.append(f"CAST(coalesce({condition.sql}, FALSE) AS TINYINT) AS {quote(helper)}")
            arrow.append(ArrowMask(column.name, data_type, column.decision, helper))
            expression = raw
        items.append(f"{expression} AS {quote(column.name)}")
    return items, arrow, helpers


def _masked(
    raw: str, data_type: DataType, decision: ColumnDecision, condition: PolicySql | None, compiler: MaskCompiler
) -> str | None:
    """SQL of the masked column with its contract type, or None where Arrow does it."""
    plain = _one_mask(raw, data_type, replace(decision, only_rows=None), compiler)
    if plain is None or condition is None:
        return plain
    other = _one_mask(raw, data_type, ColumnDecision(mask=decision.otherwise), compiler)
    if other is None:
        return None
    return f"CASE WHEN {condition.sql} THEN {plain} ELSE {other} END"


def _one_mask(raw: str, data_type: DataType, decision: ColumnDecision, compiler: MaskCompiler) -> str | None:
    if decision.mask == "clear":
        return raw
    if decision.mask == "null":
        return f"CAST(NULL AS {type_sql(data_type)})"
    expression = compiler.duckdb(raw, data_type, decision)
    return None if expression is None else f"CAST({expression} AS {type_sql(data_type)})"


def _forgiving(info: TableInfo, relation: Relation) -> str:
    """Columns of another product with contract types, by casts that cannot raise; what the source lacks is NULL."""
    have = {fold(n): n for n in relation.types}
    items = []
    for column in info.columns:
        source, wanted = have.get(fold(column.name)), type_sql(column.type)
        if source is None:
            value = f"CAST(NULL AS {wanted})"
        elif relation.text:
            value = _from_text(relation.text, quote(source), wanted, "TRY_CAST")
        else:
            value = quote(source) if relation.types[source] == wanted else f"TRY_CAST({quote(source)} AS {wanted})"
        items.append(f"{value} AS {quote(column.name)}")
    return ", ".join(items)


def policy_sql(text: str, table: TableInfo, alias: str, read: Reader) -> PolicySql:
    """Qualify the columns of a policy's condition, and put the raw rows of other products in place of their names.

    Raises: `PolicyUnavailable` for anything that is not such a condition: a filter that is not understood hides everything.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(text, dialect="duckdb", into=exp.Condition)
    except (SqlglotError, RecursionError):
        raise PolicyUnavailable from None
    columns = {fold(c.name): c.name for c in table.columns}
    types = {c.name: c.type for c in table.columns}
    used: set[str] = set()
    holder = exp.Paren(this=tree)

    def find(column: Any) -> tuple[str, DataType] | None:
        name = columns.get(fold(column.name))
        return None if name is None or column.args.get("db") is not None else (name, types[name])

    total = tuple(p for p in (predicate_of(part, find, {}) for part in conjuncts(tree)) if p is not None)
    for node in list(holder.find_all(exp.Table)):
        if node.args.get("db") is None or node.args.get("catalog") is not None:
            raise PolicyUnavailable
        info, relation = read(node.args["db"].name, node.name)
        known = {fold(c.name) for c in info.columns}
        name = node.alias or node.name
        select = node.find_ancestor(exp.Select)
        for column in select.find_all(exp.Column) if select is not None else ():
            if not column.table and fold(column.name) in known:
                column.set("table", exp.to_identifier(name, quoted=True))
        wrapped = sqlglot.parse_one(
            f"SELECT * FROM (SELECT {_forgiving(info, relation)} FROM __raw__)", dialect="duckdb"
        )
        placeholder: Any = wrapped.find(exp.Subquery)
        placeholder.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
        node.replace(placeholder)
        placeholder.find(exp.Table).set("this", exp.Var(this=relation.sql(list(relation.types))))
    for column in holder.find_all(exp.Column):
        if column.find_ancestor(exp.Select) is not None:
            continue
        if fold(column.table) not in {"", fold(alias), fold(table.product)} or fold(column.name) not in columns:
            raise PolicyUnavailable
        used.add(columns[fold(column.name)])
        column.set("table", exp.to_identifier(alias, quoted=True))
        column.set("db", None)
        column.set("this", exp.to_identifier(columns[fold(column.name)], quoted=True))
    return PolicySql(holder.sql(dialect="duckdb", comments=False), frozenset(used), total)
