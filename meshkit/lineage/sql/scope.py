"""Names of one SELECT: which relation a column belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshkit.lineage.sql.adapter import exp
from meshkit.lineage.sql.flow import AGGREGATION, EXACT, Flow, Relation, loosened

if TYPE_CHECKING:
    from meshkit.lineage.sql.resolver import Resolver

__all__ = ["Scope"]


class Scope:
    """What is in sight of one SELECT. `outer` is the scope around it; `lateral` says that it is only asked when nothing here may have the name."""

    __slots__ = ("aliases", "aliases_win", "env", "lateral", "merged", "outer", "relations", "resolver", "windows")

    def __init__(
        self, resolver: Resolver, env: Mapping[str, Any], outer: Scope | None, *, lateral: bool = False
    ) -> None:
        self.resolver, self.env, self.outer, self.lateral = resolver, env, outer, lateral
        self.relations: list[Relation] = []
        self.merged: dict[str, tuple[str, Flow]] = {}  # USING columns
        self.aliases: dict[str, Flow] | None = None  # outputs that may be named by alias where we are now
        self.aliases_win = False
        self.windows: dict[str, Any] = {}

    def window(self, name: Any) -> Any | None:
        """A window of the WINDOW clause."""
        return self.windows.get(self.resolver.grammar.key(name)) if isinstance(name, exp.Identifier) else None

    def column(self, node: Any) -> Flow:
        """Flow of a `Column` node: its longest prefix that is a relation, else a column with fields."""
        args = node.args
        key, shown = self.resolver.grammar.key, self.resolver.grammar.shown
        this = args["this"]
        table = args.get("table")
        if not isinstance(this, exp.Identifier):
            this = this.find(exp.Identifier) if isinstance(this, exp.Expression) else None
            if this is None:
                return self._unknown("a column without name")
        if table is None:
            return self._bare(key(this), shown(this))
        parts = [p for p in (args.get("catalog"), args.get("db"), table, this) if p is not None]
        keys = [key(p) for p in parts]
        for length in range(len(parts) - 1, 0, -1):
            found = self._relation(tuple(keys[:length]))
            if found is not None:
                flow = found.lookup(keys[length], shown(parts[length]))
                if flow is not None:
                    return flow
                return self._missing(found, shown(parts[length]))
        return self._bare(keys[0], shown(parts[0]))

    def _relation(self, names: tuple[str, ...]) -> Relation | None:
        scope: Scope | None = self
        count = len(names)
        while scope is not None:
            for relation in scope.relations:
                if relation.names[-count:] == names:
                    return relation
            scope = scope.outer
        return None

    def _bare(self, key: str, shown: str) -> Flow:
        if self.aliases_win and self.aliases and key in self.aliases:
            return self.aliases[key]
        merged = self.merged.get(key)
        if merged is not None:
            return merged[1]
        hits = [r.columns[key][1] for r in self.relations if key in r.columns]
        if len(hits) == 1:
            return hits[0]
        if hits:
            return self._doubt(hits, shown)
        maybe = [r.lookup(key, shown) for r in self.relations if r.is_open]
        candidates = [flow for flow in maybe if flow is not None]
        alias = self.aliases.get(key) if self.aliases else None
        if alias is not None:
            return self._doubt([*candidates, alias], shown) if candidates else alias
        if candidates and not self.lateral:
            candidates += self.outer.candidates(key, shown) if self.outer is not None else ()
        if len(candidates) == 1:
            if any(not code & EXACT for code in candidates[0].direct.values()):
                self.resolver.lower("ambiguous", "lineage.ambiguous", f"column {shown} may be of several tables")
            return candidates[0]
        if candidates:
            return self._doubt(candidates, shown)
        if self.outer is not None:
            return self.outer._bare(key, shown)  # noqa: SLF001  # its own kind
        row = self._relation((key,))
        return row.whole_row() if row is not None else self._nowhere(shown)

    def candidates(self, key: str, shown: str) -> list[Flow]:
        """What a name would mean to an inner query that does not have it: columns of the nearest scope that may have it."""
        merged = self.merged.get(key)
        if merged is not None:
            return [merged[1]]
        found = [flow for flow in (r.lookup(key, shown) for r in self.relations) if flow is not None]
        sure = any(key in r.columns for r in self.relations)
        if sure or self.outer is None:
            return found
        return found + self.outer.candidates(key, shown)

    def _doubt(self, flows: list[Flow], shown: str) -> Flow:
        self.resolver.lower("ambiguous", "lineage.ambiguous", f"column {shown} may be of several tables")
        return loosened(flows)

    def _missing(self, relation: Relation, shown: str) -> Flow:
        self.resolver.lower(
            "table", "lineage.unknown_column", f"{'.'.join(relation.names)} has no column {shown} in the schema"
        )
        return Flow(dict.fromkeys(((table, shown) for table in relation.tables), 1))

    def _nowhere(self, shown: str) -> Flow:
        if len(self.relations) == 1:
            return self._missing(self.relations[0], shown)
        return self._unknown(f"column {shown}")

    def _unknown(self, what: str) -> Flow:
        self.resolver.lower("table", "lineage.unknown_column", f"{what} is in no table in sight")
        return Flow()

    def named(self, star: Any) -> list[Relation]:
        """The relation of `t.*`."""
        parts = [p for p in (star.args.get("catalog"), star.args.get("db"), star.args.get("table")) if p is not None]
        relation = self._relation(tuple(self.resolver.grammar.key(p) for p in parts))
        return [relation] if relation is not None else []

    def star_flow(self, star: Any) -> Flow:
        """`f(t.*)`: all columns at once."""
        flow = Flow()
        for relation in self.named(star):
            flow.absorb(relation.whole_row(), 2, None)
        return flow

    def rows(self, relations: list[Relation] | None = None) -> Flow:
        """What `count(*)` counts: rows of every table behind the relations."""
        chosen = self.relations if relations is None else relations
        return Flow(dict.fromkeys(((t, "*") for r in chosen for t in r.tables), AGGREGATION | EXACT))
