"""Which relation and column every name of a query means, by scope; what may go down to a source.

Tables: two parts name a product, one part a CTE in scope and nothing else. Every node class that can hold a relation is handled here by
name; an unknown one is refused, never skipped. Relations are replaced by fragment names, with the alias outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshkit.federation.allowlist import functions
from meshkit.federation.errors import Position, QueryDenied, UnparsableSql
from meshkit.federation.names import TableInfo, fold
from meshkit.federation.predicates import conjuncts, predicate_of
from meshkit.federation.recheck import is_reserved
from meshkit.federation.statement import FragmentRef, JoinKey, Origin, OutputColumn, Predicate
from meshkit.types import DataType

__all__ = ["Resolution", "Resolver", "position_of"]

_QUERIES = {"Select", "Union", "Except", "Intersect"}
_SELECT_ARGS = {
    "with_",
    "expressions",
    "distinct",
    "from_",
    "joins",
    "where",
    "group",
    "having",
    "qualify",
    "windows",
    "order",
    "limit",
    "offset",
}
_ARGS = {
    "Select": _SELECT_ARGS,
    "Union": {"with_", "this", "expression", "distinct", "by_name", "order", "limit", "offset"},
    "Except": {"with_", "this", "expression", "distinct", "by_name", "order", "limit", "offset"},
    "Intersect": {"with_", "this", "expression", "distinct", "by_name", "order", "limit", "offset"},
    "Table": {"this", "db", "catalog", "alias", "joins"},
    "Subquery": {"with_", "this", "alias", "joins", "order", "limit", "offset"},
    "Join": {"this", "on", "side", "kind", "using", "method"},
    "Lateral": {"this", "alias"},
    "Unnest": {"expressions", "alias"},
    "Values": {"expressions", "alias"},
    "CTE": {"this", "alias", "materialized"},
    "With": {"expressions", "recursive"},
}


def position_of(text: str, node: Any) -> Position | None:
    """Where a node stands in the user's text: its first token that is known."""
    from meshkit.federation.limits import at_offset

    starts = [n.meta["start"] for n in node.walk() if n.meta.get("start") is not None] if hasattr(node, "walk") else []
    return at_offset(text, min(starts)) if starts else None


@dataclass(slots=True)
class _Draft:
    """A fragment while its columns and predicates are collected."""

    name: str
    table: TableInfo
    virtual: str | None
    used: set[str] = field(default_factory=set)
    predicates: list[Predicate] = field(default_factory=list)
    rescanned: bool = False
    shared: bool = False
    all_used: bool = False


@dataclass(slots=True)
class _Relation:
    """Something after FROM: its columns by folded name, and the fragment they come from, if directly."""

    alias: str
    columns: dict[str, OutputColumn]
    schema: str | None = None
    draft: _Draft | None = None
    source_names: dict[str, str] = field(default_factory=dict)  # folded -> contract column
    restrictable: bool = (
        True  # false on the null side of an outer join and where rows match by position or nearest value
    )
    in_star: bool = True


