"""Lineage over time in the state store."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lineage_mesh import MESH, NOW, ago, manifest, query

from meshkit._sql import Store
from meshkit.lineage import LineageStore, product_urn

ORDERS, REVENUE, AUDIT = map(product_urn, ("sales.orders", "marketing.revenue", "finance.audit"))
LOG = [
    query(
        1,
        "product:marketing.revenue",
        "select sum(total) as revenue from sales.orders where state = ?",
        at=ago(hours=3),
    ),
    query(2, "product:finance.audit", relations={"sales.orders": ("id", "total")}, at=ago(hours=2)),
    query(3, "ana", "select o.id from sales.orders o", at=ago(hours=1)),
    query(4, "ana", "select id from sales.orders", at=ago(hours=1), status="denied"),
    query(5, "meshkit", "select id from sales.orders", at=ago(hours=1)),
    query(6, "ana", "selec oops", at=ago(hours=1)),
]


@pytest.fixture
def lineage():
    store = Store.open()
    yield LineageStore(store)
    store.close()


def found(graph):
    return {(e.src, e.dst): e.agreement for e in graph.product_edges}


def test_manifests_and_a_query_log_give_the_live_graph_with_its_undeclared_read(lineage):
    """The gate's relations win, statements are parsed, failed queries and probes do not count."""
    lineage.declare(MESH, at=ago(days=40))
    report = lineage.ingest_query_log(LOG, MESH, teams={"ana": "marketing"})
    assert (report.records, report.new, report.skipped) == (6, 4, 2)
    assert report.statuses == {"exact": 2, "gate": 1, "unparsed": 1}
    graph = lineage.graph(MESH, at=NOW)
    assert found(graph) == {
        (product_urn("shop.checkout"), ORDERS): "declared_not_observable",
        ("dataset:external|ads.google", REVENUE): "declared_not_observed",
        (ORDERS, REVENUE): "confirmed",
        (ORDERS, AUDIT): "observed_not_declared",
        (ORDERS, "consumer:marketing"): "confirmed",
    }
    assert [f.dst for f in graph.findings if f.severity == "violation"] == [AUDIT]
    assert graph.coverage == {"statements": 4, "exact": 3, "ambiguous": 0, "table": 0, "unparsed": 1}
    columns = {(e.src, e.dst) for e in graph.edges if e.level == "column" and e.dst == AUDIT}
    assert columns == {(f"{ORDERS}#id", AUDIT), (f"{ORDERS}#total", AUDIT)}


def test_reading_a_log_twice_changes_nothing(lineage):
    """Queries are counted by their id."""
    lineage.ingest_query_log(LOG, MESH)
    before = lineage.graph(MESH, at=NOW)
    report = lineage.ingest_query_log(LOG + LOG, MESH)
    assert (report.new, report.known) == (0, 12)
    assert lineage.graph(MESH, at=NOW) == before


TIMES = st.lists(st.integers(0, 200), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=TIMES, data=st.data())
def test_any_order_and_batching_of_records_gives_the_same_intervals(days, data):
    """Intervals of one edge are apart by more than the window, and replay gives `as_of`."""
    records = [
        query(i, "product:finance.audit", relations={"sales.orders": ("id",)}, at=ago(days=d))
        for i, d in enumerate(days)
    ]
    graphs = []
    for order in (records, data.draw(st.permutations(records))):
        store = Store.open()
        lineage = LineageStore(store)
        cut = data.draw(st.integers(0, len(order)))
        for part in (order[:cut], order[cut:]):
            lineage.ingest_query_log(part, MESH)
        instants = [NOW, ago(days=data.draw(st.integers(0, 200)))] if not graphs else [g.as_of for g in graphs[0]]
        graphs.append([lineage.graph(MESH, at=at) for at in instants])
        store.close()
    assert graphs[0] == graphs[1]
    for graph in graphs[0]:
        live = any(timedelta() <= graph.as_of - r.at <= timedelta(days=30) for r in records)
        assert (found(graph).get((ORDERS, AUDIT)) == "observed_not_declared") == live


def test_a_past_instant_has_the_edges_declared_then(lineage):
    """Last month against today: added and removed."""
    early = (*MESH[:3], manifest("finance.audit", inputs="{o: sales.orders}"))
    lineage.declare(early, at=ago(days=60))
    lineage.declare(MESH, at=ago(days=10))
    now, then = lineage.graph(MESH, at=NOW), lineage.graph(MESH, at=ago(days=30))
    assert (ORDERS, AUDIT) not in found(now)
    assert (ORDERS, AUDIT) in found(then)
    assert [(e.src, e.dst) for e in now.diff(then).removed] == [(ORDERS, AUDIT)]
    assert now.compared_with(then).to_json()["diff"]["added"] == []


def test_declaring_the_same_twice_changes_nothing(lineage):
    """The start of an edge stays what it was."""
    assert lineage.declare(MESH, at=ago(days=60)) == 5
    assert lineage.declare(MESH, at=NOW) == 0
    graph = lineage.graph(MESH, at=NOW)
    assert {e.first_seen for e in graph.product_edges} == {ago(days=60)}


def test_a_statement_that_writes_a_product_is_its_read_whoever_ran_it(lineage):
    """Column to column."""
    record = query(
        9,
        "loader",
        "insert into marketing.revenue (day, revenue) select state, total from sales.orders",
        at=ago(hours=1),
    )
    lineage.ingest_query_log([record], MESH)
    edges = {
        (e.src, e.dst) for e in lineage.graph(MESH, at=NOW).edges if e.level == "column" and e.dst.startswith(REVENUE)
    }
    assert edges == {(f"{ORDERS}#state", f"{REVENUE}#day"), (f"{ORDERS}#total", f"{REVENUE}#revenue")}


def test_a_table_that_is_no_product_is_external_and_an_alias_makes_it_one(lineage):
    """`lineage.aliases` maps tables to products."""
    log = [query(1, "product:finance.audit", "select x from legacy.orders_v", at=ago(hours=1))]
    lineage.ingest_query_log(log, MESH)
    assert ("dataset:duckdb|legacy.orders_v", AUDIT) in found(lineage.graph(MESH, at=NOW))
    other = LineageStore(Store.open())
    other.ingest_query_log(log, MESH, aliases={"legacy.orders_v": "sales.orders"})
    assert (ORDERS, AUDIT) in found(other.graph(MESH, at=NOW))
    other.store.close()


def test_a_bad_record_is_rejected_and_the_good_ones_are_in(lineage):
    """With its query id and code."""
    report = lineage.ingest_query_log([query(1, "ana", "select 1", dialect="nonsense"), LOG[1]], MESH)
    assert report.rejected == (("q1", "lineage.unknown_dialect"),)
    assert (report.new, report.exit_code) == (1, 1)
    assert report.to_json()["rejected"] == [{"query_id": "q1", "code": "lineage.unknown_dialect"}]


def test_two_processes_see_each_other_at_once(tmp_path):
    """They share the state store."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    one, two = LineageStore(Store.open(url)), LineageStore(Store.open(url))
    one.ingest_query_log(LOG[:3], MESH)
    two.ingest_query_log(LOG, MESH)
    assert found(one.graph(MESH, at=NOW)) == found(two.graph(MESH, at=NOW))
    assert next(e.count for e in one.graph(MESH, at=NOW).product_edges if e.dst == AUDIT) == 1
    one.store.close()
    two.store.close()
