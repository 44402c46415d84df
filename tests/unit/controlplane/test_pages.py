"""Pages of a real mesh: what they say, and that JSON says the same."""

import html
import re

import pytest

PAGES = [
    "/",
    "/products",
    "/products?q=orders",
    "/products/shop/orders",
    "/lineage",
    "/lineage?focus=shop.orders&column=amount",
    "/trust",
    "/access",
    "/crawl",
    "/keys",
]


def text_of(response):
    """Words of the page's main part, without markup."""
    main = response.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(
        html.unescape(re.sub(r"<[^>]+>", " ", main.partition(">")[2].replace("<wbr>", ""))).replace("\xa0", " ").split()
    )


@pytest.mark.parametrize("url", PAGES)
def test_every_page_has_one_heading_a_title_and_the_reader(browse, url):
    """The frame of every page."""
    response = browse("analyst").get(url)
    assert response.status_code == 200
    assert response.text.count("<h1") == 1
    assert "· acme mesh</title>" in response.text
    assert ">analyst</a>" in response.text


@pytest.mark.parametrize("url", PAGES)
def test_no_page_has_inline_script_or_style(browse, url):
    """The content policy would refuse them."""
    text = browse("analyst").get(url).text
    assert not re.search(r"\sstyle=|<[^>]*\son[a-z]+=|=\"javascript:", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert "<style" not in text


def test_a_mesh_that_was_never_measured_says_so_and_is_not_green(browse):
    """Unknown is a state."""
    text = text_of(browse("analyst").get("/"))
    assert "All 2 products are not measured." in text
    assert "healthy" not in text.casefold()


def test_measured_products_show_age_and_state(browse, mesh):
    """After `slo check` the page knows the newest row."""
    mesh.check_slos(["shop.orders"])
    page = browse("analyst").get("/products/shop/orders")
    assert "12 min" in text_of(page)
    assert page.status_code == 200


def test_a_late_source_puts_its_readers_at_risk_by_name(browse, mesh, folder):
    """The root cause is named on the page of what reads it."""
    from datetime import UTC, datetime, timedelta

    from meshkit.slo import Evidence

    now = datetime.now(UTC)
    orders = [
        Evidence(
            "shop.orders", "files", "freshness", now - timedelta(minutes=m), "publish", value=now.timestamp() - 7200
        )
        for m in (60, 1)
    ]
    orders += [
        Evidence("shop.orders", "files", "availability", now - timedelta(minutes=m), "reads", n=10, bad=0)
        for m in (60, 1)
    ]
    revenue = [
        Evidence(
            "finance.revenue",
            "files",
            "freshness",
            now - timedelta(minutes=m),
            "publish",
            value=(now - timedelta(minutes=m + 1)).timestamp(),
        )
        for m in (60, 1)
    ]
    mesh.evidence.append([*orders, *revenue])
    client = browse("analyst")
    assert "1 of 2 products is breaching: shop.orders is 1 h late." in text_of(client.get("/"))
    assert "its source shop.orders is 1 h late" in text_of(client.get("/products/finance/revenue"))
    assert "1 open incident explains 2 of the 2 products that need attention." in text_of(client.get("/trust"))
    board = client.get("/trust.json").json()["products"]
    assert [(p["urn"], p["state"], p["cause"]) for p in board] == [
        ("urn:mesh:shop:orders", "breaching", None), ("urn:mesh:finance:revenue", "at risk", "shop.orders"),
    ]  # fmt: skip


def test_the_best_hit_has_version_owner_schema_address_and_sql(browse, mesh):
    """An exact name answers without a click."""
    text = text_of(browse("analyst").get("/products?q=orders"))
    assert "shop. orders v1.0.0" in text
    assert "shop-data" in text
    assert "id int64, amount decimal(12,2)" in text
    assert f"FROM {mesh.table_name(mesh.manifests['shop.orders'])}" in text


def test_facets_narrow_the_search(browse):
    """A facet is a link to the same query with one filter more, and counts what it leads to."""
    client = browse("analyst")
    page = client.get("/products")
    link = html.unescape(re.search(r'href="(/products\?q=domain%3Dshop)"', page.text)[1])
    assert [h["urn"] for h in client.get(link.replace("/products?", "/products.json?")).json()["hits"]] == [
        "urn:mesh:shop:orders"
    ]


def test_a_misspelt_name_gets_a_suggestion(browse):
    """Not found has one way on."""
    page = browse("analyst").get("/products?q=ordres")
    assert "No product matches “ordres”." in text_of(page)
    assert "Did you mean orders ?" in text_of(page)


def test_an_unknown_field_is_told_and_not_ignored(browse):
    """A search that can't be read is a 400 with the reason."""
    page = browse("analyst").get("/products?q=ownr%3Ame")
    assert page.status_code == 400
    assert "ownr" in text_of(page)


def test_the_schema_shows_what_this_reader_would_see(browse):
    """Mask and sample for one, nothing for another."""
    assert "email, partial j***@gmail.com" in text_of(browse("analyst").get("/products/shop/orders"))
    assert "nothing: not granted" in text_of(browse("bob").get("/products/shop/orders"))


def test_nested_fields_are_rows_below_their_parent(browse):
    """Lists of structs show their members one level down."""
    page = browse("analyst").get("/products/finance/revenue").text
    assert re.search(r'<tr class="d1"><th scope="row"><a [^>]*>sku</a>', page)
    assert "list of struct" in page


def test_readme_is_markdown_without_html_images_or_script_links(browse):
    """Manifest text is untrusted."""
    page = browse("analyst").get("/products/shop/orders").text
    assert "<h3>Orders</h3>" in page
    assert "<strong>revenue</strong>" in page
    assert "<script>alert" not in page
    assert 'href="javascript' not in page
    assert "<img" not in page
    assert 'href="https://example.org" rel="nofollow noopener noreferrer"' in page


def test_lineage_has_the_same_edges_as_graph_and_as_table(browse):
    """A link per node, and a row per edge."""
    page = browse("analyst").get("/lineage?focus=shop.orders")
    assert 'class="node none focus" href="/products/shop/orders"' in page.text
    edges = browse("analyst").get("/lineage.json?focus=shop.orders").json()["edges"]
    assert [(e["src"], e["dst"]) for e in edges] == [("urn:mesh:shop:orders", "urn:mesh:finance:revenue")]
    assert "id, amount" in text_of(page) or "amount, id" in text_of(page)
    assert "1 affected, 0 unknown, 0 not affected." in text_of(page)


def test_an_unknown_focus_is_404_with_the_nearest_name(browse):
    """Suggestions are links."""
    page = browse("analyst").get("/lineage?focus=shop.order")
    assert page.status_code == 404
    assert "Did you mean shop.orders ?" in text_of(page)


@pytest.mark.parametrize("query", ["hops=0", "hops=x", "at=yesterday", "at=2026-11-24T09:00:00", "diff=never"])
def test_a_query_that_cannot_be_read_is_400(browse, query):
    """Naive instants too: an unknown zone is no instant."""
    assert browse("analyst").get(f"/lineage?{query}").status_code == 400


def test_a_past_instant_shows_a_banner_and_no_form_that_writes(browse):
    """Links keep the instant, buttons that write are gone."""
    page = browse("bob").get("/products/finance/revenue?at=2026-01-01T00:00:00Z")
    assert "You are looking at 1 Jan 2026, 00:00 UTC." in text_of(page)
    assert 'method="post"' not in page.text
    assert 'href="/trust?at=2026-01-01T00:00:00Z"' in page.text
    assert 'method="post"' in browse("bob").get("/products/finance/revenue").text


def test_an_empty_mesh_says_how_to_begin(tmp_path):
    """First run."""
    from starlette.testclient import TestClient

    from meshkit import Mesh
    from meshkit.controlplane import create_app

    (tmp_path / "mesh.yaml").write_text(
        "name: empty\nenvironment: local\nproducts: []\nauth: {dev_principals: {me: {roles: [x]}}}\n"
    )
    with Mesh.open(tmp_path / "mesh.yaml") as mesh:
        client = TestClient(create_app(mesh, dev_principal="me"), base_url="http://localhost")
        assert "This mesh has no products yet." in text_of(client.get("/"))
        for url in ("/products", "/lineage", "/trust", "/access", "/crawl"):
            assert client.get(url).status_code == 200


def test_a_product_that_ended_is_410_and_names_its_end(browse, mesh, folder):
    """A crawled product that vanished leaves a page behind."""
    import shutil

    extra = folder / "elsewhere" / "old"
    extra.mkdir(parents=True)
    text = (folder / "products" / "orders" / "manifest.yaml").read_text()
    (extra / "manifest.yaml").write_text(
        text.replace("name: orders", "name: old_orders")
        .replace("docs: README.md\n", "")
        .replace("  orders:", "  old_orders:")
    )
    sources = mesh.catalog.settings.sources
    catalog = mesh.catalog
    catalog.settings = catalog.settings.model_copy(
        update={"sources": [sources[0].model_copy(update={"dir": "./elsewhere"})]}
    )
    catalog.crawl()
    client = browse("analyst")
    assert client.get("/products/shop/old_orders").status_code == 200
    shutil.rmtree(extra)
    catalog.crawl()
    page = client.get("/products/shop/old_orders")
    assert page.status_code == 410
    assert "shop.old_orders ended on" in text_of(page)


def test_crawl_problems_have_their_place(browse, mesh, folder):
    """File, line and column."""
    path = folder / "products" / "revenue" / "manifest.yaml"
    assert mesh.catalog.manifests()
    path.write_text(path.read_text().replace("status: active", "status: active\nownr: me"))
    mesh.catalog.crawl()
    page = browse("analyst").get("/crawl")
    assert "revenue/manifest.yaml:7:1" in text_of(page)
    assert "1 problem" in text_of(page)


@pytest.mark.parametrize(
    "url",
    [
        "/index.json",
        "/products.json?q=orders",
        "/products/shop/orders.json",
        "/lineage.json",
        "/trust.json",
        "/access.json",
        "/crawl.json",
    ],
)
def test_json_of_pages_has_a_format(browse, url):
    """Facts for programs, versioned."""
    body = browse("analyst").get(url).json()
    assert re.fullmatch(r"meshkit\.[a-z]+\.[a-z]+/1", body["format"])


def test_many_readers_at_once_get_the_same_page(mesh):
    """The first requests race for nothing."""
    from concurrent.futures import ThreadPoolExecutor

    from starlette.testclient import TestClient

    from meshkit.controlplane import create_app

    app = create_app(mesh, dev_principal="analyst")

    def get(url):
        with TestClient(app, base_url="http://127.0.0.1") as client:
            return client.get(url)

    urls = ["/", "/products?q=orders", "/products/shop/orders", "/lineage", "/trust", "/access"] * 3
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(get, urls))
    assert {a.status_code for a in answers} == {200}
    bodies = {(a.url.path, re.sub(r'value="[0-9a-f]{64}"|[0-9:]{5,8}Z?', "", a.text)) for a in answers}
    assert len(bodies) == 6


def test_new_evidence_and_new_manifests_show_at_once(browse, mesh, folder):
    """What readers share is made anew when it changes."""
    from datetime import UTC, datetime, timedelta

    from meshkit.slo import Evidence

    client = browse("analyst")
    before = {p["urn"]: p["state"] for p in client.get("/trust.json").json()["products"]}
    assert before["urn:mesh:finance:revenue"] == "not measured"
    now = datetime.now(UTC)
    mesh.evidence.append(
        [
            Evidence(
                "finance.revenue",
                "files",
                "freshness",
                now - timedelta(minutes=m),
                "publish",
                value=(now - timedelta(minutes=m + 1)).timestamp(),
            )
            for m in (9, 1)
        ]
    )
    after = {p["urn"]: p["state"] for p in client.get("/trust.json").json()["products"]}
    assert after["urn:mesh:finance:revenue"] == "healthy"
    assert client.get("/products.json?q=state%3Dhealthy").json()["total"] == 1
