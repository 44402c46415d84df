"""What one question shows of a graph."""

import pytest
from lineage_mesh import MESH, NOW, ago, query

from meshkit._sql import Store
from meshkit.errors import MeshkitError, UsageError
from meshkit.lineage import LineageStore, impact, lineage_view, product_urn

CHECKOUT, ORDERS, AUDIT = map(product_urn, ("shop.checkout", "sales.orders", "finance.audit"))


@pytest.fixture
def lineage():
    store = Store.open()
    found = LineageStore(store)
    found.declare(MESH, at=ago(days=90))
    found.ingest_query_log(
        [query(1, "product:finance.audit", relations={"sales.orders": ("id",)}, at=ago(days=5))], MESH
    )
    yield found
    store.close()


def test_a_past_instant_and_a_diff(lineage):
    """`at` selects by valid time, `diff` compares."""
    now, then = lineage.graph(MESH, at=NOW), lineage.graph(MESH, at=ago(days=6))
    assert (ORDERS, AUDIT) not in {(e.src, e.dst) for e in lineage_view(then).edges}
    changed = lineage_view(now.compared_with(then))
    assert [(e.src, e.dst) for e in changed.changes.added] == [(ORDERS, AUDIT)]
    assert "+ sales.orders -> finance.audit" in changed.to_text()
    assert len(lineage_view(now.compared_with(then), "shop.checkout", hops=1).changes.added) == 1
    assert lineage_view(now.compared_with(then), "marketing.revenue", hops=1, direction="down").changes.added == ()


def test_columns_are_off_until_one_is_chosen(lineage):
    """A level, or a column of the focus."""
    graph = lineage.graph(MESH, at=NOW)
    assert {e.level for e in lineage_view(graph).edges} == {"product"}
    assert {e.level for e in lineage_view(graph, level="column").edges} == {"product", "column"}
    assert {e.level for e in lineage_view(graph, "sales.orders", column="id").edges} == {"product", "column"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"level": "port"}, "lineage.level"),
        ({"column": "id"}, "lineage.no_focus"),
        ({"ref": "sales.orders", "column": "idd"}, "lineage.unknown_node"),
        ({"ref": "sales.order"}, "lineage.unknown_node"),
        ({"ref": "orders"}, "lineage.bad_ref"),
    ],
)
def test_what_is_not_there_is_refused_by_name(lineage, arguments, code):
    """Never an empty picture."""
    with pytest.raises(MeshkitError) as caught:
        lineage_view(lineage.graph(MESH, at=NOW), **arguments)
    assert caught.value.code == code


def test_naive_and_malformed_times_are_refused():
    """`time.naive`, `time.syntax`."""
    from datetime import datetime

    from meshkit.lineage import instant

    assert instant("2026-11-20", now=NOW).isoformat() == "2026-11-20T23:59:59.999999+00:00"
    assert instant("2030-01-01", now=NOW) == NOW
    for bad in (datetime(2026, 1, 1), "2026-01-01T00:00:00", "yesterday"):
        with pytest.raises(UsageError, match=r"time\."):
            instant(bad, now=NOW)


def test_sources_are_kept_apart(lineage):
    """Only what was observed, or only what is declared."""
    assert {e.dst for e in lineage.graph(MESH, at=NOW, sources={"sql"}).edges} == {AUDIT}
    assert AUDIT not in {e.dst for e in lineage.graph(MESH, at=NOW, sources={"manifest"}).edges}


def test_a_part_of_the_manifests_ends_nothing_of_the_others(lineage):
    """`complete=False`."""
    assert lineage.declare([MESH[0]], at=NOW, complete=False) == 0
    assert impact(lineage.graph(MESH, at=NOW), CHECKOUT, "id").items[0].urn == ORDERS
