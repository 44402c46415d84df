"""Lineage of a running mesh: up to date with its manifests and its query log."""

import pytest
from lineage_mesh import MESH, NOW, ago, manifest, query

from meshkit._sql import Store
from meshkit.errors import UsageError
from meshkit.lineage import LiveLineage, product_urn
from meshkit.ports import QueryLog

ORDERS, REVENUE, AUDIT = map(product_urn, ("sales.orders", "marketing.revenue", "finance.audit"))


class ListLog:
    """A query log in a list."""

    def __init__(self):
        self.records = []

    def append(self, record):
        self.records.append(record)

    def read(self, *, after=0):
        yield from ((i, r) for i, r in enumerate(self.records, 1) if i > after)


@pytest.fixture
def log():
    return ListLog()


@pytest.fixture
def live(log):
    assert isinstance(log, QueryLog)
    store = Store.open()
    yield LiveLineage(store, MESH, query_log=log)
    store.close()


def test_a_query_shows_at_once(live, log):
    """Each read first follows the log."""
    assert (ORDERS, AUDIT) not in {(e.src, e.dst) for e in live.lineage(now=NOW).edges}
    log.append(query(1, "product:finance.audit", relations={"sales.orders": ("id",)}, at=ago(minutes=1)))
    graph = live.lineage(now=NOW)
    assert [f.dst for f in graph.findings if f.severity == "violation"] == [AUDIT]
    assert live.lineage(now=NOW) == graph


def test_a_past_instant_and_a_diff(live, log):
    """`at=` selects by valid time, `diff=` compares."""
    log.append(query(1, "product:finance.audit", relations={"sales.orders": ("id",)}, at=ago(days=5)))
    live.store.declare(MESH, at=ago(days=90))
    assert (ORDERS, AUDIT) not in {(e.src, e.dst) for e in live.lineage(at=ago(days=6), now=NOW).edges}
    changed = live.lineage(diff=ago(days=6), now=NOW)
    assert [(e.src, e.dst) for e in changed.changes.added] == [(ORDERS, AUDIT)]
    assert "+ sales.orders -> finance.audit" in changed.to_text()
    focus = live.lineage("shop.checkout", hops=1, diff=ago(days=6), now=NOW)
    assert len(focus.changes.added) == 1
    assert live.lineage("2026-11-24" and "sales.orders", at="2026-11-18", now=NOW).as_of.day == 18


def test_levels_keep_columns_only_when_asked(live):
    """Columns are off until one is chosen."""
    assert {e.level for e in live.lineage(now=NOW).edges} == {"product"}
    assert {e.level for e in live.lineage(level="column", now=NOW).edges} == {"product", "column"}
    with pytest.raises(UsageError, match=r"lineage\.level"):
        live.lineage(level="port", now=NOW)


def test_impact_and_consumers_are_answered_from_the_same_graph(live, log):
    """A reference may name the column."""
    log.append(query(1, "ana", relations={"shop.checkout": ("email",)}, at=ago(hours=1)))
    found = live.impact("shop.checkout#email", now=NOW)
    assert [(i.urn, i.verdict) for i in found.items] == [("consumer:ana", "affected"), (ORDERS, "not_affected")]


def test_sources_are_kept_apart(live, log):
    """Only what was observed, or only what is declared."""
    log.append(query(1, "product:finance.audit", relations={"sales.orders": ("id",)}, at=ago(hours=1)))
    assert {e.dst for e in live.lineage(sources={"sql"}, now=NOW).edges} == {AUDIT}
    assert AUDIT not in {e.dst for e in live.lineage(sources={"manifest"}, now=NOW).edges}


def test_a_part_of_the_manifests_ends_nothing_of_the_others(live):
    """`complete=False`."""
    live.store.declare(MESH, at=ago(days=9))
    assert live.store.declare([manifest("new.one", inputs="{x: sales.orders}")], at=NOW, complete=False) == 1
