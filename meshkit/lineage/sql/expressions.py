"""Inputs of an expression: one walk with an explicit stack, dispatched by the closed table of expression classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.lineage.sql.adapter import CATEGORY, exp
from meshkit.lineage.sql.flow import AGGREGATION, EXACT, IDENTITY, TRANSFORMATION, Flow, add_effects

if TYPE_CHECKING:
    from meshkit.lineage.sql.resolver import Resolver
    from meshkit.lineage.sql.scope import Scope

__all__ = ["collect", "flow_of"]

Item = tuple[Any, int, "str | None"]
_QUERIES = (exp.Select, exp.Subquery, exp.SetOperation)


def flow_of(resolver: Resolver, node: Any, scope: Scope) -> Flow:
    """Flow of a projection; a plain column shares its source's flow."""
    while isinstance(node, exp.Alias | exp.Paren):
        node = node.args["this"]
    if type(node) is exp.Column and type(node.args["this"]) is not exp.Star:
        return scope.column(node)
    flow = Flow()
    collect(resolver, node, scope, flow, IDENTITY, None)
    return flow


def collect(resolver: Resolver, root: Any, scope: Scope, into: Flow, rank: int, subtype: str | None) -> None:
    """Add the inputs of `root` to `into`: as direct ones of at least `rank`, or as indirect ones of `subtype`."""
    stack: list[Item] = [(root, rank, subtype)]
    while stack:
        node, rank, subtype = stack.pop()
        kind = type(node)
        if kind is exp.Column:
            if type(node.args["this"]) is exp.Star:
                into.absorb(scope.star_flow(node), max(rank, TRANSFORMATION), subtype)
            else:
                into.absorb(scope.column(node), rank, subtype)
            continue
        special = _SPECIAL.get(kind)
        if special is not None:
            special(resolver, node, scope, into, rank, subtype, stack)
            continue
        category = CATEGORY.get(kind)
        if category == "leaf":
            continue
        if category == "aggregate":
            rank = AGGREGATION
        elif category == "relation":
            _query(resolver, node, scope, into, rank, subtype, stack)
            continue
        elif rank < TRANSFORMATION:
            rank = TRANSFORMATION
        if category is None or category == "opaque":
            resolver.lower("table", "lineage.opaque", f"{kind.__name__} is not read column by column")
        _push(stack, node, rank, subtype)


def _push(stack: list[Item], node: Any, rank: int, subtype: str | None, skip: tuple[str, ...] = ()) -> None:
    for name, value in node.args.items():
        if name in skip:
            continue
        if isinstance(value, exp.Expression):
            stack.append((value, rank, subtype))
        elif isinstance(value, list):
            stack.extend((v, rank, subtype) for v in value if isinstance(v, exp.Expression))


def _same(_r: Resolver, node: Any, _s: Scope, _i: Flow, rank: int, subtype: str | None, stack: list[Item]) -> None:
    stack.append((node.args["this"], rank, subtype))


def _dot(_r: Resolver, node: Any, scope: Scope, into: Flow, rank: int, subtype: str | None, stack: list[Item]) -> None:
    """`a.b.c.d.e`: a column with a field path, else scalar work on what stands before the dot."""
    base = node
    while type(base) is exp.Dot:
        base = base.args["this"]
    if type(base) is exp.Column:
        into.absorb(scope.column(base), rank, subtype)
    else:
        stack.append((base, max(rank, TRANSFORMATION), subtype))
        right = node.args["expression"]
        if not isinstance(right, exp.Identifier):
            stack.append((right, max(rank, TRANSFORMATION), subtype))


def _count(
    _r: Resolver, node: Any, scope: Scope, into: Flow, _rank: int, subtype: str | None, stack: list[Item]
) -> None:
    """`count(*)`, `count(1)`, `count()`: rows, not columns; input `*` of each relation."""
    this = node.args.get("this")
    if this is None or type(this) in {exp.Star, exp.Literal}:
        into.absorb(scope.rows(), AGGREGATION, subtype)
    elif type(this) is exp.Column and type(this.args["this"]) is exp.Star:
        into.absorb(scope.rows(scope.named(this)), AGGREGATION, subtype)
    else:
        _push(stack, node, AGGREGATION, subtype)


def _case(_r: Resolver, node: Any, _s: Scope, _i: Flow, rank: int, subtype: str | None, stack: list[Item]) -> None:
    """Results are TRANSFORMATION, conditions and the compared value are CONDITIONAL."""
    rank = max(rank, TRANSFORMATION)
    if node.args.get("this"):
        stack.append((node.args["this"], rank, subtype or "CONDITIONAL"))
    for branch in node.args["ifs"]:
        stack.extend(_branches(branch, rank, subtype))
    if node.args.get("default"):
        stack.append((node.args["default"], rank, subtype))


def _if(_r: Resolver, node: Any, _s: Scope, _i: Flow, rank: int, subtype: str | None, stack: list[Item]) -> None:
    stack.extend(_branches(node, max(rank, TRANSFORMATION), subtype))


def _branches(node: Any, rank: int, subtype: str | None) -> list[Item]:
    items: list[Item] = [(node.args["this"], rank, subtype or "CONDITIONAL")]
    items += [(node.args[n], rank, subtype) for n in ("true", "false") if node.args.get(n) is not None]
    return items


