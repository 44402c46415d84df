"""Headers, forms, hosts, identity, hostile text."""

from typing import ClassVar

import pytest

from meshkit.controlplane.security import HEADERS
from meshkit.errors import MeshkitError

CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize("url", ["/", "/nope", "/products/x/y.json", "/api/v1/trust", "/healthz", "/lineage?at=never"])
def test_every_answer_has_the_security_headers(browse, url):
    """Errors too."""
    response = browse("analyst").get(url)
    assert response.headers["content-security-policy"] == CSP
    assert {k: response.headers[k] for k in HEADERS} == dict(HEADERS)


def test_pages_are_private_and_static_files_are_for_ever(browse):
    """Nothing is shared between readers."""
    client = browse("analyst")
    client.get("/keys")
    first = client.get("/crawl.json")
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["vary"] == "Cookie, Authorization, Accept"
    page = client.get("/")
    name = page.text.partition('rel="stylesheet" href="')[2].partition('"')[0]
    style = client.get(name)
    assert style.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert len(style.content) < 16_000
    assert client.get("/static/style.000000000000.css").status_code == 404


def test_an_unchanged_answer_is_304(browse, mesh):
    """The tag is of the content."""
    from meshkit.controlplane.answers import conditional

    class Request:
        method = "GET"
        headers: ClassVar = {"if-none-match": 'W/"x", "*"'}

    body = b"facts"
    first = conditional(Request, body, "text/plain")
    Request.headers = {"if-none-match": f'"other", {first.headers["etag"]}'}
    assert conditional(Request, body, "text/plain").status_code == 304
    assert conditional(Request, b"new facts", "text/plain").status_code == 200


def test_the_session_cookie_is_http_only_and_lax(browse):
    """Set once."""
    client = browse("analyst")
    cookie = client.get("/access").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "set-cookie" not in client.get("/access").headers


FORM = {"product": "shop.orders", "purpose": "reporting", "duration": "90d"}


@pytest.mark.parametrize(
    ("token_of", "headers"),
    [
        (None, {}),
        ("0" * 64, {}),
        ("é", {}),
        ("own", {"origin": "https://evil.example"}),
        ("own", {"origin": "null"}),
        ("own", {"origin": "http://127.0.0.1:9999"}),
        ("own", {"sec-fetch-site": "cross-site"}),
    ],
)
def test_a_form_from_elsewhere_is_refused(browse, mesh, token, token_of, headers):
    """Without the session's token, or with the Origin of another site, nothing is written."""
    client = browse("bob")
    own = token(client, "/products/shop/orders")
    data = FORM | ({"csrf": own if token_of == "own" else token_of} if token_of else {})
    assert client.post("/access/requests", data=data, headers=headers).status_code == 403
    assert not mesh.catalog.desk.requests()


def test_a_token_of_another_session_is_refused(browse, mesh, token):
    """Tokens belong to one browser."""
    client = browse("bob")
    stolen = token(client, "/products/shop/orders")
    client.cookies.clear()
    client.get("/access")
    assert client.post("/access/requests", data=FORM | {"csrf": stolen}).status_code == 403


