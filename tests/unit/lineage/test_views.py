"""Focus views, column paths, the matrix, and every form a graph is shown in."""

import re
import subprocess
from shutil import which
from xml.etree import ElementTree as ET

import pytest
from lineage_mesh import MESH, NOW, manifest

from meshkit.lineage import Evidence, NodeView, build_graph, column_path, domain_matrix, focus_view, product_urn

ORDERS, REVENUE, AUDIT, CHECKOUT = map(
    product_urn, ("sales.orders", "marketing.revenue", "finance.audit", "shop.checkout")
)


def sight(src, dst, level="product", count=1):
    return Evidence(src, dst, level, first_seen=NOW, last_seen=NOW, count=count)


@pytest.fixture
def graph():
    reads = [
        sight(CHECKOUT, ORDERS), sight(f"{CHECKOUT}#amount", f"{ORDERS}#total", "column"), sight(ORDERS, REVENUE),
        sight(f"{ORDERS}#total", f"{REVENUE}#revenue", "column"), sight(ORDERS, AUDIT), sight(f"{ORDERS}#id", AUDIT, "column"),
        sight(REVENUE, "consumer:board"), sight(f"{REVENUE}#revenue", "consumer:board", "column"),
    ]  # fmt: skip
    return build_graph(MESH, reads, at=NOW)


def wide(readers, hops=1):
    products = [manifest("hub.all")]
    for i in range(readers):
        products.append(manifest(f"r.one{i:03d}", inputs="{x: hub.all}"))
        if hops > 1:
            products.append(manifest(f"r.two{i:03d}", inputs=f"{{x: r.one{i:03d}}}"))
    return build_graph(
        products, [sight(product_urn("hub.all"), product_urn(f"r.one{i:03d}"), count=i) for i in range(readers)], at=NOW
    )


def test_a_focus_shows_two_hops_and_counts_what_it_cut(graph):
    """Stubs on the side where something was left out."""
    view = focus_view(graph, "marketing.revenue", hops=1)
    assert set(view.nodes) == {REVENUE, ORDERS, "consumer:board", "dataset:external|ads.google"}
    assert view.cut == {ORDERS: (1, 1)}
    assert AUDIT not in focus_view(graph, "marketing.revenue").nodes
    assert CHECKOUT in focus_view(graph, "marketing.revenue").nodes


def test_over_eight_neighbours_the_most_read_stay():
    """The rest is `n more`."""
    view = focus_view(wide(300), "hub.all")
    assert len(view.nodes) == 9
    assert view.cut[product_urn("hub.all")] == (0, 292)
    assert product_urn("r.one299") in view.nodes
    assert "292 more →" in view.to_svg()


def test_two_hops_become_one_when_they_exceed_25_nodes():
    """Eight readers with a tree below each."""
    products = [manifest("hub.all")] + [manifest(f"m.p{i}", inputs="{x: hub.all}") for i in range(8)]
    products += [manifest(f"l.p{i}{j}", inputs=f"{{x: m.p{i}}}") for i in range(8) for j in range(3)]
    graph = build_graph(products, at=NOW)
    assert len(focus_view(graph, "hub.all").nodes) == 9
    assert len(focus_view(graph, "hub.all", hops=2).nodes) == 33


def test_a_column_is_followed_both_ways(graph):
    """Over products to the consumer."""
    path = column_path(graph, REVENUE, "revenue")
    assert path.columns == {REVENUE: "revenue", "consumer:board": "revenue", ORDERS: "total", CHECKOUT: "amount"}
    assert path.pairs == {(CHECKOUT, ORDERS), (ORDERS, REVENUE), (REVENUE, "consumer:board")}


def test_the_whole_mesh_is_a_matrix_of_domains(graph):
    """Rows feed columns, with undeclared edges counted."""
    matrix = domain_matrix(graph)
    assert matrix.domains == ("finance", "marketing", "sales", "shop", "consumers", "outside")
    assert matrix.cells["sales", "finance"]["observed_not_declared"] == 1
    assert matrix.to_json()["format"] == "meshkit.lineage.matrix/1"
    assert matrix.to_text().splitlines()[3].startswith("sales")