def _decode(_r: Resolver, node: Any, _s: Scope, _i: Flow, rank: int, subtype: str | None, stack: list[Item]) -> None:
    """DECODE(value, search, result, ..., default): value and searches decide, results flow."""
    rank = max(rank, TRANSFORMATION)
    parts = node.args["expressions"]
    stack.append((parts[0], rank, subtype or "CONDITIONAL"))
    pairs = parts[1:]
    for position, part in enumerate(pairs):
        searched = position % 2 == 0 and position + 1 < len(pairs)
        stack.append((part, rank, (subtype or "CONDITIONAL") if searched else subtype))


def _filter(_r: Resolver, node: Any, _s: Scope, _i: Flow, rank: int, subtype: str | None, stack: list[Item]) -> None:
    stack.append((node.args["this"], rank, subtype))
    stack.append((node.args["expression"], rank, subtype or "CONDITIONAL"))


def _window(_r: Resolver, node: Any, scope: Scope, _i: Flow, rank: int, subtype: str | None, stack: list[Item]) -> None:
    stack.append((node.args["this"], max(rank, TRANSFORMATION), subtype))
    window: Any = node
    seen = 0
    while window is not None and seen < 20:  # named windows may build on each other
        parts = (*(window.args.get("partition_by") or ()), window.args.get("order"), window.args.get("spec"))
        stack.extend((part, TRANSFORMATION, subtype or "WINDOW") for part in parts if part is not None)
        name = window.args.get("alias") or (window.args.get("this") if window is not node else None)
        window = scope.window(name)
        seen += 1


def _order(_r: Resolver, node: Any, _s: Scope, _i: Flow, rank: int, subtype: str | None, stack: list[Item]) -> None:
    """ORDER BY inside an aggregate decides the order of its items, not their values."""
    if node.args.get("this"):
        stack.append((node.args["this"], rank, subtype))
    stack.extend((part, rank, subtype or "WINDOW") for part in node.args["expressions"])


def _within_group(
    _r: Resolver, node: Any, _s: Scope, _i: Flow, _rank: int, subtype: str | None, stack: list[Item]
) -> None:
    """`percentile_cont(0.5) within group (order by x)`: x is the value itself. With an own argument, x only orders."""
    this = node.args["this"]
    ordered = node.args["expression"].args["expressions"]
    own = this.find(exp.Column) is not None
    stack.append((this, AGGREGATION, subtype))
    stack.extend((part, AGGREGATION, (subtype or "WINDOW") if own else subtype) for part in ordered)


def _star(
    _r: Resolver, node: Any, scope: Scope, into: Flow, rank: int, subtype: str | None, _stack: list[Item]
) -> None:
    for relation in scope.relations:
        into.absorb(relation.whole_row(), max(rank, TRANSFORMATION), subtype)
    del node


def _in(
    resolver: Resolver, node: Any, scope: Scope, into: Flow, rank: int, subtype: str | None, stack: list[Item]
) -> None:
    rank = max(rank, TRANSFORMATION)
    stack.append((node.args["this"], rank, subtype))
    if node.args.get("query"):
        _query(resolver, node.args["query"], scope, into, rank, subtype, stack)
    if node.args.get("unnest"):
        stack.append((node.args["unnest"], rank, subtype))
    if node.args.get("field"):
        stack.append((node.args["field"], rank, subtype))
    stack.extend((part, rank, subtype) for part in node.args.get("expressions") or ())


def _exists(
    resolver: Resolver, node: Any, scope: Scope, into: Flow, rank: int, subtype: str | None, stack: list[Item]
) -> None:
    """Only the predicates of an EXISTS count: what it selects does not matter."""
    this = node.args["this"]
    if isinstance(this, _QUERIES):
        add_effects(into.indirect, resolver.query(this, scope.env, scope).effects)
    else:  # exists(array, lambda) of Spark
        _push(stack, node, max(rank, TRANSFORMATION), subtype)


def _query(
    resolver: Resolver, node: Any, scope: Scope, into: Flow, rank: int, subtype: str | None, stack: list[Item]
) -> None:
    """A scalar, IN or ANY sub-query: its outputs flow, its predicates are indirect with their own subtype."""
    if isinstance(node, exp.Unnest):
        stack.extend((part, max(rank, TRANSFORMATION), subtype) for part in node.args["expressions"])
        return
    if not isinstance(node, _QUERIES):
        if isinstance(node, exp.Values):
            _push(stack, node, max(rank, TRANSFORMATION), subtype)
            return
        resolver.lower("table", "lineage.opaque", f"{type(node).__name__} inside an expression is not read")
        return
    result = resolver.query(node, scope.env, scope)
    for _, _, flow in result.columns:
        into.absorb(flow, rank, subtype)
    for table in result.open_tables:
        into.absorb(Flow({(table, "*"): TRANSFORMATION | EXACT}), rank, subtype)
    add_effects(into.indirect, result.effects)


_SPECIAL: dict[type, Any] = {
    exp.Alias: _same,
    exp.Paren: _same,
    exp.Dot: _dot,
    exp.Count: _count,
    exp.Case: _case,
    exp.If: _if,
    exp.Nvl2: _if,
    exp.DecodeCase: _decode,
    exp.Filter: _filter,
    exp.Window: _window,
    exp.Order: _order,
    exp.WithinGroup: _within_group,
    exp.Star: _star,
    exp.In: _in,
    exp.Exists: _exists,
    exp.Subquery: _query,
    exp.Select: _query,
}
