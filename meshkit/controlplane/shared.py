"""`Shared`: what all readers have in common, made once: evaluations of the whole mesh and the search index.

Visibility is decided after it, per reader. It is made anew with the first new evidence or manifest, and after ten seconds, because ages grow.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshkit.catalog.search import Document, SearchIndex, Signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshkit.manifest import Manifest
    from meshkit.mesh import Mesh
    from meshkit.slo import Evaluation

__all__ = ["Shared"]

KEPT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    key: Any
    at: datetime
    manifests: Mapping[str, Manifest]  # held, so that their identity in `key` stays theirs
    evaluations: tuple[Evaluation, ...]


class Shared:
    """Evaluations and the search index at about now. Thread-safe; of several requests at once one does the work."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None
        self._index: tuple[_Snapshot, SearchIndex] | None = None

    def evaluations(self, now: datetime) -> tuple[Evaluation, ...]:
        """Every product, restricted ones too: the caller filters."""
        with self._lock:
            return self._current(now).evaluations

    def index(self, now: datetime) -> SearchIndex:
        """Every product, restricted ones too: search with `visible=`."""
        with self._lock:
            snapshot = self._current(now)
            if self._index is None or self._index[0] is not snapshot:
                signals = {e.product: _signals(e) for e in snapshot.evaluations}
                documents = [Document.of(m, signals.get(n, Signals())) for n, m in snapshot.manifests.items()]
                self._index = (snapshot, SearchIndex(documents))
            return self._index[1]

    def _current(self, now: datetime) -> _Snapshot:
        manifests = self._mesh.catalog.manifests()
        key = (self._newest_evidence(), frozenset((name, id(m)) for name, m in manifests.items()))
        known = self._snapshot
        if known is None or known.key != key or not timedelta(0) <= now - known.at < KEPT:
            known = self._snapshot = _Snapshot(key, now, manifests, self._mesh.evaluate_all(at=now))
        return known

    def _newest_evidence(self) -> int:
        import sqlalchemy as sa

        store = self._mesh.evidence
        with store.store.read() as connection:
            return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(store.table.c.id), 0))).scalar_one())


def _signals(evaluation: Evaluation) -> Signals:
    fresh = evaluation.indicator("freshness")
    score = evaluation.trust.score if evaluation.trust else None
    return Signals(evaluation.state, score, fresh.judged.actual if fresh else None)
