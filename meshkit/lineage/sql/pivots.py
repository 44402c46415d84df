"""PIVOT and UNPIVOT of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.lineage.sql.adapter import exp
from meshkit.lineage.sql.expressions import collect
from meshkit.lineage.sql.flow import AGGREGATION, TRANSFORMATION, Effect, Flow, Relation

if TYPE_CHECKING:
    from meshkit.lineage.sql.resolver import Resolver
    from meshkit.lineage.sql.scope import Scope

__all__ = ["pivoted"]


def pivoted(resolver: Resolver, pivot: Any, source: Relation, outer: Scope, effects: dict[Effect, bool]) -> Relation:
    """The source after a PIVOT or UNPIVOT: kept columns as they are, made columns from what they aggregate."""
    args = pivot.args
    scope = type(outer)(resolver, outer.env, outer.outer)
    scope.relations = [source]
    alias = args.get("alias")
    names = (resolver.grammar.key(alias.this),) if alias is not None and alias.args.get("this") else source.names
    made, used = _unpivot(resolver, pivot, scope) if args.get("unpivot") else _pivot(resolver, pivot, scope)
    if source.is_open or made is None:
        resolver.lower("table", "lineage.pivot", "the columns of a PIVOT are unknown without schema and listed values")
        return Relation(names, made or {}, source.tables, source.open_tables, Flow() if made is None else None)
    kept = {k: v for k, v in source.columns.items() if k not in used}
    group = args.get("group")
    if group:
        chosen = {resolver.grammar.key(c.this) for c in group.find_all(exp.Column)}
        kept = {k: v for k, v in kept.items() if k in chosen}
    if not args.get("unpivot"):
        into = Flow(indirect=effects)
        for _, flow in kept.values():
            into.absorb(flow, 0, "GROUP_BY")
    columns = {**kept, **made}
    if alias is not None and alias.args.get("columns"):
        labels = [(resolver.grammar.key(c), resolver.grammar.shown(c)) for c in alias.args["columns"]]
        flows = [flow for _, flow in columns.values()]
        columns = {k: (s, flows[i]) for i, (k, s) in enumerate(labels) if i < len(flows)}
    return Relation(names, columns, source.tables)


Made = tuple[dict[str, tuple[str, Flow]] | None, set[str]]


def _pivot(resolver: Resolver, pivot: Any, scope: Scope) -> Made:
    flow = Flow()
    used: set[str] = set()
    for item in (*(pivot.args.get("expressions") or ()), *(pivot.args.get("using") or ())):
        collect(resolver, item, scope, flow, AGGREGATION, None)
        used |= {resolver.grammar.key(c.this) for c in item.find_all(exp.Column) if isinstance(c.this, exp.Identifier)}
    for field in pivot.args.get("fields") or ():
        collect(resolver, field, scope, flow, TRANSFORMATION, "CONDITIONAL")
        used |= {resolver.grammar.key(c.this) for c in field.this.find_all(exp.Column)}
    columns = [c for c in pivot.args.get("columns") or () if isinstance(c, exp.Identifier)]
    if not columns:
        return None, used
    return {resolver.grammar.key(c): (resolver.grammar.shown(c), flow) for c in columns}, used


def _unpivot(resolver: Resolver, pivot: Any, scope: Scope) -> Made:
    values = [i for item in pivot.args.get("expressions") or () for i in _identifiers(item)]
    fields = list(pivot.args.get("fields") or ())
    if not values or len(fields) != 1 or not isinstance(fields[0], exp.In):
        return None, set()
    flow = Flow()
    used: set[str] = set()
    for item in fields[0].args.get("expressions") or ():
        collect(resolver, item, scope, flow, TRANSFORMATION, None)
        used |= {resolver.grammar.key(c.this) for c in item.find_all(exp.Column) if isinstance(c.this, exp.Identifier)}
    made = {resolver.grammar.key(i): (resolver.grammar.shown(i), Flow()) for i in _identifiers(fields[0].this)}
    made |= {resolver.grammar.key(i): (resolver.grammar.shown(i), flow) for i in values}
    return made, used


def _identifiers(node: Any) -> list[Any]:
    return [node] if isinstance(node, exp.Identifier) else list(node.find_all(exp.Identifier))