def test_a_form_with_the_right_origin_is_taken(browse, mesh, token):
    """As browsers send it."""
    client = browse("bob")
    data = FORM | {"csrf": token(client, "/products/shop/orders")}
    assert (
        client.post(
            "/access/requests", data=data, headers={"origin": "http://127.0.0.1:8400", "sec-fetch-site": "same-origin"}
        ).status_code
        == 303
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example", "content-type": "application/json"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
def test_the_api_takes_no_simple_request_of_another_site(browse, mesh, headers):
    """A page elsewhere can send text without asking the browser; JSON it can't."""
    body = '{"product": "shop.orders", "purpose": "reporting"}'
    response = browse("bob").post("/api/v1/access/requests", content=body, headers=headers)
    assert response.status_code in {400, 403, 415, 422}
    assert not mesh.catalog.desk.requests()


def test_a_bodyless_write_of_another_site_is_refused(browse, mesh, token):
    """Cancel has no body: the Origin decides."""
    client = browse("bob")
    made = client.post("/api/v1/access/requests", json={"product": "shop.orders", "purpose": "reporting"}).json()
    url = f"/api/v1/access/requests/{made['id']}/cancel"
    assert client.post(url, headers={"origin": "https://evil.example"}).status_code == 403
    assert client.post(url, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post(url).json()["status"] == "cancelled"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8400", "", "[::1", "10.0.0.1"])
def test_a_rebound_host_name_is_refused(browse, host):
    """DNS rebinding: without sign-in the name is all that protects the server."""
    response = browse("analyst").get("/", headers={"host": host})
    assert response.status_code == 421
    assert "shop" not in response.text


def test_without_a_principal_nothing_is_shown(browse):
    """No dev principal and no token: 401 for pages and programs."""
    client = browse(None)
    for url in ("/", "/trust.json", "/api/v1/products", "/products/shop/orders", "/nope"):
        response = client.get(url)
        assert response.status_code in {401, 404}
        assert "orders" not in response.text.replace("/products/shop/orders", "")
    assert client.get("/").headers["www-authenticate"] == "Bearer"
    assert client.get("/api/v1/trust").json()["code"] == "controlplane.sign_in"


def test_a_bad_bearer_token_does_not_fall_back_to_the_dev_principal(browse):
    """Who sends a token wants to be that subject or nobody."""
    response = browse("analyst").get("/api/v1/trust", headers={"authorization": "Bearer nonsense"})
    assert response.status_code == 401


def test_an_unknown_dev_principal_is_an_error_of_the_start(browse):
    """Not of the first page."""
    with pytest.raises(MeshkitError):
        browse("nobody")


def test_metrics_are_for_loopback(mesh):
    """A proxy in front counts as elsewhere."""
    from starlette.testclient import TestClient

    from meshkit.controlplane import create_app

    app = create_app(mesh, dev_principal="analyst")
    near = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1))
    assert "meshkit_slo_target" in near.get("/metrics").text
    assert near.get("/metrics", headers={"x-forwarded-for": "10.0.0.1"}).status_code == 404
    assert TestClient(app, base_url="http://127.0.0.1", client=("10.0.0.9", 1)).get("/metrics").status_code == 404


def test_health_needs_no_principal(browse):
    """The state store answered."""
    assert browse(None).get("/healthz").text == "ok\n"


HOSTILE = "'\"><img src=x onerror=alert(1)></svg><script>alert(2)</script>{{ 7*7 }}"


def test_hostile_manifest_text_is_shown_as_text(browse, mesh, folder):
    """Names, descriptions, tags, notes and channels are data everywhere, also in SVG and links."""
    import json

    text = (folder / "products" / "revenue" / "manifest.yaml").read_text()
    text = text.replace('"Revenue by day."', json.dumps(HOSTILE)).replace(
        "team: finance", f"team: {json.dumps(HOSTILE)}"
    )
    text = text.replace('"#x"', json.dumps(HOSTILE)).replace("https://chat.example.org/x", "javascript:alert(3)")
    text = text.replace("sku: string", f"sku: {{type: string, description: {json.dumps(HOSTILE)}}}")
    (folder / "products" / "revenue" / "manifest.yaml").write_text(text)
    client = browse("analyst")
    for url in ("/", "/products?q=revenue", "/products/finance/revenue", "/lineage", "/lineage?focus=finance.revenue", "/trust", f"/products?q={HOSTILE}", f"/lineage?focus={HOSTILE}", f"/products/x/{HOSTILE.replace('/', '')}"):  # fmt: skip
        page = client.get(url).text
        assert "<img" not in page, url
        assert "<script>alert" not in page, url
        assert 'href="javascript' not in page, url
        assert ">49<" not in page.replace("&#39;", ""), url


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(browse, method):
    """405 with the headers."""
    assert browse("analyst").request(method, "/products").status_code == 405


def test_a_huge_form_is_refused(browse, token):
    """64 KiB are enough for any form here."""
    client = browse("bob")
    data = FORM | {"csrf": token(client, "/products/shop/orders"), "columns": "x" * 100_000}
    assert client.post("/access/requests", data=data).status_code == 400
