"""Who is hurt by a change."""

import pytest
from lineage_mesh import MESH, NOW, manifest, query

from meshkit._sql import Store
from meshkit.errors import MeshkitError
from meshkit.lineage import Evidence, LineageConsumers, LineageStore, build_graph, impact, product_urn

ORDERS, REVENUE, AUDIT, CHECKOUT = map(
    product_urn, ("sales.orders", "marketing.revenue", "finance.audit", "shop.checkout")
)


def sight(src, dst, level="product", **more):
    return Evidence(src, dst, level, first_seen=NOW, last_seen=NOW, count=2, **more)


READS = [
    sight(ORDERS, REVENUE), sight(f"{ORDERS}#total", f"{REVENUE}#revenue", "column", subtype="AGGREGATION"),
    sight(f"{ORDERS}#state", REVENUE, "column", kind="INDIRECT", subtype="FILTER"),
    sight(ORDERS, AUDIT), sight(f"{ORDERS}#id", AUDIT, "column"),
    sight(REVENUE, "consumer:board"), sight(f"{REVENUE}#revenue", "consumer:board", "column"),
    sight(ORDERS, "consumer:adhoc", confidence="table"),
]  # fmt: skip


@pytest.fixture
def graph():
    return build_graph(MESH, READS, at=NOW)


def verdicts(result):
    return {i.urn: (i.verdict, i.hops) for i in result.items}


def test_removing_a_column_follows_it_over_hops(graph):
    """Affected, unknown and not affected, in that order."""
    result = impact(graph, ORDERS, "total")
    assert verdicts(result) == {
        REVENUE: ("affected", 1),
        "consumer:board": ("affected", 2),
        "consumer:adhoc": ("unknown", 1),
        AUDIT: ("not_affected", 1),
    }
    assert [i.verdict for i in result.items] == ["affected", "affected", "unknown", "not_affected"]
    item = result.items[0]
    assert (item.owner, item.slos, item.columns, item.consumers) == (
        "marketing-team",
        ("99% freshness",),
        ("total",),
        1,
    )
    assert result.items[1].path == (ORDERS, REVENUE, "consumer:board")
    assert result.exit_code == 1


def test_a_column_that_only_filters_is_affected_by_removal_and_unknown_for_a_retype(graph):
    """An INDIRECT edge reaches all outputs."""
    assert verdicts(impact(graph, ORDERS, "state"))[REVENUE] == ("affected", 1)
    retyped = impact(graph, ORDERS, "state", change="retype")
    assert verdicts(retyped)[REVENUE] == ("unknown", 1)
    assert verdicts(retyped)["consumer:board"][0] == "unknown"


def test_stopping_a_product_affects_everything_downstream(graph):
    """Also what its readers feed."""
    result = impact(graph, CHECKOUT, change="stop")
    assert {i.urn for i in result.of("affected")} == {ORDERS, REVENUE, AUDIT, "consumer:board", "consumer:adhoc"}


def test_declared_columns_are_column_evidence(graph):
    """sales.orders names id and amount of shop.checkout, so the removal of email is none of its business."""
    assert verdicts(impact(graph, CHECKOUT, "email")) == {ORDERS: ("not_affected", 1)}
    assert impact(graph, CHECKOUT, "email").exit_code == 0
    deep = verdicts(impact(graph, CHECKOUT, "amount"))
    assert deep[ORDERS] == ("affected", 1)


def test_count_of_rows_is_no_read_of_a_column():
    """`count(*)` never counts for column impact, as the gate or the parser saw it, and is no undeclared column."""
    log = [
        query(1, "product:finance.audit", relations={"sales.orders": ()}),
        query(2, "ana", "select count(*) from sales.orders"),
        query(3, "product:sales.orders", relations={"shop.checkout": ()}),
    ]
    store = Store.open()
    lineage = LineageStore(store)
    lineage.declare(MESH, at=NOW)
    lineage.ingest_query_log(log, MESH)
    graph = lineage.graph(MESH, at=NOW)
    store.close()
    found = verdicts(impact(graph, ORDERS, "state"))
    assert (found[AUDIT][0], found["consumer:ana"][0]) == ("not_affected", "not_affected")
    assert {c.name: c.columns for c in LineageConsumers(graph).consumers("sales.orders").consumers}[
        "ana"
    ] == frozenset()
    assert [(f.dst, f.columns) for f in graph.findings if f.severity == "violation"] == [(AUDIT, ())]


def test_a_struct_touches_its_children_and_the_reverse():
    """Siblings do not touch each other."""
    graph = build_graph(
        [*MESH[:1], manifest("a.b", columns="id")],
        [sight(CHECKOUT, "consumer:x"), sight(f"{CHECKOUT}#id.sub", "consumer:x", "column")],
        at=NOW,
    )
    assert verdicts(impact(graph, CHECKOUT, "id"))["consumer:x"][0] == "affected"
    assert verdicts(impact(graph, CHECKOUT, "amount"))["consumer:x"][0] == "not_affected"


def test_an_unknown_product_or_column_is_an_error_that_names_the_nearest(graph):
    """Never an empty answer."""
    with pytest.raises(MeshkitError, match=r"sales\.orders"):
        graph.find("sales.order")
    with pytest.raises(MeshkitError, match=r"lineage\.unknown_node"):
        impact(graph, ORDERS, "nope")


def test_cycles_end():
    """Each node is judged, none twice for ever."""
    circle = [manifest("a.one", inputs="{x: b.two}"), manifest("b.two", inputs="{x: a.one}")]
    graph = build_graph(circle, at=NOW)
    assert verdicts(impact(graph, product_urn("a.one"), change="stop")) == {product_urn("b.two"): ("affected", 1)}


def test_text_json_and_csv_say_the_same(graph):
    """A CSV cell is never a formula."""
    result = impact(graph, ORDERS, "total")
    assert result.to_text().splitlines()[0] == "remove sales.orders#total: 2 affected, 1 unknown, 1 not affected"
    value = result.to_json()
    assert (value["format"], value["summary"]) == (
        "meshkit.lineage.impact/1",
        {"affected": 2, "unknown": 1, "not_affected": 1},
    )
    assert result.to_csv().splitlines()[1].startswith("affected,marketing.revenue,1,total,exact,marketing-team,")
    evil = build_graph(MESH, [sight(ORDERS, "consumer:=cmd()")], at=NOW)
    assert "'=cmd()" in impact(evil, ORDERS, change="stop").to_csv()


def test_the_contract_gate_gets_consumers_with_their_columns(graph):
    """`ports.ConsumerLookup`: columns are None where they are unknown."""
    answer = LineageConsumers(graph).consumers("sales.orders")
    by_name = {c.name: c for c in answer.consumers}
    assert by_name["Revenue"].columns == {"total", "state"}
    assert (by_name["Revenue"].product, by_name["Revenue"].source, by_name["Revenue"].reads) == (
        "marketing.revenue",
        "manifest",
        2,
    )
    assert by_name["adhoc"].columns is None
    assert answer.complete


def test_an_unreadable_statement_makes_the_answer_incomplete():
    """Nobody then means unknown."""
    graph = build_graph(MESH, at=NOW, coverage={"statements": 2, "unparsed": 1})
    assert not LineageConsumers(lambda: graph).consumers("sales.orders").complete
    assert not LineageConsumers(graph).consumers("no.where").complete
