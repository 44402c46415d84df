"""Agreement between what manifests declare and what was observed."""

import pytest
from lineage_mesh import MESH, NOW, ago, manifest

from meshkit.lineage import Evidence, build_graph, product_urn

ORDERS, REVENUE, AUDIT, CHECKOUT = map(
    product_urn, ("sales.orders", "marketing.revenue", "finance.audit", "shop.checkout")
)


def sight(src, dst, *, last=NOW, level="product", **more):
    return Evidence(src, dst, level, first_seen=last, last_seen=last, count=3, evidence="sha256:ab", **more)


def agreements(graph, level="product"):
    return {(e.src, e.dst): e.agreement for e in graph.edges if e.level == level}


def test_an_edge_is_confirmed_when_it_is_declared_and_was_observed_lately():
    """Both sources are named."""
    graph = build_graph(MESH, [sight(ORDERS, REVENUE)], at=NOW)
    (edge,) = [e for e in graph.edges if (e.src, e.dst, e.level) == (ORDERS, REVENUE, "product")]
    assert (edge.agreement, edge.sources, edge.count) == ("confirmed", ("manifest", "sql"), 3)


def test_a_read_that_no_manifest_names_is_a_violation():
    """The finding has who, when, how often and the owner of the reader."""
    graph = build_graph(MESH, [sight(ORDERS, AUDIT)], at=NOW)
    assert agreements(graph)[ORDERS, AUDIT] == "observed_not_declared"
    (finding,) = [f for f in graph.findings if f.severity == "violation"]
    assert (finding.rule, finding.src, finding.dst, finding.owner) == (
        "lineage.observed_not_declared",
        ORDERS,
        AUDIT,
        "finance-team",
    )
    assert (finding.count, finding.fingerprint, finding.last_seen) == (3, "sha256:ab", NOW)
    assert graph.findings_exit_code == 1


def test_a_column_outside_the_declared_ones_is_a_violation():
    """`columns: [id, amount]` does not name email."""
    reads = [
        sight(CHECKOUT, ORDERS),
        sight(f"{CHECKOUT}#email", ORDERS, level="column"),
        sight(f"{CHECKOUT}#id", ORDERS, level="column"),
    ]
    graph = build_graph(MESH, reads, at=NOW)
    assert agreements(graph, "column") == {
        (f"{CHECKOUT}#amount", ORDERS): "declared_not_observed",
        (f"{CHECKOUT}#email", ORDERS): "observed_not_declared",
        (f"{CHECKOUT}#id", ORDERS): "confirmed",
    }
    assert [f.columns for f in graph.findings] == [("email",)]


@pytest.mark.parametrize(
    ("seen", "since", "state", "found"),
    [
        ({}, {}, "declared_not_observable", 0),
        ({REVENUE: ago(days=40)}, {}, "declared_not_observable", 0),
        ({REVENUE: ago(days=2)}, {(ORDERS, REVENUE): ago(days=60)}, "declared_not_observed", 1),
        ({REVENUE: ago(days=2)}, {(ORDERS, REVENUE): ago(days=3)}, "declared_not_observed", 0),
    ],
)
def test_silence_is_an_absence_of_use_only_where_reads_are_observable(seen, since, state, found):
    """An unobserved edge is a finding when it is declared for 30 days and the reader's queries are logged."""
    graph = build_graph(MESH, at=NOW, seen=seen, since=since)
    assert agreements(graph)[ORDERS, REVENUE] == state
    assert len(graph.findings) == found
    assert {f.severity for f in graph.findings} <= {"info"}


def test_an_observed_edge_grows_stale_and_is_hidden():
    """Nobody declared it, and nobody reads it any more."""
    graph = build_graph(MESH, [sight(ORDERS, AUDIT, last=ago(days=31))], at=NOW)
    assert agreements(graph)[ORDERS, AUDIT] == "stale"
    assert graph.findings == ()
    assert (ORDERS, AUDIT) not in agreements(graph.without_stale())


def test_reads_of_people_are_usage_and_no_finding():
    """A dashboard declares nothing."""
    graph = build_graph(MESH, [sight(ORDERS, "consumer:marketing")], at=NOW)
    assert agreements(graph)[ORDERS, "consumer:marketing"] == "confirmed"
    assert graph.findings == ()
    assert graph.nodes["consumer:marketing"].kind == "consumer"


def test_an_external_input_is_a_dataset_outside_the_mesh():
    """It has a node like any other."""
    graph = build_graph(MESH, at=NOW)
    node = graph.nodes["dataset:external|ads.google"]
    assert (node.kind, node.label, node.domain) == ("dataset", "ads.google", "outside")


def test_a_circle_of_products_is_a_warning_and_breaks_no_walk():
    """Its path is shown."""
    circle = (
        manifest("a.one", inputs="{x: c.three}"),
        manifest("b.two", inputs="{x: a.one}"),
        manifest("c.three", inputs="{x: b.two}"),
    )
    graph = build_graph(circle, at=NOW)
    (finding,) = graph.findings
    assert finding.rule == "lineage.cycle"
    assert len(finding.path) == 3
    assert len(graph.around(product_urn("a.one"), hops=9)) == 3
    assert graph.layout().nodes.keys() == graph.nodes.keys()


def test_columns_of_another_object_are_named_with_it():
    """The main object's columns go by their name alone."""
    producer = manifest("p.many", columns="id", more="").model_copy()
    reader = manifest("r.one", inputs="{x: {product: p.many, object: lines, columns: [sku]}}")
    graph = build_graph([producer, reader], at=NOW)
    assert [e.src for e in graph.edges if e.level == "column"] == ["urn:mesh:p:many#lines.sku"]


def test_what_was_first_seen_later_is_not_in_an_earlier_graph():
    """The clock is an argument."""
    assert (ORDERS, AUDIT) not in agreements(build_graph(MESH, [sight(ORDERS, AUDIT)], at=ago(days=1)))


def test_the_json_has_the_documented_shape():
    """`meshkit.lineage.graph/1`."""
    value = build_graph(MESH, [sight(ORDERS, AUDIT)], at=NOW, coverage={"statements": 1, "exact": 1}).to_json()
    assert value["format"] == "meshkit.lineage.graph/1"
    assert value["as_of"] == "2026-11-24T09:00:00Z"
    assert set(value) >= {"revision", "nodes", "edges", "findings", "coverage", "diff"}
    edge = next(e for e in value["edges"] if e["dst"] == AUDIT)
    assert edge.items() >= {"src": ORDERS, "level": "product", "agreement": "observed_not_declared", "sources": ["sql"], "confidence": "exact",
                            "first_seen": "2026-11-24T09:00:00Z", "last_seen": "2026-11-24T09:00:00Z", "count": 3}.items()  # fmt: skip
    assert set(value["nodes"][0]) >= {"urn", "kind", "state", "trust", "hidden_upstream", "hidden_downstream"}
    assert value["findings"][0]["rule"] == "lineage.observed_not_declared"
