"""Nobody learns of what they may not see: hr.salaries is restricted to the team people."""

import pytest

URLS = ["/", "/products", "/products?q=salaries", "/lineage", "/lineage?focus=finance.revenue", "/trust", "/products/finance/revenue", "/crawl",
        "/index.json", "/products.json?q=salaries", "/lineage.json", "/lineage.json?focus=finance.revenue", "/trust.json", "/products/finance/revenue.json",
        "/access.json", "/crawl.json", "/metrics", "/api/v1/products?q=salaries", "/api/v1/lineage", "/api/v1/trust", "/api/v1/impact?urn=finance.revenue",
        "/api/v1/products/finance/revenue", "/api/v1/access/requests", "/api/v1/crawl"]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_a_restricted_product_is_nowhere(browse, mesh, url):
    """Not in lists, counts, graphs, facets, impact, metrics or JSON."""
    mesh.catalog.crawl()
    response = browse("analyst").get(url)
    assert response.status_code == 200
    shown = (
        response.text.replace("q=salaries", "")
        .replace('value="salaries"', "")
        .replace("“salaries”", "")
        .replace("<title>salaries ", "")
        .replace('"query": "salaries"', "")
    )
    assert "salaries" not in shown.replace("catalog search salaries", "")
    assert "people" not in shown.casefold()


def test_it_is_all_there_for_its_team(browse):
    """The owning team sees it in list and graph."""
    client = browse("petra")
    assert client.get("/products/hr/salaries").status_code == 200
    assert "urn:mesh:hr:salaries" in client.get("/lineage.json").text


def test_a_graph_counts_no_hidden_neighbour(browse):
    """finance.revenue feeds only hr.salaries: for others it has no reader and no stub."""
    page = browse("analyst").get("/lineage?focus=finance.revenue&hops=1").text
    assert "has no known readers" in page
    assert "1 more →" not in page


@pytest.mark.parametrize("tail", ["", ".json"])
def test_invisible_reads_like_absent(browse, tail):
    """The same status, headers and words, but for the name."""
    client = browse("analyst")
    hidden, absent = client.get(f"/products/hr/salaries{tail}"), client.get(f"/products/hr/holidays{tail}")
    assert hidden.status_code == absent.status_code == 404
    assert {k: v for k, v in hidden.headers.items() if k not in {"content-length", "etag", "set-cookie"}} == {
        k: v for k, v in absent.headers.items() if k not in {"content-length", "etag", "set-cookie"}
    }
    import re

    def plain(text):
        return re.sub(r'value="[0-9a-f]{64}"', "", text.replace("salaries", "x").replace("holidays", "x"))

    assert plain(hidden.text) == plain(absent.text)


def test_lineage_of_an_invisible_product_reads_like_absent(browse):
    """No suggestion names it either."""
    client = browse("analyst")
    assert client.get("/lineage?focus=hr.salaries").status_code == 404
    assert "hr.salaries" not in client.get("/lineage?focus=hr.salarie").text.replace("hr.salarie<", "").replace(
        "hr.salarie ", ""
    )
    assert client.get("/api/v1/impact?urn=hr.salaries").status_code == 404


def test_an_invisible_product_cannot_be_asked_for(browse, mesh):
    """The API answers as for one that is not there, and writes nothing."""
    client = browse("analyst")
    hidden = client.post("/api/v1/access/requests", json={"product": "hr.salaries", "purpose": "reporting"})
    absent = client.post("/api/v1/access/requests", json={"product": "hr.holidays", "purpose": "reporting"})
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json()["code"] == absent.json()["code"] == "controlplane.not_found"
    assert not mesh.catalog.desk.requests()


def test_problems_of_a_restricted_manifest_are_not_shown(browse, mesh, folder):
    """Its path and its text stay with those who see it."""
    mesh.catalog.crawl()
    path = folder / "products" / "salaries" / "manifest.yaml"
    path.write_text(path.read_text().replace("status: active", "status: active\nownr: me"))
    mesh.catalog.crawl()
    assert "salaries" not in browse("analyst").get("/crawl").text
    assert "salaries/manifest.yaml" in browse("petra").get("/crawl").text.replace("<wbr>", "")