@dataclass(slots=True)
class _Scope:
    relations: list[_Relation]
    parent: _Scope | None
    aliases: dict[str, OutputColumn] = field(default_factory=dict)
    alias_names: set[str] = field(default_factory=set)
    merged: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the resolver learnt of a query."""

    fragments: tuple[FragmentRef, ...]
    join_keys: tuple[JoinKey, ...]
    outputs: tuple[OutputColumn, ...]


class Resolver:
    """Resolves one parsed query in place: relations become fragments. `find_table` raises for names that are unknown or forbidden."""

    def __init__(
        self,
        text: str,
        *,
        prefix: str,
        find_table: Callable[[str, str, Any], tuple[TableInfo, str | None]],
        parameters: Mapping[str, Any],
    ) -> None:
        self.text, self.prefix, self.find_table, self.parameters = text, prefix, find_table, parameters
        self.drafts: list[_Draft] = []
        self.join_keys: list[JoinKey] = []
        self._recursive = 0
        self._in_cte = 0

    def run(self, query: Any) -> Resolution:
        """Resolve `query` and all queries inside."""
        outputs = self._query(query, {}, None)
        fragments = tuple(
            FragmentRef(
                name=d.name,
                table=d.table,
                columns=tuple(c.name for c in d.table.visible if d.all_used or c.name in d.used),
                predicates=tuple(d.predicates),
                rescanned=d.rescanned,
                shared=d.shared,
                virtual=d.virtual,  # type: ignore[arg-type]
            )
            for d in self.drafts
        )
        return Resolution(fragments, tuple(self.join_keys), tuple(outputs))

    # Queries

    def _deny(
        self, what: str, node: Any, *, reason: str = "not_allowed", hint: str = "Write it without"
    ) -> QueryDenied:
        return QueryDenied(what, reason=reason, hint=hint, position=position_of(self.text, node))

    def _closed(self, node: Any) -> None:
        allowed = _ARGS[type(node).__name__]
        for key, value in node.args.items():
            if key not in allowed and value:
                raise self._deny(f"{type(node).__name__.upper()} with {key.strip('_').upper()} is not supported", node)

    def _query(self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None) -> list[OutputColumn]:
        name = type(node).__name__
        if name == "Subquery":
            return self._subquery(node, ctes, parent)
        if name == "Values":
            return self._values(node, ctes, parent)
        if name == "Table":  # (sales.orders) in brackets
            return self._star(_Scope(self._from_item(node, ctes, parent), parent))
        if name not in _QUERIES:
            raise self._deny(f"{name.upper()} is not supported here", node)
        self._closed(node)
        ctes = self._with(node.args.get("with_"), ctes, parent)
        return self._select(node, ctes, parent) if name == "Select" else self._set_operation(node, ctes, parent)

    def _subquery(self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None) -> list[OutputColumn]:
        self._closed(node)
        ctes = self._with(node.args.get("with_"), ctes, parent)
        if node.args.get("joins") or type(node.this).__name__ == "Table":
            inner = _Scope(self._from_item(node.this, ctes, parent), parent)
            self._joins(node.args.get("joins") or (), inner, ctes)
            outputs = self._star(inner)
        else:
            outputs = self._query(node.this, ctes, parent)
        self._modifiers(node, outputs, ctes, parent)
        return outputs

    def _with(
        self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None
    ) -> dict[str, list[OutputColumn]]:
        if node is None:
            return ctes
        self._closed(node)
        known = dict(ctes)
        for cte in node.expressions:
            self._closed(cte)
            name = fold(cte.alias)
            if not name or is_reserved(name) or name.startswith(self.prefix):
                raise self._deny(
                    "the name of this common table expression is reserved", cte, hint="Choose another name"
                )
            renamed = [c.name for c in cte.args["alias"].columns]
            body = cte.this
            self._in_cte += 1
            if node.args.get("recursive") and type(body).__name__ == "Union":
                outputs = self._recursive_cte(name, renamed, body, known, parent)
            else:
                outputs = self._query(body, known, parent)
            self._in_cte -= 1
            known[name] = _rename(outputs, renamed)
        return known

    def _recursive_cte(
        self, name: str, renamed: list[str], body: Any, known: dict[str, list[OutputColumn]], parent: _Scope | None
    ) -> list[OutputColumn]:
        self._closed(body)
        known = self._with(body.args.get("with_"), known, parent)
        first = _rename(self._query(body.this, known, parent), renamed)
        self._recursive += 1  # the recursive part is scanned once per step: its fragments are loaded first
        second = self._query(body.expression, {**known, name: first}, parent)
        self._recursive -= 1
        merged = [_union(a, b) for a, b in zip(first, second, strict=False)]
        self._modifiers(body, merged, known, parent)
        return merged

    def _set_operation(
        self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None
    ) -> list[OutputColumn]:
        right_sides, spine = [], node
        while type(spine).__name__ in _QUERIES - {"Select"} and (spine is node or not spine.args.get("with_")):
            self._closed(spine)
            right_sides.append(spine)
            spine = spine.this
        outputs = self._query(spine, ctes, parent)
        for part in reversed(right_sides):
            right = self._query(part.expression, ctes, parent)
            outputs = (
                _by_name(outputs, right)
                if part.args.get("by_name")
                else [_union(a, b) for a, b in zip(outputs, right, strict=False)]
            )
            self._modifiers(part, outputs, ctes, parent)
        return outputs

    def _modifiers(
        self, node: Any, outputs: list[OutputColumn], ctes: dict[str, list[OutputColumn]], parent: _Scope | None
    ) -> None:
        scope = _Scope([_Relation("", {fold(c.name): c for c in outputs})], parent)
        for key in ("order", "limit", "offset"):
            if node.args.get(key) is not None:
                self._expression(node.args[key], scope, ctes)

    def _select(self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None) -> list[OutputColumn]:
        if not node.expressions:
            raise UnparsableSql(position_of(self.text, node))
        scope = _Scope([], parent)
        source = node.args.get("from_")
        if source is not None:
            scope.relations = self._from_item(source.this, ctes, parent)
        self._joins(node.args.get("joins") or (), scope, ctes)
        scope.alias_names = {fold(e.alias) for e in node.expressions if type(e).__name__ == "Alias"}
        outputs: list[OutputColumn] = []
        for item in node.expressions:
            outputs.extend(self._select_item(item, scope, ctes))
        where = node.args.get("where")
        if where is not None:
            self._expression(where.this, scope, ctes)
            self._push(where.this, scope)
        for key in ("group", "having", "qualify", "order", "limit", "offset", "distinct"):
            if node.args.get(key) is not None:
                self._expression(node.args[key], scope, ctes)
        for window in node.args.get("windows") or ():
            self._expression(window, scope, ctes)
        return outputs

    def _select_item(self, item: Any, scope: _Scope, ctes: dict[str, list[OutputColumn]]) -> list[OutputColumn]:
        name = type(item).__name__
        star = (
            item if name == "Star" else item.this if name == "Column" and type(item.this).__name__ == "Star" else None
        )
        if star is not None:
            return self._star_item(item, star, scope, ctes)
        inner = item.this if name == "Alias" else item
        origins = self._expression(inner, scope, ctes)
        direct = self._direct(inner, scope)
        # a literal's "name" is its value, and names go into the query log
        shown = item.alias if name == "Alias" else item.name if name == "Column" else ""
        column = OutputColumn(shown, frozenset(origins), direct)
        if name == "Alias":
            scope.aliases[fold(item.alias)] = column
        return [column]

    def _star_item(
        self, item: Any, star: Any, scope: _Scope, ctes: dict[str, list[OutputColumn]]
    ) -> list[OutputColumn]:
        """Expand a star as the engine does: USING columns once, right sides of semi joins not, EXCLUDE, REPLACE, RENAME applied."""
        if not scope.relations:
            raise self._deny("a star has no table to expand", item, reason="unknown_column", hint="Add FROM")
        table = item.args.get("table") if item is not star else None
        relations = [r for r in scope.relations if table is None or r.alias == fold(table.name)]
        if table is not None and (not relations or item.args.get("db") is not None):
            raise self._deny(
                "the star names a table that is not in FROM",
                item,
                reason="unknown_column",
                hint="Use the table's alias",
            )
        outputs = self._star(_Scope(relations, None, merged=scope.merged))
        excluded = {fold(e.name) for e in star.args.get("except_") or ()}
        replaced = {fold(e.alias): e for e in star.args.get("replace") or ()}
        renamed = {fold(e.this.name): e.alias for e in star.args.get("rename") or ()}
        known = {fold(c.name) for c in outputs}
        for name in (*excluded, *replaced, *renamed):
            if name not in known:
                raise self._deny(
                    "EXCLUDE, REPLACE or RENAME names a column that the star does not have",
                    item,
                    reason="unknown_column",
                    hint="Check it",
                )
        result = []
        for column in outputs:
            key = fold(column.name)
            if key in excluded:
                continue
            if key in replaced:
                column = OutputColumn(column.name, frozenset(self._expression(replaced[key].this, scope, ctes)))  # noqa: PLW2901
            result.append(OutputColumn(renamed.get(key, column.name), column.origins, column.direct))
        return result

    def _star(self, scope: _Scope) -> list[OutputColumn]:
        outputs, once = [], set()
        for relation in scope.relations:
            if relation.draft is not None:
                relation.draft.all_used = True
            for key, column in relation.columns.items():
                if not relation.in_star or (key in scope.merged and key in once):
                    continue
                once.add(key)
                outputs.append(column)
        return outputs

    # Relations

    def _from_item(self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None) -> list[_Relation]:
        name = type(node).__name__
        if name == "Paren":
            return self._from_item(node.this, ctes, parent)
        if name not in {"Table", "Subquery", "Values", "Unnest", "Lateral"}:
            raise self._deny(f"{name.upper()} after FROM is not supported", node)
        self._closed(node)
        alias = node.args.get("alias")
        renamed = [c.name for c in alias.columns] if alias is not None else []
        if name == "Table":
            relations = [self._table(node, ctes, parent, renamed)]
            inner = _Scope(relations, parent)
            self._joins(node.args.get("joins") or (), inner, ctes)
            return inner.relations
        if name == "Subquery" and alias is None and (node.args.get("joins") or type(node.this).__name__ == "Table"):
            inner = _Scope(self._from_item(node.this, self._with(node.args.get("with_"), ctes, parent), parent), parent)
            self._joins(node.args.get("joins") or (), inner, ctes)
            return inner.relations  # brackets around joined tables: their names stay visible
        if name == "Subquery":
            outputs = self._subquery(node, ctes, parent)
        elif name == "Values":
            outputs = self._values(node, ctes, parent)
        elif name == "Unnest":
            origins = self._expression_list(node.expressions, _Scope([], parent), ctes)
            outputs = [OutputColumn("unnest", frozenset(origins)) for _ in node.expressions]
        else:
            return [self._lateral(node, ctes, parent, renamed)]
        return [_relation(fold(node.alias), _rename(outputs, renamed))]

    def _lateral(
        self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None, renamed: list[str]
    ) -> _Relation:
        inner = node.this
        if type(inner).__name__ == "Subquery":
            outputs = self._subquery(inner, ctes, parent)
        elif type(inner).__name__ in {"Unnest", "Explode"}:
            origins = self._expression_list(list(inner.iter_expressions()), _Scope([], parent), ctes)
            outputs = [OutputColumn("unnest", frozenset(origins))]
        else:
            raise self._deny("LATERAL takes a subquery or unnest()", node)
        return _relation(fold(node.alias or inner.alias), _rename(outputs, renamed))

    def _table(
        self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None, renamed: list[str]
    ) -> _Relation:
        if type(node.this).__name__ == "Dot":
            raise self._deny(
                "a table has two parts, not more", node, reason="qualified_by_catalog", hint="Write domain.product"
            )
        if type(node.this).__name__ != "Identifier":
            return self._table_function(node, ctes, parent, renamed)
        if node.args.get("catalog") is not None:
            raise self._deny(
                "a table has two parts, not three",
                node,
                reason="qualified_by_catalog",
                hint='Write domain.product; quote a dotted domain: "sales.emea".orders',
            )
        if node.args.get("db") is None:
            return self._cte(node, ctes, renamed)
        domain, table_name = node.args["db"].name, node.this.name
        table, virtual = self.find_table(domain, table_name, node)
        draft = _Draft(
            f"{self.prefix}{len(self.drafts)}", table, virtual, rescanned=self._recursive > 0, shared=self._in_cte > 0
        )
        self.drafts.append(draft)
        alias = node.alias or table_name
        labels = {c.name: _columns(table, c.name) for c in table.visible}
        names = [*renamed, *[c.name for c in table.visible][len(renamed) :]]
        draft.all_used = bool(renamed)  # an alias list is positional
        columns = {
            fold(shown): OutputColumn(shown, frozenset({labels[c.name]}), labels[c.name])
            for shown, c in zip(names, table.visible, strict=False)
        }
        sources = {fold(shown): c.name for shown, c in zip(names, table.visible, strict=False)}
        if len(columns) != len(table.visible):
            raise self._deny("two columns of this table differ in case only", node, hint="Rename one in the contract")
        self._replace(node, draft.name, alias, renamed)
        schema = None if node.meta.get("had_alias") else fold(domain)
        return _Relation(fold(alias), columns, schema=schema, draft=draft, source_names=sources)

    def _replace(self, node: Any, fragment: str, alias: str, renamed: list[str]) -> None:
        from sqlglot import exp

        node.meta["had_alias"] = bool(node.alias)
        node.set("this", exp.to_identifier(fragment, quoted=True))
        node.set("db", None)
        columns = [exp.to_identifier(c, quoted=True) for c in renamed]
        node.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True), columns=columns or None))

    def _cte(self, node: Any, ctes: dict[str, list[OutputColumn]], renamed: list[str]) -> _Relation:
        outputs = ctes.get(fold(node.name))
        if outputs is None:
            raise self._deny(
                f"there is no table {node.name!r}",
                node,
                reason="unknown_table",
                hint="Tables are named domain.product; one-part names are WITH names in scope",
            )
        return _relation(fold(node.alias or node.name), _rename(outputs, renamed))

    def _table_function(
        self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None, renamed: list[str]
    ) -> _Relation:
        call = node.this
        name = type(call).__name__
        sql_name = {"GenerateSeries": "range", "Explode": "unnest", "Unnest": "unnest"}.get(name) or (
            fold(call.name) if name == "Anonymous" else ""
        )
        if node.args.get("db") is not None or sql_name not in functions().table:
            shown = call.name if name == "Anonymous" else name
            raise self._deny(
                f"the table function {shown} is not allowed", node, hint="Allowed are range, generate_series and unnest"
            )
        origins = self._expression(call, _Scope([], parent), ctes)
        return _relation(fold(node.alias or sql_name), _rename([OutputColumn(sql_name, frozenset(origins))], renamed))

    def _values(self, node: Any, ctes: dict[str, list[OutputColumn]], parent: _Scope | None) -> list[OutputColumn]:
        self._closed(node)
        scope = _Scope([], parent)
        for row in node.expressions:
            self._expression(row, scope, ctes)
        width = (
            len(node.expressions[0].expressions)
            if node.expressions and hasattr(node.expressions[0], "expressions")
            else 1
        )
        alias = node.args.get("alias")
        return _rename(
            [OutputColumn(f"col{i}") for i in range(width)],
            [c.name for c in alias.columns] if alias is not None else [],
        )

    # Joins

    def _joins(self, joins: Iterable[Any], scope: _Scope, ctes: dict[str, list[OutputColumn]]) -> None:
        for join in joins:
            self._closed(join)
            side, kind, method = (str(join.args.get(k) or "").upper() for k in ("side", "kind", "method"))
            if (
                side not in {"", "LEFT", "RIGHT", "FULL"}
                or kind not in {"", "INNER", "CROSS", "OUTER", "SEMI", "ANTI"}
                or method not in {"", "NATURAL", "ASOF", "POSITIONAL"}
            ):
                raise self._deny("this kind of join is not supported", join)
            left = list(scope.relations)
            lateral = _Scope(left, scope.parent, merged=scope.merged)
            right = self._from_item(join.this, ctes, lateral)
            self._join_names(join, method, kind, left, right, scope)
            scope.relations = [*left, *right]
            self._join_rows(join, side, kind, method, left, right, scope, ctes)
            if kind in {"SEMI", "ANTI"}:
                for relation in right:
                    relation.in_star = False

    def _join_names(
        self, join: Any, method: str, kind: str, left: list[_Relation], right: list[_Relation], scope: _Scope
    ) -> None:
        using = {fold(c.name) for c in join.args.get("using") or ()}
        if method == "NATURAL":
            using = {k for r in left for k in r.columns} & {k for r in right for k in r.columns}
        for key in using:
            for side in (left, right):
                holders = [r for r in side if key in r.columns]
                if not holders:
                    raise self._deny(
                        f"USING names the column {key!r}, which one side does not have",
                        join,
                        reason="unknown_column",
                        hint="Use ON",
                    )
                for relation in holders:
                    self._mark(relation, key)
            if kind not in {"SEMI", "ANTI"}:
                scope.merged.add(key)

    def _join_rows(
        self,
        join: Any,
        side: str,
        kind: str,
        method: str,
        left: list[_Relation],
        right: list[_Relation],
        scope: _Scope,
        ctes: dict[str, list[OutputColumn]],
    ) -> None:
        """Which relations may be restricted, and what the join condition says about them."""
        on = join.args.get("on")
        if on is not None:
            self._expression(on, scope, ctes)
        exact = method in {"", "NATURAL"}
        inner = exact and not side and kind in {"", "INNER", "CROSS", "SEMI"}
        right_only = exact and (side == "LEFT" or kind == "ANTI")
        if on is not None and (inner or right_only):
            self._push(on, scope, targets=[*left, *right] if inner else right)
        if inner or right_only:
            self._join_key(join, on, left, right, scope, both=inner)
        for relation in left:
            relation.restrictable &= side not in {"RIGHT", "FULL"} and method != "POSITIONAL"
        for relation in right:
            relation.restrictable &= side not in {"LEFT", "FULL"} and kind != "ANTI" and exact

    def _join_key(
        self, join: Any, on: Any, left: list[_Relation], right: list[_Relation], scope: _Scope, *, both: bool
    ) -> None:
        pairs = []
        for part in conjuncts(on) if on is not None else ():
            if type(part).__name__ == "EQ":
                first, second = self._fragment_column(part.this, scope), self._fragment_column(part.expression, scope)
                if first and second:
                    pairs.append((first, second) if any(first[0] is r for r in left) else (second, first))
        for key in join.args.get("using") or ():
            a_side, b_side = ([r for r in s if fold(key.name) in r.columns] for s in (left, right))
            if len(a_side) == len(b_side) == 1 and _is_product(a_side[0]) and _is_product(b_side[0]):
                name = fold(key.name)
                pairs.append(((a_side[0], a_side[0].source_names[name]), (b_side[0], b_side[0].source_names[name])))
        for (a, a_column), (b, b_column) in pairs:
            if not any(a is r for r in left) or not any(b is r for r in right) or a.draft is None or b.draft is None:
                continue
            if b.restrictable:
                self.join_keys.append(JoinKey(b.draft.name, b_column, a.draft.name, a_column))
            if both and a.restrictable:
                self.join_keys.append(JoinKey(a.draft.name, a_column, b.draft.name, b_column))

    def _push(self, condition: Any, scope: _Scope, targets: list[_Relation] | None = None) -> None:
        """Copy the parts of a condition that restrict one relation alone; the sandbox evaluates the whole query all the same."""
        for part in conjuncts(condition):
            holders: list[_Relation] = []

            def find(column: Any, holders: list[_Relation] = holders) -> tuple[str, DataType] | None:
                found = self._fragment_column(column, scope)
                if found is None:
                    return None
                holders.append(found[0])
                return found[1], next(c.type for c in found[0].draft.table.columns if c.name == found[1])  # type: ignore[union-attr]

            predicate = predicate_of(part, find, self.parameters)
            if predicate is None or not holders or any(h is not holders[0] for h in holders):
                continue
            relation = holders[0]
            if (
                relation.restrictable
                and relation.draft is not None
                and (targets is None or any(relation is t for t in targets))
            ):
                relation.draft.predicates.append(predicate)

    # Columns

    def _fragment_column(self, node: Any, scope: _Scope) -> tuple[_Relation, str] | None:
        """The fragment column that a plain column reference means, if it means exactly one of this scope."""
        if (
            type(node).__name__ != "Column"
            or type(node.this).__name__ != "Identifier"
            or node.args.get("db") is not None
        ):
            return None
        key, table = fold(node.name), fold(node.table) if node.table else None
        holders = [r for r in scope.relations if key in r.columns and (table is None or r.alias == table)]
        if (
            len(holders) != 1
            or holders[0].draft is None
            or holders[0].draft.virtual
            or (table is None and key in scope.merged)
        ):
            return None
        if table is not None and any(table in r.columns for r in scope.relations):
            return None  # table.name could be a member of a struct column called like the table
        return holders[0], holders[0].source_names[key]

    def _direct(self, node: Any, scope: _Scope) -> Origin | None:
        if type(node).__name__ != "Column":
            return None
        key, table = fold(node.name), fold(node.table) if node.table else None
        holders = [r for r in scope.relations if key in r.columns and (table is None or r.alias == table)]
        return holders[0].columns[key].direct if len(holders) == 1 and node.args.get("db") is None else None

    def _mark(self, relation: _Relation, key: str) -> frozenset[Origin]:
        if relation.draft is not None:
            relation.draft.used.add(relation.source_names[key])
        return relation.columns[key].origins

    def _expression_list(self, nodes: Iterable[Any], scope: _Scope, ctes: dict[str, list[OutputColumn]]) -> set[Origin]:
        return set().union(*(self._expression(n, scope, ctes) for n in nodes)) if nodes else set()

    def _expression(self, root: Any, scope: _Scope, ctes: dict[str, list[OutputColumn]]) -> set[Origin]:
        """Resolve every name below `root`; queries inside become scopes of their own."""
        origins: set[Origin] = set()
        stack: list[tuple[Any, frozenset[str], Any]] = [(root, frozenset(), None)]
        while stack:
            node, local, above = stack.pop()
            name = type(node).__name__
            if name in _QUERIES or name in {"Subquery", "Values"}:
                for column in self._query(node, ctes, scope):
                    origins |= column.origins
            elif name == "Column":
                origins |= self._column(node, scope, local, above)
            elif name == "Star":
                if type(above).__name__ != "Count":
                    raise self._deny(
                        "a star stands here where a column is needed",
                        above if above is not None else node,
                        hint="Name the columns",
                    )
            elif name in {"Table", "From", "Join", "With", "CTE"}:
                raise self._deny(f"{name.upper()} inside an expression is not supported", node)
            elif name == "Dot" and type(node.expression).__name__ != "Identifier":
                raise self._deny("a function with a schema is not allowed", node, hint="Write its name alone")
            else:
                if name == "Comprehension":
                    local |= {fold(node.args["expression"].name)}
                elif name == "Lambda":
                    local |= {fold(p.name) for p in node.expressions}
                stack.extend((child, local, node) for child in node.iter_expressions())
        return origins

    def _column(self, node: Any, scope: _Scope, local: frozenset[str], above: Any) -> set[Origin]:
        if type(node.this).__name__ == "Star":
            return self._row_star(node, scope, above)
        parts = [p.name for p in node.parts]
        folded = [fold(p) for p in parts]
        if folded[0] in local:
            return set()
        inner: _Scope | None = scope
        while inner is not None:
            found = self._column_in(node, folded, inner)
            if found is not None:
                return found
            inner = inner.parent
        shown = ".".join(parts)
        raise self._deny(
            f"there is no column {shown!r}", node, reason="unknown_column", hint=self._hint(folded[-1], scope)
        )

    def _row_star(self, node: Any, scope: _Scope, above: Any) -> set[Origin]:
        if type(above).__name__ != "Count":
            raise self._deny("a star stands here where a column is needed", node, hint="Name the columns")
        relations = [r for r in scope.relations if r.alias == fold(node.table)]
        return {o for c in self._star(_Scope(relations, None)) for o in c.origins}

    def _column_in(self, node: Any, folded: list[str], scope: _Scope) -> set[Origin] | None:
        """Origins if the name means something in this scope; marks every reading of it, so that none misses its column."""
        origins: set[Origin] = set()
        hit = False
        for relation in scope.relations:
            if (
                len(folded) >= 3
                and relation.schema == folded[0]
                and relation.alias == folded[1]
                and folded[2] in relation.columns
            ):
                origins |= self._mark(relation, folded[2])
                _drop_schema(node)
                return origins
            if len(folded) >= 2 and relation.alias == folded[0] and folded[1] in relation.columns:
                origins |= self._mark(relation, folded[1])
                hit = True
            if folded[0] in relation.columns:
                origins |= self._mark(relation, folded[0])
                hit = True
        if not hit and folded[0] in scope.alias_names:
            alias = scope.aliases.get(folded[0])
            return set(alias.origins) if alias else set()
        if not hit and len(folded) == 1:
            for relation in scope.relations:
                if relation.alias == folded[0]:  # the whole row as a struct
                    return {o for c in self._star(_Scope([relation], None)) for o in c.origins}
        return origins if hit else None

    def _hint(self, name: str, scope: _Scope) -> str:
        from difflib import get_close_matches

        known = [c.name for r in scope.relations for c in r.columns.values()]
        near = get_close_matches(name, [fold(k) for k in known], n=1)
        return f"Did you mean {near[0]!r}?" if near else "Columns of a table: DESCRIBE domain.product"


def _is_product(relation: _Relation) -> bool:
    return relation.draft is not None and relation.draft.virtual is None


def _columns(table: TableInfo, column: str) -> Origin:
    return table.product, table.column_label(column)


def _drop_schema(node: Any) -> None:
    """`sales.orders.email` to `orders.email`: the fragment has the alias, not the domain."""
    parts = ["this", "table", "db", "catalog"]
    filled = [p for p in parts if node.args.get(p) is not None]
    node.set(filled[-1], None)


def _relation(alias: str, outputs: list[OutputColumn]) -> _Relation:
    columns: dict[str, OutputColumn] = {}
    for column in outputs:
        columns.setdefault(fold(column.name), column)
    return _Relation(alias, columns)


def _rename(outputs: list[OutputColumn], names: list[str]) -> list[OutputColumn]:
    return [OutputColumn(names[i] if i < len(names) else c.name, c.origins, c.direct) for i, c in enumerate(outputs)]


def _union(a: OutputColumn, b: OutputColumn) -> OutputColumn:
    return OutputColumn(a.name, a.origins | b.origins, a.direct if a.direct == b.direct else None)


def _by_name(left: list[OutputColumn], right: list[OutputColumn]) -> list[OutputColumn]:
    others = {fold(c.name): c for c in right}
    merged = [_union(c, others.pop(fold(c.name))) if fold(c.name) in others else c for c in left]
    return [*merged, *others.values()]