def test_the_svg_is_well_formed_and_has_no_inline_style(graph):
    """Classes and attributes only, a link per node, no img role, edges hidden from assistive technology."""
    views = {
        REVENUE: NodeView("risk", 97.3, "B", href="/products/marketing/revenue"),
        ORDERS: NodeView("bad", 91.9, "C"),
    }
    svg = focus_view(graph, "marketing.revenue").to_svg(views)
    root = ET.fromstring(svg)
    assert "style=" not in svg
    assert "<script" not in svg
    assert root.get("role") == "group"
    links = [a for a in root.iter("a") if a.get("class").startswith("node")]
    assert len(links) == len(focus_view(graph, "marketing.revenue").nodes)
    by_label = {a.get("aria-label"): a for a in links}
    focus = by_label["marketing revenue 97.3 B, at risk, focus"]
    assert (focus.get("class"), focus.get("href")) == ("node risk focus", "/products/marketing/revenue")
    assert any(p.get("class") == "edge hot" for p in root.iter("path"))
    assert 'class="node consumer"' in svg
    assert 'class="node ext"' in svg


def test_a_chosen_column_changes_classes_and_not_places(graph):
    """Boxes on the path show product, then column, and no score."""
    view = focus_view(graph, "marketing.revenue")
    plain, chosen = view.to_svg(), view.to_svg(column="revenue")
    places = re.compile(r'transform="[^"]*"|d="[^"]*"')
    assert places.findall(plain) == places.findall(chosen)
    assert chosen.count('class="edge on"') == 3
    assert '<text class="n col" x="9" y="32.5">total</text>' in chosen


def test_an_undeclared_edge_is_dotted_and_a_reversed_one_says_back(graph):
    """`nd` is the dotted class."""
    assert 'class="edge nd"' in graph.to_svg()
    circle = build_graph([manifest("a.one", inputs="{x: b.two}"), manifest("b.two", inputs="{x: a.one}")], at=NOW)
    assert circle.to_svg().count(">back</text>") == 1


def test_hostile_names_are_escaped_in_every_form():
    """Names come from logs."""
    evil = 'consumer:x"]; </text><script>alert(1)</script> `|\n end'
    graph = build_graph(MESH, [sight(ORDERS, evil)], at=NOW)
    ET.fromstring(graph.to_svg())
    for text in (graph.to_svg(), graph._repr_html_(), graph.to_mermaid()):
        assert "<script" not in text
    assert len(graph.to_mermaid().splitlines()) == 1 + len(graph.nodes) + len(graph.product_edges)


def test_dot_accepts_the_dot_form(graph):
    """Graphviz reads it, hostile names included."""
    if which("dot") is None:
        pytest.skip("Graphviz is not installed")
    evil = build_graph(MESH, [sight(ORDERS, 'consumer:x"; }\\ \n')], at=NOW)
    for each in (graph, evil):
        done = subprocess.run(["dot", "-Tplain"], input=each.to_dot(), capture_output=True, text=True, check=True)
        assert done.stdout.count("\nnode ") + done.stdout.startswith("node ") == len(each.nodes)


def test_the_text_form_says_the_agreement_in_words(graph):
    """And the findings below."""
    text = graph.to_text()
    assert "sales.orders -> finance.audit  observed, not declared, 1 read" in text
    assert "violation: lineage.observed_not_declared" in text
    assert "No lineage is known" in build_graph(MESH[3:], at=NOW).to_text()


def test_long_names_are_cut_in_the_middle():
    """The table has them in full."""
    graph = build_graph([manifest("a.a_very_long_name_of_a_product_indeed")], at=NOW)
    assert ">a_very_lon…ct_indeed<" in graph.to_svg()
