"""Ask, decide, read: by forms and by the API, on one state store."""

import html
import re

import pytest

from meshkit.federation import QueryDenied


def ask(client, token, **fields):
    """Send the request form of shop.orders."""
    csrf = token(client, "/products/shop/orders")
    return client.post(
        "/access/requests",
        data={
            "product": "shop.orders",
            "purpose": "reporting: weekly",
            "duration": "90d",
            "columns": "",
            "csrf": csrf,
            **fields,
        },
    )


def test_a_request_that_is_approved_lets_the_reader_query(browse, mesh, token):
    """Denied, asked, approved with fewer columns, granted: masks and columns hold in SQL."""
    query = "select id, amount from shop.orders"
    with pytest.raises(QueryDenied):
        mesh.sql(query, principal="bob", purpose="reporting")
    bob, jane = browse("bob"), browse("jane")
    assert ask(bob, token, columns="id, amount, email").headers["location"] == "/access"
    waiting = jane.get("/access")
    assert "1 request waits for you." in waiting.text
    action = re.search(r'action="(/access/requests/[^"]+/approve)"', waiting.text)[1]
    done = jane.post(
        action, data={"csrf": token(jane, "/access"), "column": ["id", "amount"], "until": "", "note": "no mail"}
    )
    assert done.status_code == 303
    assert mesh.sql(query, principal="bob", purpose="reporting").to_polars().height == 2
    with pytest.raises(QueryDenied, match="no column 'email'"):
        mesh.sql("select email from shop.orders", principal="bob", purpose="reporting")
    assert bob.get("/products/shop/orders").text.count("nothing: not granted") == 2
    page = html.unescape(bob.get("/access").text)
    assert "<b>active</b>" in page
    assert "“no mail”" in page
    assert "granted" in bob.get("/products/shop/orders").text


def test_a_revoked_grant_ends_at_the_next_query(browse, mesh, token):
    """The owning team ends what it gave, with a reason."""
    bob, jane = browse("bob"), browse("jane")
    ask(bob, token)
    request = mesh.catalog.desk.requests()[0]
    jane.post(f"/access/requests/{request.id}/approve", data={"csrf": token(jane, "/access"), "column": ["id"]})
    assert mesh.sql("select id from shop.orders", principal="bob", purpose="reporting").to_polars().height == 2
    assert (
        jane.post(
            f"/access/grants/{request.id}/revoke", data={"csrf": token(jane, "/access"), "reason": "left"}
        ).status_code
        == 303
    )
    with pytest.raises(QueryDenied):
        mesh.sql("select id from shop.orders", principal="bob", purpose="reporting")
    assert "revoked" in jane.get("/access").text


def test_a_rejection_shows_its_reason_to_who_asked(browse, mesh, token):
    """Quoted as written."""
    bob, jane = browse("bob"), browse("jane")
    ask(bob, token)
    request = mesh.catalog.desk.requests()[0]
    jane.post(
        f"/access/requests/{request.id}/reject", data={"csrf": token(jane, "/access"), "note": "ask for <b>less</b>"}
    )
    page = bob.get("/access").text
    assert "<b>rejected</b>" in page
    assert "“ask for &lt;b&gt;less&lt;/b&gt;”" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"purpose": "Because I want"}, "the purpose is"),
        ({"duration": "400d"}, "365 days"),
        ({"duration": "soon"}, "soon"),
        ({"columns": "id, nope"}, "no column"),
    ],
)
def test_a_refused_request_shows_why_and_keeps_what_was_typed(browse, mesh, token, fields, words):
    """Nothing is written."""
    page = ask(browse("bob"), token, **fields)
    assert page.status_code == 422
    assert words in html.unescape(page.text)
    assert "The request was not sent." in page.text
    assert not mesh.catalog.desk.requests()


def test_only_deciders_see_the_buttons(browse, mesh, token):
    """Who asked, and others, see no Approve."""
    ask(browse("bob"), token)
    assert ">Approve</button>" in browse("jane").get("/access").text
    for name in ("bob", "analyst", "petra"):
        page = browse(name).get("/access").text
        assert "Approve" not in page
        assert "Reject" not in page


