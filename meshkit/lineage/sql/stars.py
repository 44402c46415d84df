"""`*`, `t.*` with EXCLUDE, REPLACE, RENAME, and COLUMNS(pattern)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from meshkit.lineage.sql.adapter import exp
from meshkit.lineage.sql.expressions import flow_of
from meshkit.lineage.sql.flow import IDENTITY, Flow, Relation

if TYPE_CHECKING:
    from meshkit.lineage.sql.resolver import Resolver
    from meshkit.lineage.sql.scope import Scope

__all__ = ["expand_star", "is_star"]

Columns = list[tuple[str, str, Flow]]


def is_star(node: Any) -> bool:
    """Whether a projection stands for several columns."""
    kind = type(node)
    return kind is exp.Star or kind is exp.Columns or (kind is exp.Column and type(node.args["this"]) is exp.Star)


def expand_star(resolver: Resolver, node: Any, scope: Scope, open_tables: dict[str, None]) -> Columns:
    """Columns of a star, in order. Without schema it is `* -> *`, and the statement is no better than `table`."""
    if type(node) is exp.Columns:
        return _pattern(resolver, node, scope, open_tables)
    qualified = type(node) is exp.Column
    relations = scope.named(node) if qualified else scope.relations
    star = node.args["this"] if qualified else node
    if qualified and not relations:
        resolver.lower("table", "lineage.opaque", "a star over something that is no table in sight is not read")
        return []
    columns = _all(resolver, relations, scope, open_tables, merged=not qualified)
    return _modified(resolver, star, columns, scope)


def _all(
    resolver: Resolver, relations: list[Relation], scope: Scope, open_tables: dict[str, None], *, merged: bool
) -> Columns:
    columns: Columns = []
    if merged:
        columns += [(key, shown, flow) for key, (shown, flow) in scope.merged.items()]
    for relation in relations:
        for key, (shown, flow) in relation.columns.items():
            if not (merged and key in scope.merged and key in relation.hidden):
                columns.append((key, shown, flow))
        if relation.open_flow is not None and not relation.columns:
            resolver.lower("table", "lineage.no_schema", "a star over a table function can't be expanded")
        for table in relation.open_tables:
            open_tables[table] = None
            columns.append(("*", "*", Flow({(table, "*"): IDENTITY})))
    return columns


def _modified(resolver: Resolver, star: Any, columns: Columns, scope: Scope) -> Columns:
    args = star.args
    key = resolver.grammar.key
    excluded = {key(c.find(exp.Identifier)) for c in args.get("except_") or ()}
    replaced = {key(a.args["alias"]): flow_of(resolver, a, scope) for a in args.get("replace") or ()}
    renamed = {key(a.this.find(exp.Identifier)): a.args["alias"] for a in args.get("rename") or ()}
    if not (excluded or replaced or renamed):
        return columns
    result: Columns = []
    listed = {column for column, _, _ in columns}
    if "*" in listed:  # nobody lists the columns, but these names are known from now on
        columns = [*columns, *((k, k, flow) for k, flow in replaced.items() if k not in listed)]
        olds = [a.this.find(exp.Column) for a in args.get("rename") or ()]
        columns += [
            (key(o.this), resolver.grammar.shown(o.this), scope.column(o))
            for o in olds
            if o and key(o.this) not in listed
        ]
    for column, shown, flow in columns:
        if column in excluded:
            continue
        flow = replaced.get(column, flow)  # noqa: PLW2901
        alias = renamed.get(column)
        result.append((column, shown, flow) if alias is None else (key(alias), resolver.grammar.shown(alias), flow))
    return result


def _pattern(resolver: Resolver, node: Any, scope: Scope, open_tables: dict[str, None]) -> Columns:
    """`COLUMNS('regex')` and `COLUMNS(*)` of DuckDB; a lambda is not read."""
    this = node.this
    if isinstance(this, exp.Star):
        return _modified(resolver, this, _all(resolver, scope.relations, scope, open_tables, merged=True), scope)
    columns = _all(resolver, scope.relations, scope, open_tables, merged=True)
    if isinstance(this, exp.Literal) and this.is_string:
        try:
            wanted = re.compile(this.name)
        except re.error:
            wanted = None
        if wanted is not None:
            return [c for c in columns if c[1] == "*" or wanted.search(c[1])]
    resolver.lower("table", "lineage.opaque", "this COLUMNS(..) is not read column by column")
    return columns
