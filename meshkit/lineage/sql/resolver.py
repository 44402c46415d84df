"""Lineage of one query: scopes are walked once, bottom-up, and each column carries its inputs from the base tables.

Not built on sqlglot's `qualify()` and `lineage()`: without schemas these raise or lose columns, and take 4 to 7 times the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from meshkit.lineage.sql.adapter import LATERAL_ALIAS_DIALECTS, Grammar, exp
from meshkit.lineage.sql.expressions import collect, flow_of
from meshkit.lineage.sql.flow import IDENTITY, TRANSFORMATION, Effect, Flow, Relation, Schema, add_effects, loosened
from meshkit.lineage.sql.models import RUNGS, Problem, Status
from meshkit.lineage.sql.names import output_name
from meshkit.lineage.sql.relations import Binding, bind_from
from meshkit.lineage.sql.scope import Scope
from meshkit.lineage.sql.stars import expand_star, is_star

__all__ = ["Query", "Resolver"]

Env = Mapping[str, Binding]
EMPTY_ENV: Env = MappingProxyType({})
_RECURSION_ROUNDS = 10


class Query:
    """What a query yields: its columns in order as (key, shown name, flow), tables behind it and what decides its rows."""

    __slots__ = ("columns", "effects", "open_tables", "tables")

    def __init__(self) -> None:
        self.columns: list[tuple[str, str, Flow]] = []
        self.effects: dict[Effect, bool] = {}
        self.tables: dict[str, None] = {}
        self.open_tables: dict[str, None] = {}  # behind a star that no schema lists

    def relation(self, names: tuple[str, ...], renamed: Iterable[tuple[str, str]] = ()) -> Relation:
        """This query as a source in FROM, with its columns renamed in order."""
        columns: dict[str, tuple[str, Flow]] = {}
        aliases = list(renamed)
        for position, (key, shown, flow) in enumerate(self.columns):
            if position < len(aliases):
                key, shown = aliases[position]  # noqa: PLW2901
            if key not in columns:
                columns[key] = (shown, flow)
        return Relation(names, columns, tuple(self.tables), tuple(self.open_tables))


class Resolver:
    """Reads one statement. Holds what the walk finds out: base tables, problems, and how sure the result is."""

    def __init__(
        self, grammar: Grammar, schema: Schema, *, namespace: str = "", lateral_aliases: bool | None = None
    ) -> None:
        self.grammar, self.schema, self.namespace = grammar, schema, namespace
        self.lateral_aliases = grammar.name in LATERAL_ALIAS_DIALECTS if lateral_aliases is None else lateral_aliases
        self.sources: dict[str, None] = {}
        self.problems: dict[tuple[str, str], Problem] = {}
        self.rung = 0

    @property
    def status(self) -> Status:
        """The rung of the ladder reached so far."""
        return RUNGS[self.rung]

    def lower(self, status: Status, code: str, message: str) -> None:
        """Note a problem and go down to `status`, never up."""
        self.rung = max(self.rung, RUNGS.index(status))
        self.problems.setdefault((code, message), Problem(code, message))

    # Queries

    def query(self, node: Any, env: Env, outer: Scope | None, *, lateral: bool = False) -> Query:
        """Resolve a SELECT, set operation or parenthesised query."""
        if isinstance(node, exp.Subquery):
            return self._subquery(node, env, outer, lateral=lateral)
        env = self._with(node, env, outer)
        if isinstance(node, exp.Select):
            return self._select(node, env, outer, lateral=lateral)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, env, outer, lateral=lateral)
        if isinstance(node, exp.Table | exp.Values):  # FROM t; VALUES (1)
            return self._select(
                exp.Select(expressions=[exp.Star()], from_=exp.From(this=node)), env, outer, lateral=lateral
            )
        self.lower("table", "lineage.opaque", f"{type(node).__name__} is not read as a query")
        result = Query()
        for table in node.find_all(exp.Table) if isinstance(node, exp.Expression) else ():
            if isinstance(table.this, exp.Identifier):
                name = self.table_name(table)
                self.sources[name] = result.tables[name] = result.open_tables[name] = None
        return result

    def _subquery(self, node: Any, env: Env, outer: Scope | None, *, lateral: bool) -> Query:
        """`(query) ORDER BY ..`: a parenthesised query, with modifiers of its own and perhaps joins."""
        args = node.args
        if args.get("joins") or args.get("laterals") or args.get("pivots"):
            select = exp.Select(expressions=[exp.Star()], from_=exp.From(this=node))
            return self._select(select, env, outer, lateral=lateral)
        return self.inside(node, env, outer, lateral=lateral)

    def inside(self, node: Any, env: Env, outer: Scope | None, *, lateral: bool = False) -> Query:
        """The query between the parentheses of a `Subquery`; what is joined or pivoted with it is its caller's business."""
        env = self._with(node, env, outer)
        result = self.query(node.args["this"], env, outer, lateral=lateral)
        self._order_outputs(node, result, env, outer)
        return result

    def _with(self, node: Any, env: Env, outer: Scope | None) -> Env:
        clause = node.args.get("with_")
        if not clause:
            return env
        seen: dict[str, Binding] = dict(env)
        recursive = bool(clause.args.get("recursive"))
        for cte in clause.args["expressions"]:
            alias = cte.args["alias"]
            key = self.grammar.key(alias.this)
            names = [(self.grammar.key(c), self.grammar.shown(c)) for c in alias.args.get("columns") or ()]
            seen[key] = Binding(cte.this, MappingProxyType(dict(seen)), outer, names, recursive=recursive)
        return seen

    def bound(self, key: str, binding: Binding) -> Query:
        """The query of a CTE, resolved when it is first used: an unused CTE is no source."""
        if binding.result is None:
            if binding.recursive and isinstance(_unwrapped(binding.node), exp.SetOperation):
                binding.result = self._recursive(key, binding)
            else:
                binding.result = self.query(binding.node, binding.env, binding.outer)
        result: Query = binding.result
        return result

    def _recursive(self, key: str, binding: Binding) -> Query:
        """A recursive CTE sees itself: start from its first branch, and go round until nothing is added."""
        node = _unwrapped(binding.node)
        env = self._with(node, binding.env, binding.outer)
        known = self.query(node.args["this"], env, binding.outer)
        for _ in range(_RECURSION_ROUNDS):
            inner = Binding(None, env, None, binding.names)
            inner.result = known
            step = self._set_operation(node, {**env, key: inner}, binding.outer, lateral=False)
            if _same_flows(step, known):
                return step
            known = step
        self.lower("table", "lineage.recursion", f"the recursive query {key} does not settle")
        return known

    # SELECT

    def _select(self, node: Any, env: Env, outer: Scope | None, *, lateral: bool) -> Query:
        args = node.args
        result = Query()
        scope = Scope(self, env, outer, lateral=lateral)
        bind_from(self, node, scope, result.effects)
        for relation in scope.relations:
            for table in relation.tables:
                result.tables[table] = None
        for window in args.get("windows") or ():
            scope.windows[self.grammar.key(window.this)] = window
        if args.get("match") or args.get("pivots"):
            self.lower("table", "lineage.opaque", "MATCH_RECOGNIZE or PIVOT of a SELECT is not read column by column")
        aliases: dict[str, Flow] = {}
        scope.aliases = aliases if self.lateral_aliases else None
        plain = self._project(node, scope, result, aliases)
        self._clauses(node, scope, result, aliases, plain)
        return result

    def _project(self, node: Any, scope: Scope, result: Query, aliases: dict[str, Flow]) -> list[Flow]:
        """Outputs in order, stars expanded. Returns the flows without aggregates, which GROUP BY ALL groups by."""
        plain: list[Flow] = []
        for position, item in enumerate(node.args.get("expressions") or ()):
            if is_star(item):
                expanded = expand_star(self, item, scope, result.open_tables)
                result.columns += expanded
                plain += [flow for _, _, flow in expanded]
                continue
            flow = flow_of(self, item, scope)
            if not any(code & 3 == 3 for code in flow.direct.values()):
                plain.append(flow)
            for key, shown in output_name(self.grammar, item, position):
                result.columns.append((key, shown, flow))
            if isinstance(item, exp.Alias):
                aliases[self.grammar.key(item.args["alias"])] = flow
        return plain

    def _clauses(self, node: Any, scope: Scope, result: Query, aliases: dict[str, Flow], plain: list[Flow]) -> None:
        """WHERE, GROUP BY, HAVING, QUALIFY, DISTINCT, ORDER BY: what decides rows, for all outputs."""
        args = node.args
        into = Flow(indirect=result.effects)
        for name in ("prewhere", "where", "connect"):
            if args.get(name):
                collect(self, args[name], scope, into, TRANSFORMATION, "FILTER")
        scope.aliases = aliases
        group = args.get("group")
        if group:
            if group.args.get("all"):
                for flow in plain:
                    into.absorb(flow, 0, "GROUP_BY")
            self._keys(group, scope, result, into, "GROUP_BY")
        for name in ("having", "qualify", "limit", "offset"):
            if args.get(name):
                collect(self, args[name], scope, into, TRANSFORMATION, "FILTER")
        distinct = args.get("distinct")
        if distinct:
            if distinct.args.get("on"):
                collect(self, distinct.args["on"], scope, into, TRANSFORMATION, "GROUP_BY")
            else:
                for _, _, flow in result.columns:
                    into.absorb(flow, 0, "GROUP_BY")
        scope.aliases_win = True
        for name in ("order", "sort", "cluster", "distribute"):
            if args.get(name):
                self._keys(args[name], scope, result, into, "SORT")

    def _keys(self, node: Any, scope: Scope, result: Query, into: Flow, subtype: str) -> None:
        """Keys of GROUP BY and ORDER BY: ordinals and ALL name outputs, the rest are expressions."""
        for name, value in node.args.items():
            for item in value if isinstance(value, list) else (value,):
                if not isinstance(item, exp.Expression) or name == "siblings":
                    continue
                bare = item.this if isinstance(item, exp.Ordered) else item
                if isinstance(bare, exp.Literal) and not bare.is_string:
                    position = int(bare.name) - 1 if bare.name.isdigit() else -1
                    if 0 <= position < len(result.columns):
                        into.absorb(result.columns[position][2], 0, subtype)
                elif isinstance(bare, exp.Var) and bare.name.upper() == "ALL":
                    for _, _, flow in result.columns:
                        into.absorb(flow, 0, subtype)
                else:
                    collect(self, bare, scope, into, TRANSFORMATION, subtype)

    def _order_outputs(self, node: Any, result: Query, env: Env, outer: Scope | None) -> None:
        """ORDER BY of a set operation or parenthesised query sees its outputs only."""
        order = node.args.get("order")
        if not order:
            return
        scope = Scope(self, env, outer)
        scope.relations = [result.relation(("",))]
        self._keys(order, scope, result, Flow(indirect=result.effects), "SORT")

    # Set operations

    def _set_operation(self, node: Any, env: Env, outer: Scope | None, *, lateral: bool) -> Query:
        """UNION, INTERSECT, EXCEPT: by position with the names of the first branch, BY NAME by name."""
        chain = [node]
        first = node.args["this"]
        while isinstance(first, exp.SetOperation) and first.args.get("with_") is None and not first.args.get("order"):
            chain.append(first)
            first = first.args["this"]
        result = self.query(first, env, outer, lateral=lateral)
        result.columns = list(result.columns)
        result.effects = dict(result.effects)
        for operation in reversed(chain):
            branch = self.query(operation.args["expression"], env, outer, lateral=lateral)
            self._join_branch(operation, result, branch)
            if operation.args.get("distinct") or not isinstance(operation, exp.Union):
                keys = Flow(indirect=result.effects)
                for _, _, flow in (*result.columns, *branch.columns):
                    keys.absorb(flow, 0, "GROUP_BY")
            self._order_outputs(operation, result, env, outer)
        return result

    def _join_branch(self, operation: Any, result: Query, branch: Query) -> None:
        add_effects(result.effects, branch.effects)
        result.tables = {**result.tables, **branch.tables}
        removes = isinstance(operation, exp.Except)
        if operation.args.get("by_name"):
            theirs = {key: (key, shown, flow) for key, shown, flow in branch.columns}
            mine = {key for key, _, _ in result.columns}
            result.columns = [
                (key, shown, _both(flow, theirs[key][2]) if key in theirs and not removes else flow)
                for key, shown, flow in result.columns
            ]
            result.columns += [column for key, column in theirs.items() if key not in mine]
        elif len(result.columns) == len(branch.columns) and not (result.open_tables or branch.open_tables):
            if not removes:
                result.columns = [
                    (key, shown, _both(flow, other[2]))
                    for (key, shown, flow), other in zip(result.columns, branch.columns, strict=True)
                ]
        else:
            known = result.open_tables or branch.open_tables
            reason = "a star in it can't be expanded" if known else "its branches differ in width"
            self.lower("table", "lineage.set_width", f"the set operation can't be read by position: {reason}")
            every = loosened(flow for _, _, flow in (*result.columns, *branch.columns))
            result.columns = [(key, shown, every) for key, shown, _ in result.columns]
        result.open_tables = {**result.open_tables, **branch.open_tables}

    # Tables

    def table_name(self, node: Any) -> str:
        """Shown name of a base table."""
        return self.schema.table(self.table_key(node))[0]

    def table_key(self, node: Any) -> str:
        """Folded, dotted name of a base table, in the default namespace if it has one part."""
        args = node.args
        parts = [
            self.grammar.key(p)
            for p in (args.get("catalog"), args.get("db"), args["this"])
            if isinstance(p, exp.Identifier)
        ]
        if len(parts) == 1 and self.namespace:
            parts.insert(0, self.namespace)
        return ".".join(parts)

    def base(self, node: Any, names: tuple[str, ...]) -> Relation:
        """A table of the schema, or an open one."""
        shown, columns = self.schema.table(self.table_key(node))
        self.sources[shown] = None
        if columns is None:
            return Relation(names, {}, (shown,), (shown,))
        return Relation(names, columns, (shown,))


def _both(one: Flow, other: Flow) -> Flow:
    if not other.direct and not other.indirect:
        return one
    flow = Flow(dict(one.direct), dict(one.indirect))
    flow.absorb(other, IDENTITY, None)
    return flow


def _unwrapped(node: Any) -> Any:
    while isinstance(node, exp.Subquery):
        node = node.this
    return node


def _same_flows(one: Query, other: Query) -> bool:
    if one.effects != other.effects or len(one.columns) != len(other.columns):
        return False
    pairs = zip(one.columns, other.columns, strict=True)
    return all(a[2].direct == b[2].direct and a[2].indirect == b[2].indirect for a, b in pairs)