@pytest.mark.parametrize("name", ["bob", "analyst"])
def test_who_may_not_decide_changes_nothing(browse, mesh, token, name):
    """By form and by API; a foreign request reads like none."""
    ask(browse("bob"), token)
    request = mesh.catalog.desk.requests()[0]
    client = browse(name)
    form = client.post(
        f"/access/requests/{request.id}/approve",
        data={"csrf": token(client, "/products/finance/revenue"), "column": ["id"]},
    )
    assert form.status_code in {404, 422}
    api = client.post(f"/api/v1/access/requests/{request.id}/approve", json={})
    assert api.status_code == (403 if name == "bob" else 404)
    assert mesh.catalog.desk.find(request.id).status == "requested"


def test_a_request_can_be_taken_back_once(browse, mesh, token):
    """Then it is decided."""
    bob = browse("bob")
    ask(bob, token)
    request = mesh.catalog.desk.requests()[0]
    csrf = token(bob, "/access")
    assert bob.post(f"/access/requests/{request.id}/cancel", data={"csrf": csrf}).status_code == 303
    again = bob.post(f"/access/requests/{request.id}/cancel", data={"csrf": csrf})
    assert again.status_code == 422
    assert "cancelled already" in again.text


def test_the_api_asks_and_decides(browse, mesh):
    """The same journey by programs."""
    bob, jane = browse("bob"), browse("jane")
    made = bob.post(
        "/api/v1/access/requests",
        json={"product": "urn:mesh:shop:orders", "purpose": "reporting", "duration": "30d", "columns": ["id"]},
    )
    assert made.status_code == 201
    body = made.json()
    assert body["format"] == "meshkit.catalog.request/1"
    assert [r["id"] for r in jane.get("/api/v1/access/requests").json()["waiting_for_you"]] == [body["id"]]
    done = jane.post(f"/api/v1/access/requests/{body['id']}/approve", json={"note": "fine"})
    assert (done.status_code, done.json()["status"]) == (200, "approved")
    twice = jane.post(f"/api/v1/access/requests/{body['id']}/approve", json={})
    assert (twice.status_code, twice.json()["code"]) == (409, "access.already_decided")
    assert twice.headers["content-type"] == "application/problem+json"
    assert (
        jane.post(f"/api/v1/access/grants/{body['id']}/revoke", json={"reason": "done"}).json()["status"] == "revoked"
    )


def test_an_approval_ends_on_the_chosen_day_and_never_later_than_asked(browse, mesh, token):
    """A later date is cut, an earlier one kept."""
    from datetime import UTC, datetime, timedelta

    ask(browse("bob"), token, duration="30d")
    request = mesh.catalog.desk.requests()[0]
    jane = browse("jane")
    sooner = (datetime.now(UTC) + timedelta(days=3)).date()
    jane.post(
        f"/access/requests/{request.id}/approve",
        data={"csrf": token(jane, "/access"), "column": ["id"], "until": f"{sooner}"},
    )
    assert mesh.catalog.desk.find(request.id).until.date() == sooner


def test_openapi_names_the_paths_of_the_api(browse):
    """And only those."""
    paths = set(browse("analyst").get("/api/v1/openapi.json").json()["paths"])
    assert {"/api/v1/products", "/api/v1/products/{domain}/{name}", "/api/v1/lineage", "/api/v1/impact", "/api/v1/trust", "/api/v1/access/requests",
            "/api/v1/access/requests/{request_id}/approve", "/api/v1/access/grants/{grant_id}/revoke", "/api/v1/crawl"} <= paths  # fmt: skip
    assert all(p.startswith("/api/v1/") for p in paths)


def test_nothing_is_decided_at_a_past_instant(browse, mesh):
    """`at` is for reading."""
    response = browse("bob").post(
        "/api/v1/access/requests?at=2026-01-01", json={"product": "shop.orders", "purpose": "reporting"}
    )
    assert (response.status_code, response.json()["code"]) == (400, "controlplane.past")
    assert not mesh.catalog.desk.requests()


def test_an_owner_without_a_grant_is_told_and_may_ask(browse, mesh, token):
    """Owning is not reading; and nobody decides their own request."""
    jane = browse("jane")
    page = jane.get("/products/shop/orders").text
    assert "yours, but no grant lets you read it" in page
    assert ask(jane, token).status_code == 303
    assert ">Approve</button>" not in jane.get("/access").text
