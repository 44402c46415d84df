"""Layout: deterministic, without overlap, left to right."""

from hypothesis import given, settings
from hypothesis import strategies as st
from lineage_mesh import MESH, NOW, manifest

from meshkit.lineage import build_graph, focus_view, layout, product_urn
from meshkit.lineage.layers import assign_layers
from meshkit.lineage.layout import BOX_HEIGHT, BOX_WIDTH, place_graph
from meshkit.lineage.ordering import count_crossings, order_layers

NODES = [f"d.n{i:02d}" for i in range(16)]
graphs = st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), max_size=40, unique=True)


def _overlap(one, two):
    return (
        one.x < two.x + two.width
        and two.x < one.x + one.width
        and one.y < two.y + two.height
        and two.y < one.y + one.height
    )


def _check(placed, pairs):
    boxes = list(placed.nodes.items())
    for i, (_, one) in enumerate(boxes):
        assert one.x >= 0
        assert one.y >= 0
        assert one.x + one.width <= placed.width
        assert one.y + one.height <= placed.height
        assert not any(_overlap(one, two) for _, two in boxes[i + 1 :])
    assert {(s, d) for s, d, _ in placed.ends} == {(s, d) for s, d in pairs if s != d}
    for points, (src, dst, back) in zip(placed.edges, placed.ends, strict=True):
        first, last = (dst, src) if back else (src, dst)
        ordered = points[::-1] if back else points
        a, b = placed.nodes[first], placed.nodes[last]
        assert ordered[0] == (a.x + BOX_WIDTH, a.y + BOX_HEIGHT / 2)
        assert ordered[-1] == (b.x, b.y + BOX_HEIGHT / 2)
        assert [p[0] for p in ordered] == sorted(p[0] for p in ordered)
        for (x1, y1), (x2, y2) in zip(ordered[1::2], ordered[2::2], strict=False):  # straight over the layers it passes
            assert y1 == y2
            for box in placed.nodes.values():
                inside = box.x < x2 and x1 < box.x + box.width and box.y < y1 < box.y + box.height
                assert not inside, f"{src} -> {dst} runs over a box"


@settings(deadline=None, max_examples=60)
@given(pairs=graphs)
def test_boxes_never_overlap_and_edges_run_left_to_right_over_no_box(pairs):
    """Also with circles and self reads."""
    placed = place_graph(NODES, sorted(pairs))
    _check(placed, pairs)
    assert placed == place_graph(NODES, sorted(pairs))


@settings(deadline=None, max_examples=40)
@given(pairs=graphs, focus=st.sampled_from(NODES))
def test_a_focus_view_has_sources_left_and_readers_right(pairs, focus):
    """Around any node of any graph."""
    placed = place_graph(NODES, sorted(pairs), focus=focus)
    _check(placed, pairs)
    middle = placed.nodes[focus].x
    for src, dst, back in placed.ends:
        if src == focus and not back:
            assert placed.nodes[dst].x > middle
        if dst == focus and not back:
            assert placed.nodes[src].x < middle


def test_expanding_a_focus_view_keeps_the_sides():
    """A node left of the focus never moves to its right."""
    chain = [manifest("a.p0")] + [manifest(f"a.p{i}", inputs=f"{{x: a.p{i - 1}}}") for i in range(1, 7)]
    graph = build_graph(chain, at=NOW)
    for hops in (1, 2, 3):
        placed = focus_view(graph, "a.p3", hops=hops).layout()
        xs = [placed.nodes[product_urn(f"a.p{i}")].x for i in range(3 - hops, 4 + hops)]
        assert xs == sorted(xs)


def test_layers_have_little_total_edge_length():
    """A source stands beside its only reader, not in the first layer."""
    layer = assign_layers(["a", "b", "c", "late"], [("a", "b"), ("b", "c"), ("late", "c")])
    assert layer == {"a": 0, "b": 1, "c": 2, "late": 1}


def test_a_tree_has_no_crossing():
    """Sweeps find the obvious order."""
    edges = [("r", f"m{i}") for i in range(4)] + [
        (f"m{i}", f"l{(i * 7 + j) % 12:02d}") for i in range(4) for j in (0, 4, 8)
    ]
    tree = [("r", f"m{i}") for i in range(4)] + [(f"m{i % 4}", f"l{i:02d}") for i in range(12)]
    nodes = sorted({n for e in tree for n in e})
    assert place_graph(nodes, tree).crossings == 0
    assert place_graph(nodes, sorted(set(edges))).crossings <= 12


def test_crossings_are_counted():
    """Two edges that swap sides cross once; the order that avoids it is found."""
    layers, up, down = [[0, 1], [2, 3]], [[], [], [1], [0]], [[3], [2], [], []]
    assert count_crossings(layers, down) == 1
    assert count_crossings(order_layers(layers, up, down), down) == 0


def test_long_edges_keep_a_slot():
    """An edge over a layer is straight there."""
    placed = place_graph(["a", "b", "c"], [("a", "b"), ("a", "c"), ("b", "c")])
    points = placed.edges[[e[:2] for e in placed.ends].index(("a", "c"))]
    assert len(points) == 4
    assert points[1][1] == points[2][1]


def test_an_empty_graph_and_a_single_product_have_a_layout():
    """No edges, no error."""
    assert place_graph([], []).nodes == {}
    assert len(layout(build_graph(MESH[:1], at=NOW)).nodes) == 1
