"""The whole on files: one manifest and one function give a governed product."""

from datetime import timedelta

import pytest

from meshkit import Mesh, MeshkitError
from meshkit.federation import QueryDenied
from meshkit.masking import find_audit_files, verify_audit


def rows(result):
    return result.to_polars().rows()


def test_publish_then_one_sql_shows_each_reader_what_policies_allow(mesh):
    report = mesh.publish("sales.orders")
    assert (report.committed, report.rows_in, report.rows_good, report.rows_quarantined) == (True, 3, 2, 1)
    query = "SELECT email FROM sales.orders ORDER BY order_id"
    assert rows(mesh.sql(query, principal="admin")) == [("john.doe@gmail.com",), ("ana@firm.example",)]
    assert rows(mesh.sql(query)) == [("j***@gmail.com",), ("a***@firm.example",)]
    assert "r2" in str(mesh.why("sales.orders.email", principal="analyst").to_text())


def test_nothing_is_seen_before_the_commit_and_a_second_publish_replaces_the_first(mesh, folder):
    with pytest.raises(MeshkitError):
        rows(mesh.sql("SELECT * FROM sales.orders", principal="admin"))
    first = mesh.publish("sales.orders")
    second = mesh.publish("sales.orders")
    assert (first.position, second.position) == ({"lake": 1}, {"lake": 2})
    assert rows(mesh.sql("SELECT count(*) FROM sales.orders"))[0] == (2,)


def test_a_forbidden_product_looks_like_an_absent_one(mesh):
    errors = []
    for table in ("shop.raw_orders", "shop.raw_orderz"):
        with pytest.raises(QueryDenied) as caught:
            mesh.sql(f"SELECT * FROM {table}", principal="analyst")
        errors.append(str(caught.value).replace(table, "T"))
    assert errors[0] == errors[1]


def test_access_is_asked_granted_obeyed_and_revoked(mesh):
    mesh.publish("sales.orders")
    mesh.publish("finance.revenue")
    bob, jane = mesh.principal("bob"), mesh.principal("jane")
    query = "SELECT total FROM finance.revenue"
    with pytest.raises(QueryDenied):
        mesh.sql(query, principal=bob)
    request = mesh.catalog.desk.request(
        "finance.revenue", purpose="reporting: Q4", duration=timedelta(days=1), principal=bob
    )
    assert mesh.access_state("finance.revenue", bob) == "asked"
    mesh.catalog.desk.approve(request.id, by=jane)
    assert float(rows(mesh.sql(query, principal=bob, purpose="reporting"))[0][0]) == 150.50
    with pytest.raises(QueryDenied):
        mesh.sql(query, principal=bob)
    mesh.catalog.desk.revoke(request.id, by=jane, reason="done")
    with pytest.raises(QueryDenied):
        mesh.sql(query, principal=bob, purpose="reporting")


def test_a_product_reads_what_its_manifest_declares_and_nothing_else(mesh):
    mesh.publish("sales.orders")
    product = mesh.principal("product:finance.revenue")
    assert rows(mesh.sql("SELECT sum(total) FROM sales.orders", principal=product))
    with pytest.raises(MeshkitError):
        mesh.sql("SELECT email FROM sales.orders", principal=product).to_arrow()
    with pytest.raises(QueryDenied):
        mesh.sql("SELECT * FROM shop.raw_orders", principal=product)


def test_lineage_joins_manifests_with_what_was_read(mesh):
    mesh.publish("sales.orders")
    mesh.publish("finance.revenue")
    graph = mesh.lineage()
    found = {(e.src, e.dst): e.agreement for e in graph.product_edges}
    assert found["urn:mesh:shop:raw_orders", "urn:mesh:sales:orders"] == "confirmed"
    assert found["urn:mesh:sales:orders", "urn:mesh:finance:revenue"] == "confirmed"
    assert mesh.impact("sales.orders", "total").exit_code == 1
    assert [c.name for c in mesh.consumers.consumers("sales.orders").consumers if c.product] == ["Finance-Revenue"]


def test_slos_are_measured_and_trusted(mesh):
    mesh.publish("sales.orders")
    report = mesh.check_slos(["sales.orders", "shop.raw_orders"])
    assert "PRODUCT: sales.orders\nSLA: Freshness < 1hr\nACTUAL: 12 mins\nSTATUS: [PASS] ✅" in report.to_text()
    assert "PRODUCT: shop.raw_orders\nSLA: Freshness < 1hr\nACTUAL: 12 mins\nSTATUS: [PASS] ✅" in report.to_text()
    assert mesh.trust("sales.orders").score is not None


def test_search_and_entry_show_state_and_access(mesh):
    mesh.publish("sales.orders")
    mesh.catalog.crawl()
    hit = mesh.search("orders").hits[0].document
    assert (hit.manifest.id, hit.signals.state) == ("sales.orders", "healthy")
    entry = mesh.product("sales.orders", principal=mesh.principal("analyst"))
    assert entry.access == "granted"
    assert entry.upstream == ("shop.raw_orders",)
    assert rows(mesh.sql(entry.sql["SQL"]))


def test_every_read_is_audited_and_the_chain_holds(mesh, folder):
    mesh.publish("sales.orders")
    rows(mesh.sql("SELECT email FROM sales.orders WHERE order_id = 1"))
    mesh.audit.close()
    files = find_audit_files([folder / ".mesh" / "audit"])
    report = verify_audit(files)
    assert report.exit_code == 0
    text = "".join(f.read_text() for f in files)
    assert "order_id = ?" in text
    assert "john.doe" not in text


def test_code_is_found_beside_its_manifest_or_said_to_be_missing(mesh):
    with pytest.raises(MeshkitError, match=r"mesh\.no_code.*product.py"):
        mesh.publish("shop.raw_orders")
    with pytest.raises(MeshkitError, match=r"Did you mean sales\.orders"):
        mesh.publish("sales.order")


def test_a_mesh_works_without_a_file(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "mesh.yaml").unlink()
    with Mesh.local() as local:
        assert sorted(local.manifests) == ["finance.revenue", "sales.orders", "shop.raw_orders"]


def test_a_side_of_a_linkage_is_refused_while_its_columns_are_masked(mesh):
    mesh.publish("sales.orders")
    with pytest.raises(MeshkitError, match=r"identity\.masked_input: .*email.*email\.partial"):
        mesh.side("sales.orders", principal="analyst")
    side = mesh.side("sales.orders", principal="admin")
    assert (side.name, side.id, side.tags) == ("sales.orders", "order_id", {"email": ["pii:email"]})
