"""Statements and their targets: SELECT, INSERT, CREATE TABLE AS, views, MERGE, UPDATE, COPY, DELETE, TRUNCATE, RENAME, SWAP, DROP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from meshkit.lineage.sql.adapter import CATEGORY, Grammar, Statement, exp, fingerprint
from meshkit.lineage.sql.expressions import collect
from meshkit.lineage.sql.flow import EXACT, TRANSFORMATION, Effect, Flow, Schema
from meshkit.lineage.sql.models import ColumnInput, IndirectInput, OutputColumn, StatementLineage
from meshkit.lineage.sql.relations import bind_source
from meshkit.lineage.sql.resolver import EMPTY_ENV, Query, Resolver
from meshkit.lineage.sql.scope import Scope

__all__ = ["read_statement"]

_RANKS = {1: "IDENTITY", 2: "TRANSFORMATION", 3: "AGGREGATION"}
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values, exp.Table)
_SILENT = (exp.Set, exp.Use, exp.Transaction, exp.Commit, exp.Rollback, exp.Pragma, exp.Comment, exp.Grant, exp.Revoke, exp.Attach, exp.Detach,
           exp.Show, exp.Describe, exp.Analyze, exp.Declare, exp.Install)  # fmt: skip


@dataclass(slots=True)
class _Found:
    """What a statement writes, before it is a value."""

    kind: str
    outputs: list[tuple[str, Flow]] = field(default_factory=list)
    effects: dict[Effect, bool] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    renames: list[tuple[str, str]] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    effect: str | None = None
    temporary: bool = False


def read_statement(
    statement: Statement, grammar: Grammar, schema: Schema, *, namespace: str = "", lateral_aliases: bool | None = None
) -> StatementLineage:
    """The lineage of one parsed statement, or why there is none."""
    if statement.tree is None:
        problems = () if statement.problem is None else (statement.problem,)
        return StatementLineage("unparsed", "unparsed", problems=problems, fingerprint=fingerprint(statement.tokens))
    resolver = Resolver(grammar, schema, namespace=namespace, lateral_aliases=lateral_aliases)
    try:
        found = _dispatch(resolver, statement.tree)
    except RecursionError:
        resolver.lower("unparsed", "sql.too_deep", "the statement nests too deep. Use CTEs")
        found = _Found("unparsed")
    for node in statement.tree.find_all(exp.Select) if resolver.rung else ():
        _note_unlisted(resolver, node)
    return _finished(resolver, found, fingerprint(statement.tokens))


def _note_unlisted(resolver: Resolver, select: Any) -> None:
    for value in select.args.values():
        if isinstance(value, exp.Expression) and type(value) not in CATEGORY:
            resolver.lower("table", "lineage.opaque", f"{type(value).__name__} is not in the table of classes")


def _dispatch(resolver: Resolver, tree: Any) -> _Found:
    reader = _READERS.get(type(tree))
    if reader is not None:
        return reader(resolver, tree)
    if isinstance(tree, _QUERIES):
        return _select(resolver, tree)
    if isinstance(tree, _SILENT):
        return _Found(type(tree).__name__.lower())
    if CATEGORY.get(type(tree)) in {"leaf", "value", "aggregate", "condition"}:  # `selec x` parses as an alias
        resolver.lower("unparsed", "sql.syntax", "this is an expression, no statement. Check the first word")
        return _Found("unparsed")
    resolver.lower("table", "lineage.opaque", f"statements of kind {type(tree).__name__} are not read column by column")
    found = _Found(type(tree).__name__.lower())
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier):
            resolver.sources[resolver.table_name(table)] = None
    return found


def _select(resolver: Resolver, tree: Any) -> _Found:
    result = resolver.query(tree, EMPTY_ENV, None)
    found = _Found("select", [(shown, flow) for _, shown, flow in result.columns], result.effects)
    into = tree.args.get("into") if isinstance(tree, exp.Select) else None
    if into is not None and isinstance(into.this, exp.Table):
        found.kind = "create_table_as"
        found.targets = [resolver.table_name(into.this)]
        found.temporary = bool(into.args.get("temporary"))
    return found


def _with_query(resolver: Resolver, tree: Any, query: Any) -> Query:
    """The query of a statement whose WITH may stand before it."""
    env = resolver._with(tree, EMPTY_ENV, None)  # noqa: SLF001  # the WITH of the statement is that of its query
    return resolver.query(query, env, None)


def _insert(resolver: Resolver, tree: Any) -> _Found:
    found = _Found("insert")
    target = tree.this
    columns: list[Any] = []
    if isinstance(target, exp.Schema):
        columns, target = target.args["expressions"], target.this
    if not isinstance(target, exp.Table) or tree.args.get("alternative") == "multi":
        resolver.lower("table", "lineage.opaque", "this target of INSERT is not read")
        return found
    found.targets = [resolver.table_name(target)]
    if not tree.args.get("expression"):
        return found
    result = _with_query(resolver, tree, tree.expression)
    found.effects = result.effects
    names = [resolver.grammar.shown(c) for c in columns if isinstance(c, exp.Identifier)]
    if not names and not tree.args.get("by_name"):
        listed = resolver.schema.table(resolver.table_key(target))[1]
        names = [shown for shown, _ in listed.values()] if listed else []
    if result.open_tables:
        names = []
    if names and not tree.args.get("by_name") and len(names) >= len(result.columns):
        found.outputs = [(names[i], flow) for i, (_, _, flow) in enumerate(result.columns)]
    elif names and len(names) < len(result.columns):
        resolver.lower("table", "lineage.insert_width", "the INSERT has more values than columns")
        found.outputs = [(shown, flow) for _, shown, flow in result.columns]
    else:
        found.outputs = [(shown, flow) for _, shown, flow in result.columns]
        if not tree.args.get("by_name") and not result.open_tables:
            resolver.lower("ambiguous", "lineage.insert_by_position",
                           f"the columns of {found.targets[0]} are unknown: outputs have the names of the query")  # fmt: skip
    conflict = tree.args.get("conflict")
    if conflict and conflict.args.get("expressions"):
        resolver.lower("table", "lineage.on_conflict", "ON CONFLICT DO UPDATE is not read column by column")
    return found


def _create(resolver: Resolver, tree: Any) -> _Found:
    kind = str(tree.args.get("kind") or "").lower()
    target, columns = tree.this, []
    if isinstance(target, exp.Schema):
        columns, target = target.args["expressions"], target.this
    query = tree.args.get("expression")
    if kind not in {"table", "view"} or not isinstance(target, exp.Table):
        return _Found(f"create_{kind.replace(' ', '_')}" if kind else "create")
    found = _Found(f"create_{kind}", targets=[resolver.table_name(target)])
    properties = tree.args.get("properties")
    found.temporary = bool(properties) and properties.find(exp.TemporaryProperty) is not None
    if not query:
        if tree.args.get("clone"):
            resolver.lower("table", "lineage.clone", "CLONE copies a table whose columns are not listed here")
            resolver.sources[resolver.table_name(tree.args["clone"].this)] = None
        return found
    if kind == "table":
        found.kind = "create_table_as"
    if not isinstance(query, _QUERIES):
        resolver.lower("table", "lineage.opaque", f"{type(query).__name__} is not read as the query of a table")
        return found
    result = _with_query(resolver, tree, query)
    names = [resolver.grammar.shown(c if isinstance(c, exp.Identifier) else c.this) for c in columns
             if isinstance(c, exp.Identifier | exp.ColumnDef)]  # fmt: skip
    shown = [name for _, name, _ in result.columns]
    if names and not result.open_tables:
        shown = [*names[: len(shown)], *shown[len(names) :]]
    found.outputs = list(zip(shown, (flow for _, _, flow in result.columns), strict=True))
    found.effects = result.effects
    return found


def _merge(resolver: Resolver, tree: Any) -> _Found:
    """Each SET and INSERT column; ON is a JOIN, conditions of WHEN decide all."""
    found = _Found("merge", targets=[resolver.table_name(tree.this)])
    env = resolver._with(tree, EMPTY_ENV, None)  # noqa: SLF001
    scope, outside = _target_scope(resolver, tree.this, env, found.effects)
    bind_source(resolver, tree.args["using"], scope, found.effects)
    into = Flow(indirect=found.effects)
    if tree.args.get("on"):
        collect(resolver, tree.args["on"], scope, into, TRANSFORMATION, "JOIN")
    flows: dict[str, Flow] = {}
    for when in tree.args["whens"].args["expressions"]:
        if when.args.get("condition"):
            collect(resolver, when.args["condition"], scope, into, TRANSFORMATION, "FILTER")
        then = when.args.get("then")
        if isinstance(then, exp.Update) and then.args.get("expressions"):
            _assign(resolver, then.args["expressions"], scope, flows)
        elif (
            isinstance(then, exp.Insert) and isinstance(then.this, exp.Tuple) and isinstance(then.expression, exp.Tuple)
        ):
            pairs = zip(then.this.expressions, then.expression.expressions, strict=False)
            _assign(resolver, [exp.EQ(this=c.copy(), expression=v.copy()) for c, v in pairs], scope, flows)
        elif isinstance(then, exp.Var) and then.name.upper() == "DELETE":
            found.effect = "delete"
        elif not (isinstance(then, exp.Var) and then.name.upper().startswith("DO NOTHING")):
            resolver.lower("table", "lineage.opaque", "a branch of MERGE is not read column by column")
    found.outputs = list(flows.items())
    _drop_untouched_target(resolver, found, outside)
    return found


def _update(resolver: Resolver, tree: Any) -> _Found:
    found = _Found("update", targets=[resolver.table_name(tree.this)])
    env = resolver._with(tree, EMPTY_ENV, None)  # noqa: SLF001
    scope, outside = _target_scope(resolver, tree.this, env, found.effects)
    source = tree.args.get("from_")
    if source:
        bind_source(resolver, source.this, scope, found.effects)
    flows: dict[str, Flow] = {}
    _assign(resolver, tree.args.get("expressions") or (), scope, flows)
    if tree.args.get("where"):
        collect(resolver, tree.args["where"], scope, Flow(indirect=found.effects), TRANSFORMATION, "FILTER")
    found.outputs = list(flows.items())
    _drop_untouched_target(resolver, found, outside)
    return found


def _target_scope(resolver: Resolver, target: Any, env: Any, effects: dict[Effect, bool]) -> tuple[Scope, bool]:
    """A scope that holds the written table; and whether anything else had named that table as source before."""
    known = resolver.table_name(target) in resolver.sources
    scope = Scope(resolver, env, None)
    bind_source(resolver, target, scope, effects)
    return scope, known


def _drop_untouched_target(resolver: Resolver, found: _Found, outside: bool) -> None:
    """The written table is a source only if one of its columns is read."""
    target = found.targets[0]
    read = any(t == target for _, flow in found.outputs for t, _ in flow.direct) or any(
        t == target for t, _, _ in found.effects
    )
    if not read and not outside:
        resolver.sources.pop(target, None)


def _assign(resolver: Resolver, assignments: Any, scope: Scope, flows: dict[str, Flow]) -> None:
    for item in assignments:
        if not isinstance(item, exp.EQ) or not isinstance(item.this, exp.Column):
            resolver.lower("table", "lineage.opaque", "an assignment is not read column by column")
            continue
        name = resolver.grammar.shown(item.this.this)
        flow = flows.setdefault(name, Flow())
        collect(resolver, item.expression, scope, flow, 1, None)


def _delete(resolver: Resolver, tree: Any) -> _Found:
    found = _Found("delete", effect="delete")
    if not isinstance(tree.this, exp.Table):
        resolver.lower("table", "lineage.opaque", "this target of DELETE is not read")
        return found
    found.targets = [resolver.table_name(tree.this)]
    env = resolver._with(tree, EMPTY_ENV, None)  # noqa: SLF001
    scope, outside = _target_scope(resolver, tree.this, env, found.effects)
    using = tree.args.get("using")
    for source in using if isinstance(using, list) else ([using] if using else []):
        bind_source(resolver, source, scope, found.effects)
    if tree.args.get("where"):
        collect(resolver, tree.args["where"], scope, Flow(indirect=found.effects), TRANSFORMATION, "FILTER")
    _drop_untouched_target(resolver, found, outside)
    return found


def _truncate(resolver: Resolver, tree: Any) -> _Found:
    tables = [t for t in tree.args.get("expressions") or () if isinstance(t, exp.Table)]
    return _Found("truncate", effect="delete", targets=[resolver.table_name(t) for t in tables])


def _copy(resolver: Resolver, tree: Any) -> _Found:
    """COPY (query) TO a file reads; COPY table FROM a file writes. The file is outside the mesh."""
    found = _Found("copy")
    this = tree.this
    if isinstance(this, exp.Schema):
        this = this.this
    if isinstance(this, exp.Subquery):
        result = resolver.query(this, EMPTY_ENV, None)
        found.outputs, found.effects = [(s, f) for _, s, f in result.columns], result.effects
    elif isinstance(this, exp.Table):
        resolver.lower("table", "lineage.copy", "COPY of a table and a file is read as a whole")
        if tree.args.get("kind"):  # FROM
            found.targets = [resolver.table_name(this)]
        else:
            resolver.sources[resolver.table_name(this)] = None
    else:
        resolver.lower("table", "lineage.opaque", "this COPY is not read")
    return found


def _drop(resolver: Resolver, tree: Any) -> _Found:
    kind = str(tree.args.get("kind") or "").lower()
    found = _Found(f"drop_{kind}" if kind else "drop")
    if kind in {"table", "view", "materialized view"}:
        tables = [
            *(tree.args.get("tables") or ()),
            *([tree.this] if isinstance(tree.args.get("this"), exp.Table) else []),
        ]
        found.drops = [resolver.table_name(t) for t in tables]
    return found


def _alter(resolver: Resolver, tree: Any) -> _Found:
    found = _Found("alter")
    if not isinstance(tree.this, exp.Table):
        return found
    old = resolver.table_name(tree.this)
    for action in tree.args.get("actions") or ():
        if isinstance(action, exp.AlterRename | exp.SwapTable) and isinstance(action.this, exp.Table):
            new = resolver.table_name(action.this)
            if action.this.args.get("db") is None and "." in old and not resolver.namespace:
                new = f"{old.rpartition('.')[0]}.{new}"  # a rename stays in its schema
            swap = isinstance(action, exp.SwapTable)
            found.kind = "swap" if swap else "rename"
            found.renames += [(old, new), (new, old)] if swap else [(old, new)]
    return found


_READERS: dict[type, Callable[[Resolver, Any], _Found]] = {
    exp.Insert: _insert,
    exp.Create: _create,
    exp.Merge: _merge,
    exp.Update: _update,
    exp.Delete: _delete,
    exp.TruncateTable: _truncate,
    exp.Copy: _copy,
    exp.Drop: _drop,
    exp.Alter: _alter,
}


def _finished(resolver: Resolver, found: _Found, print_: str) -> StatementLineage:
    _note_open_stars(resolver, found)
    table_only = resolver.status == "table"
    outputs = tuple(OutputColumn(name, _inputs(flow, table_only=table_only)) for name, flow in found.outputs)
    indirect = tuple(sorted(IndirectInput(t, c, s) for t, c, s in found.effects))
    return StatementLineage(
        found.kind,
        resolver.status,
        sources=tuple(sorted(resolver.sources)),
        targets=tuple(sorted(found.targets)),
        outputs=outputs,
        indirect=indirect,
        renames=tuple(found.renames),
        drops=tuple(found.drops),
        problems=tuple(resolver.problems.values()),
        fingerprint=print_,
        effect=found.effect,
        temporary=found.temporary,
    )


def _note_open_stars(resolver: Resolver, found: _Found) -> None:
    """A star that no schema lists lowers the statement only where it reaches an output or decides rows."""
    stars = {t for _, flow in found.outputs for (t, c), code in flow.direct.items() if c == "*" and not code & EXACT}
    stars |= {t for _, flow in found.outputs for (t, c, _), exact in flow.indirect.items() if c == "*" and not exact}
    stars |= {t for (t, c, _), exact in found.effects.items() if c == "*" and not exact}
    for table in sorted(stars):
        resolver.lower("table", "lineage.no_schema", f"the star over {table} can't be expanded without its schema")


def _inputs(flow: Flow, *, table_only: bool) -> tuple[ColumnInput, ...]:
    unsure = "table" if table_only else "ambiguous"
    items = [
        ColumnInput(t, c, "DIRECT", _RANKS[code & 3], "exact" if code & EXACT else unsure)
        for (t, c), code in flow.direct.items()
    ]
    items += [
        ColumnInput(t, c, "INDIRECT", subtype, "exact" if exact else unsure)
        for (t, c, subtype), exact in flow.indirect.items()
    ]
    return tuple(sorted(items))
