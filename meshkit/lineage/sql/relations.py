"""FROM and JOIN: sources become relations of a scope, join conditions become effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshkit.lineage.sql.adapter import exp
from meshkit.lineage.sql.expressions import collect
from meshkit.lineage.sql.flow import IDENTITY, TRANSFORMATION, Effect, Flow, Relation, add_effects
from meshkit.lineage.sql.pivots import pivoted

if TYPE_CHECKING:
    from meshkit.lineage.sql.resolver import Query, Resolver
    from meshkit.lineage.sql.scope import Scope

__all__ = ["Binding", "bind_from", "bind_source"]

_ROWLESS = (exp.GenerateSeries, exp.GenerateDateArray, exp.GenerateTimestampArray, exp.Explode, exp.Posexplode, exp.Inline, exp.Flatten,
            exp.Unnest, exp.ExplodingGenerateSeries, exp.Stack)  # fmt: skip
_GENERATORS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree", "regexp_split_to_table"})


class Binding:
    """A CTE: its query, what it sees, and its result once it was used."""

    __slots__ = ("env", "names", "node", "outer", "recursive", "result")

    def __init__(
        self,
        node: Any,
        env: Mapping[str, Binding],
        outer: Scope | None,
        names: list[tuple[str, str]],
        *,
        recursive: bool = False,
    ) -> None:
        self.node, self.env, self.outer, self.names, self.recursive = node, env, outer, names, recursive
        self.result: Query | None = None


def bind_from(resolver: Resolver, select: Any, scope: Scope, effects: dict[Effect, bool]) -> None:
    """Put the sources of a SELECT into `scope`, left to right, so that a lateral one sees its left siblings."""
    source = select.args.get("from_")
    if source:
        bind_source(resolver, source.this, scope, effects)
    for join in select.args.get("joins") or ():
        bind_join(resolver, join, scope, effects)
    for lateral in select.args.get("laterals") or ():
        bind_source(resolver, lateral, scope, effects)


def bind_join(resolver: Resolver, join: Any, scope: Scope, effects: dict[Effect, bool]) -> None:
    """One JOIN: its source, then what joins it."""
    args = join.args
    left = list(scope.relations)
    bind_source(resolver, join.this, scope, effects)
    right = scope.relations[len(left) :]
    into = Flow(indirect=effects)
    for name in ("on", "match_condition"):
        if args.get(name):
            collect(resolver, args[name], scope, into, TRANSFORMATION, "JOIN")
    if str(args.get("method") or "").upper() == "NATURAL":
        _natural(resolver, scope, left, right, into)
    for column in args.get("using") or ():
        named = column if isinstance(column, exp.Identifier) else column.find(exp.Identifier)
        _merge(resolver, scope, left, right, resolver.grammar.key(named), resolver.grammar.shown(named), into)
    if str(args.get("kind") or "").upper() in {"SEMI", "ANTI"}:
        del scope.relations[len(left) :]


def _merge(
    resolver: Resolver, scope: Scope, left: list[Relation], right: list[Relation], key: str, shown: str, into: Flow
) -> None:
    """A column of USING: one column made of both sides."""
    flow = Flow()
    previous = scope.merged.get(key)
    if previous is not None:
        flow.absorb(previous[1], IDENTITY, None)
    for side, relations in (("left", [] if previous else left), ("right", right)):
        sure = [r for r in relations if key in r.columns] or [r for r in relations if r.is_open]
        if len(sure) > 1:
            resolver.lower(
                "ambiguous", "lineage.ambiguous", f"column {shown} of USING may be of several tables on the {side}"
            )
        for relation in sure:
            found = relation.lookup(key, shown)
            if found is not None:
                flow.absorb(found, IDENTITY, None)
    for relation in right:
        relation.hidden.add(key)
    for relation in left:
        relation.hidden.add(key)
    into.absorb(flow, 0, "JOIN")
    scope.merged[key] = (shown, flow)


def _natural(resolver: Resolver, scope: Scope, left: list[Relation], right: list[Relation], into: Flow) -> None:
    if any(r.is_open for r in (*left, *right)):
        resolver.lower("table", "lineage.natural_join", "the columns of a NATURAL JOIN are unknown without schema")
        return
    for relation in right:
        for key, (shown, _) in list(relation.columns.items()):
            if any(key in r.columns for r in left):
                _merge(resolver, scope, left, [relation], key, shown, into)


def bind_source(resolver: Resolver, node: Any, scope: Scope, effects: dict[Effect, bool]) -> None:
    """A table, CTE, sub-query, VALUES, UNNEST, LATERAL or table function, with its alias, pivots and joins."""
    relation = _relation(resolver, node, scope, effects)
    for pivot in node.args.get("pivots") or ():
        relation = pivoted(resolver, pivot, relation, scope, effects)
    scope.relations.append(relation)
    for join in node.args.get("joins") or ():
        bind_join(resolver, join, scope, effects)
    for lateral in node.args.get("laterals") or ():
        bind_source(resolver, lateral, scope, effects)


def _alias(resolver: Resolver, node: Any) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    alias = node.args.get("alias")
    if alias is None:
        return (), []
    if isinstance(alias, exp.Identifier):
        return (resolver.grammar.key(alias),), []
    this = alias.args.get("this")
    columns = [c for c in alias.args.get("columns") or () if isinstance(c, exp.Identifier)]
    names = (resolver.grammar.key(this),) if isinstance(this, exp.Identifier) else ()
    return names, [(resolver.grammar.key(c), resolver.grammar.shown(c)) for c in columns]


def _relation(resolver: Resolver, node: Any, scope: Scope, effects: dict[Effect, bool]) -> Relation:
    names, columns = _alias(resolver, node)
    if isinstance(node, exp.Table):
        return _table(resolver, node, scope, effects, names, columns)
    if isinstance(node, exp.Subquery):
        inner = node.this
        if isinstance(inner, exp.Table) or (isinstance(inner, exp.Subquery) and not names):
            bind = type(scope)(resolver, scope.env, scope.outer, lateral=scope.lateral)
            bind_source(resolver, inner, bind, effects)
            if not names:  # (a JOIN b ON ..): its tables stay visible
                scope.relations += bind.relations[:-1]
                return bind.relations[-1]
        return _derived(resolver, node, scope, effects, names, columns, lateral=True)
    if isinstance(node, exp.Lateral):
        this = node.this
        if isinstance(this, exp.Subquery | exp.Select | exp.SetOperation):
            return _derived(resolver, this, scope, effects, names, columns, lateral=False)
        return _function(resolver, this, scope, names, columns)
    if isinstance(node, exp.Values):
        return _values(resolver, node, scope, names, columns)
    if isinstance(node, exp.Unnest):
        return _function(resolver, node, scope, names, columns)
    if isinstance(node, exp.Select | exp.SetOperation):
        return _derived(resolver, node, scope, effects, names, columns, lateral=True)
    return _opaque(resolver, f"{type(node).__name__} in FROM is not read", names, columns)


def _table(
    resolver: Resolver,
    node: Any,
    scope: Scope,
    effects: dict[Effect, bool],
    names: tuple[str, ...],
    columns: list[tuple[str, str]],
) -> Relation:
    this = node.args.get("this")
    if not isinstance(this, exp.Identifier):
        return _function(resolver, this, scope, names, columns)
    key = resolver.grammar.key(this)
    if node.args.get("db") is None and key in scope.env:
        binding = scope.env[key]
        result = resolver.bound(key, binding)
        add_effects(effects, result.effects)
        return result.relation(names or (key,), columns or binding.names)
    parts = tuple(
        resolver.grammar.key(p) for p in (node.args.get("catalog"), node.args.get("db"), this) if p is not None
    )
    relation = resolver.base(node, names or parts)
    if columns and not relation.is_open:
        listed = list(relation.columns.values())
        renamed = {k: (s, listed[i][1]) for i, (k, s) in enumerate(columns) if i < len(listed)}
        kept = dict(list(relation.columns.items())[len(columns) :])
        return Relation(relation.names, {**renamed, **kept}, relation.tables)
    if columns:
        resolver.lower(
            "table", "lineage.no_schema", f"the columns of {relation.tables[0]} are renamed by position, but unknown"
        )
        every = Flow({(relation.tables[0], "*"): IDENTITY})
        return Relation(relation.names, {k: (s, every) for k, s in columns}, relation.tables, relation.open_tables)
    return relation


def _derived(
    resolver: Resolver,
    node: Any,
    scope: Scope,
    effects: dict[Effect, bool],
    names: tuple[str, ...],
    columns: list[tuple[str, str]],
    *,
    lateral: bool,
) -> Relation:
    """A sub-query in FROM. `lateral`: left siblings are asked only for names that nothing inside may have."""
    read = resolver.inside if isinstance(node, exp.Subquery) else resolver.query
    result = read(node, scope.env, scope, lateral=lateral)
    add_effects(effects, result.effects)
    return result.relation(names, columns)


def _values(
    resolver: Resolver, node: Any, scope: Scope, names: tuple[str, ...], columns: list[tuple[str, str]]
) -> Relation:
    rows = node.args["expressions"]
    first = rows[0].args.get("expressions", [rows[0]]) if rows else []
    flows = [Flow() for _ in first]
    for row in rows:
        for position, cell in enumerate(row.args.get("expressions", [row])[: len(flows)]):
            collect(resolver, cell, scope, flows[position], TRANSFORMATION, None)
    labels = columns or [(f"col{i}", f"col{i}") for i in range(len(flows))]
    return Relation(names, {k: (s, flows[i]) for i, (k, s) in enumerate(labels) if i < len(flows)})


def _function(
    resolver: Resolver, node: Any, scope: Scope, names: tuple[str, ...], columns: list[tuple[str, str]]
) -> Relation:
    """A table function: each of its columns is made of its arguments. One that reads data from elsewhere is not read."""
    known = isinstance(node, _ROWLESS) or (isinstance(node, exp.Anonymous) and str(node.this).lower() in _GENERATORS)
    if not known:
        return _opaque(resolver, f"the table function {_function_name(node)} is not read", names, columns)
    flow = Flow()
    for value in node.args.values():
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, exp.Expression) and not isinstance(part, exp.TableAlias):
                collect(resolver, part, scope, flow, TRANSFORMATION, None)
    listed = {k: (s, flow) for k, s in columns}
    if not columns and names:  # unnest(x) as u: u is the value
        listed = {names[0]: (names[0], flow)}
    offset = node.args.get("offset")
    if isinstance(offset, exp.Identifier):
        listed[resolver.grammar.key(offset)] = (resolver.grammar.shown(offset), flow)
    return Relation(names, listed, (), (), None if columns else flow)


def _function_name(node: Any) -> str:
    if isinstance(node, exp.Anonymous):
        return str(node.this)
    return node.sql_name().lower() if isinstance(node, exp.Func) else type(node).__name__


def _opaque(resolver: Resolver, message: str, names: tuple[str, ...], columns: list[tuple[str, str]]) -> Relation:
    resolver.lower("table", "lineage.opaque", message)
    nothing = Flow()
    return Relation(names, {k: (s, nothing) for k, s in columns}, (), (), nothing)
