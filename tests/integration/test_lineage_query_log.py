"""Lineage from real queries: the gate resolves, DuckDB runs, the state store keeps the log, lineage reads it."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lineage_mesh import manifest

from meshkit._sql import Store
from meshkit.federation import Federation, StoreQueryLog
from meshkit.lineage import LineageStore, impact, product_urn
from meshkit.ports import Decision, Principal

ORDERS, AUDIT, REVENUE = map(product_urn, ("sales.orders", "finance.audit", "marketing.revenue"))


class Allow:
    """Everybody may read everything, in clear."""

    def decide(self, product, principal, *, purpose, now):
        return Decision(f"d-{product}", product, "1", "p1", True)

    def revision(self):
        return "p1"


class Clear:
    """No column is masked here."""

    def duckdb(self, column_sql, data_type, decision):
        raise AssertionError

    def arrow(self, column, data_type, decision):
        raise AssertionError


@pytest.fixture
def mesh(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.table({"id": ["1", "2"], "total": ["3", "4"], "state": ["new", "paid"]}), folder / "a.parquet")
    texts = [
        manifest("sales.orders"),
        manifest("marketing.revenue", inputs="{orders: sales.orders}"),
        manifest("finance.audit"),
    ]
    products = [
        m.model_copy(
            update={"ports": {"lake": m.ports["lake"].model_copy(update={"location": str(folder / "*.parquet")})}}
        )
        for m in texts
    ]
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    log = StoreQueryLog(store)
    federation = Federation({m.id: m for m in products}, decider=Allow(), masks=Clear(), query_log=log)

    def graph():
        lineage, now = LineageStore(store), datetime.now(UTC)
        lineage.declare(products, at=now)
        lineage.ingest_query_log((record for _, record in log.read()), products)
        return lineage.graph(products, at=datetime.now(UTC))

    yield federation, graph
    federation.close()
    store.close()


def test_an_undeclared_read_of_a_product_is_found_by_its_columns(mesh):
    """Rows are fetched, so the query counts; a person's read is usage."""
    federation, read_graph = mesh
    for subject, sql in [
        ("product:marketing.revenue", "select sum(total::int) as revenue from sales.orders where state = 'paid'"),
        ("product:finance.audit", "select id from sales.orders"),
        ("ana", "select count(*) from sales.orders"),
    ]:
        federation.sql(sql, principal=Principal(subject)).to_arrow()
    graph = read_graph()
    found = {(e.src, e.dst): e.agreement for e in graph.edges}
    assert found[ORDERS, REVENUE] == "confirmed"
    assert found[ORDERS, AUDIT] == "observed_not_declared"
    assert found[ORDERS, "consumer:ana"] == "confirmed"
    assert found[f"{ORDERS}#id", AUDIT] == "observed_not_declared"
    assert {s for s, d in found if d == REVENUE} == {ORDERS, f"{ORDERS}#total", f"{ORDERS}#state"}
    assert [(f.dst, f.columns) for f in graph.findings if f.severity == "violation"] == [(AUDIT, ("id",))]
    assert impact(graph, ORDERS, "total").of("affected")[0].urn == REVENUE
    assert "paid" not in str(graph.to_json())
    assert graph.as_of <= datetime.now(UTC)
