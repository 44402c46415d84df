"""`LiveLineage`: lineage of a running mesh, always up to date with its manifests and its query log. What `Mesh` calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from meshkit.errors import UsageError
from meshkit.lineage.addresses import At, instant, parse_ref, split_column
from meshkit.lineage.consumers import LineageConsumers
from meshkit.lineage.focus import focus_view
from meshkit.lineage.graph import Direction, GraphDiff, LineageGraph
from meshkit.lineage.impact import Change, Impact, impact
from meshkit.lineage.models import LineageEdge
from meshkit.lineage.settings import LineageSettings
from meshkit.lineage.store import IngestReport, LineageStore
from meshkit.manifest import Manifest
from meshkit.ports import QueryLog, QueryLogRecord

if TYPE_CHECKING:
    from meshkit._sql import Store

__all__ = ["LiveLineage"]

_LEVELS = ("product", "column")


class LiveLineage:
    """Lineage over one state store. Each read first learns what manifests declare now and what was queried since the last read.

    `teams` maps principals to the team or dashboard they read for; without entry a reader is its own consumer.
    """

    def __init__(
        self,
        store: Store,
        manifests: Iterable[Manifest],
        *,
        query_log: QueryLog | None = None,
        settings: LineageSettings | None = None,
        teams: Mapping[str, str] | None = None,
    ) -> None:
        self.manifests = tuple(manifests)
        self._settings = settings or LineageSettings()
        self._log, self._teams = query_log, dict(teams or {})
        self.store = LineageStore(store, observe_days=self._settings.observe_days)

    def lineage(
        self,
        focus: str | None = None,
        *,
        hops: int | None = None,
        direction: Direction = "both",
        level: str = "product",
        column: str | None = None,
        diff: At = None,
        at: At = None,
        sources: Collection[str] | None = None,
        include_stale: bool = False,
        now: datetime | None = None,
    ) -> LineageGraph:
        """The graph, or the neighbourhood of `focus`, at an instant; with `diff`, what changed since then.

        `hops` is 2, or 1 if that shows more than 25 nodes. `level` is the finest one kept: `product` or `column`; a chosen `column`
        of the focus keeps the column edges too. Raises: `UnknownNode`, `UsageError`.
        """
        if level not in _LEVELS:
            raise UsageError(f"level {level!r} is not kept. Use one of: {', '.join(_LEVELS)}", code="lineage.level")
        present = now or datetime.now(UTC)
        self._learn(present)
        keep_columns = level == "column" or column is not None
        graph = self._at(instant(at, now=present), sources, include_stale=include_stale, columns=keep_columns)
        if diff is not None:
            graph = graph.compared_with(
                self._at(instant(diff, now=present), sources, include_stale=False, columns=keep_columns)
            )
        if focus is None:
            return graph
        view = focus_view(graph, focus, hops=hops, direction=direction)
        return replace(view, changes=_within(view, graph))

    def impact(
        self,
        ref: str,
        column: str | None = None,
        *,
        change: Change = "remove",
        at: At = None,
        now: datetime | None = None,
    ) -> Impact:
        """Who is hurt by a change of a product or column. `ref` may name the column itself: `sales.orders#total`."""
        present = now or datetime.now(UTC)
        self._learn(present)
        graph = self._at(instant(at, now=present), None, include_stale=False, columns=True)
        return impact(graph, graph.find(ref), column or parse_ref(ref).column, change=change)

    def ingest_query_log(self, records: Iterable[QueryLogRecord]) -> IngestReport:
        """Learn from records of another log, for example a warehouse's."""
        return self.store.ingest_query_log(records, self.manifests, teams=self._teams, aliases=self._settings.aliases)

    def consumers(self) -> LineageConsumers:
        """Who reads a product, for the contract gate."""
        return LineageConsumers(lambda: self.lineage(level="column"))

    def _learn(self, now: datetime) -> None:
        self.store.declare(self.manifests, at=now)
        if self._log is not None:
            self.store.follow(self._log, self.manifests, teams=self._teams, aliases=self._settings.aliases)

    def _at(self, at: datetime, sources: Collection[str] | None, *, include_stale: bool, columns: bool) -> LineageGraph:
        graph = self.store.graph(self.manifests, at=at, sources=sources)
        if not include_stale:
            graph = graph.without_stale()
        return graph if columns else graph.at_level("product")


def _within(view: LineageGraph, whole: LineageGraph) -> GraphDiff | None:
    """Changes that touch what the view shows."""
    if whole.changes is None:
        return None
    shown = set(view.nodes)

    def near(edges: Iterable[LineageEdge]) -> tuple[LineageEdge, ...]:
        return tuple(e for e in edges if split_column(e.src)[0] in shown or split_column(e.dst)[0] in shown)

    return GraphDiff(near(whole.changes.added), near(whole.changes.removed))
