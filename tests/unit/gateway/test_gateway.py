"""The gateway: one URL, each caller sees what policies allow; forbidden reads like absent; nothing of the input is echoed."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from mesh_folder import make_mesh_folder
from starlette.testclient import TestClient

from meshkit.config import load_config
from meshkit.gateway import GatewaySettings, create_app
from meshkit.gateway.formats import choose, json_rows
from meshkit.mesh import Mesh

URL = "/products/sales/orders"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_mesh_folder(tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="module")
def mesh(folder):
    with Mesh(load_config(folder / "mesh.yaml"), trust="enforced") as opened:
        opened.publish("sales.orders")
        opened.publish("finance.revenue")
        yield opened


@pytest.fixture(scope="module")
def client(mesh):
    with TestClient(create_app(mesh, dev_tokens=True), raise_server_exceptions=False) as opened:
        yield opened


def get(client, url=URL, who="analyst", **more):
    headers = {"Authorization": f"Bearer dev:{who}", **more.pop("headers", {})}
    return client.get(url, headers=headers, **more)


def test_one_url_shows_admin_the_mail_and_analyst_its_mask(client):
    admin, analyst = get(client, who="admin").json(), get(client).json()
    assert (admin["product"], admin["version"], admin["trust"], admin["masked"], admin["next"]) == (
        "sales.orders",
        "1.0.0",
        "enforced",
        [],
        None,
    )
    first = {row["order_id"]: row for row in admin["rows"]}[1]
    assert (first["email"], first["total"]) == ("john.doe@gmail.com", 100.0)
    assert {row["order_id"]: row["email"] for row in analyst["rows"]}[1] == "j***@gmail.com"
    assert analyst["masked"] == [{"column": "email", "mask": "email.partial", "rule": "r2"}]
    assert "john.doe" not in json.dumps(analyst)


def test_forbidden_and_absent_products_are_answered_alike(client):
    answers = [get(client, url).json() for url in ("/products/shop/raw_orders", "/products/shop/nothing")]
    for answer in answers:
        assert (answer["status"], answer.pop("request_id")[:2]) == (404, "r-")
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 401),
        ({"Authorization": "Basic x"}, 401),
        ({"Authorization": "Bearer dev:nobody"}, 401),
        ({"Authorization": "Bearer a.b.c"}, 401),
    ],
)
def test_without_a_good_token_nothing_is_said(client, headers, status):
    answer = client.get(URL, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_dev_tokens_are_off_unless_turned_on(mesh):
    with TestClient(create_app(mesh)) as strict:
        assert get(strict).status_code == 401


def test_two_authorization_headers_are_refused(client):
    answer = client.get(URL, headers=[("Authorization", "Bearer dev:admin"), ("Authorization", "Bearer dev:analyst")])
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "where, ids",
    [
        ("order_id:eq:1", [1]), ("total:ge:60", [1]), ("total:lt:60.01", [2]), ("order_id:in:1,2", [1, 2]), ("total:between:50,51", [2]),
        ("email:prefix:j", [1]), ("email:eq:j***@gmail.com", [1]), ("email:eq:john.doe@gmail.com", []), ("email:notnull", [1, 2]), ("email:null", []),
        ("at:gt:2020-01-01T00:00:00Z", [1, 2]),
    ],
)  # fmt: skip
def test_conditions_compare_with_what_the_caller_sees(client, where, ids):
    rows = get(client, params={"where": where}).json()["rows"]
    assert sorted(r["order_id"] for r in rows) == ids


@pytest.mark.parametrize(
    "params, code",
    [
        ({"role": "admin"}, "gateway.unknown_parameter"), ({"where": "total:about:5"}, "gateway.where"), ({"where": "total:eq:GEHEIM"}, "gateway.value"),
        ({"limit": "20000"}, "gateway.limit"), ({"limit": "-1"}, "gateway.limit"), ({"columns": "nope"}, "federation.unknown_column"),
        ({"cursor": "x"}, "gateway.no_cursor"), ({"where": "total:null:1"}, "gateway.where"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_400_with_a_code_and_no_echo(client, params, code):
    answer = get(client, params=params)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert "GEHEIM" not in answer.text


def test_identity_claims_outside_the_token_are_ignored(client):
    rows = get(client, headers={"X-User": "admin", "X-Roles": "admin", "X-Forwarded-User": "admin"}).json()["rows"]
    assert {r["order_id"]: r["email"] for r in rows}[1] == "j***@gmail.com"


def test_columns_and_limit_shape_the_page(client):
    page = get(client, params={"columns": "order_id", "limit": "1"}).json()
    assert (len(page["rows"]), list(page["rows"][0]), page["truncated"]) == (1, ["order_id"], True)


def test_ndjson_and_arrow_stream_the_same_masked_rows(client):
    text = get(client, headers={"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in text.text.splitlines()]
    arrow = get(client, headers={"Accept": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(io.BytesIO(arrow.content)).read_all()
    assert (
        sorted(r["email"] for r in lines)
        == sorted(table["email"].to_pylist())
        == ["a***@firm.example", "j***@gmail.com"]
    )
    assert b"john.doe" not in arrow.content
    assert (text.headers["meshkit-trust"], text.headers["meshkit-masked"]) == ("enforced", "email=email.partial")
    assert text.headers["cache-control"] == "private, no-store"


def test_sql_answers_with_columns_rows_and_parameters(client):
    body = {"sql": "SELECT email, total FROM sales.orders WHERE order_id = :id", "parameters": {"id": 1}}
    answer = client.post("/sql", json=body, headers={"Authorization": "Bearer dev:analyst"})
    assert answer.status_code == 200, answer.text
    data = answer.json()
    assert (data["rows"], data["row_count"], data["trust"]) == (
        [{"email": "j***@gmail.com", "total": 100.0}],
        1,
        "enforced",
    )
    assert data["columns"][0]["mask"] == "email.partial"


@pytest.mark.parametrize(
    "body, status",
    [(b"{", 400), (b"[]", 400), (b'{"sql": 1}', 400), (b'{"sql": "SELECT", "x": 1}', 400), (b'{"sql": "SELECT FROM WHERE"}', 400), (b'{"sql": "SELEC 1"}', 403), (b'{"sql": "DROP TABLE x"}', 403),
     (b'{"sql": "SELECT * FROM shop.raw_orders"}', 404), (b'{"sql": "' + b"x" * (1 << 20) + b'"}', 413), (b"[" * 100_000, 400)],
)  # fmt: skip
def test_wrong_statements_have_their_status(client, body, status):
    answer = client.post("/sql", content=body, headers={"Authorization": "Bearer dev:analyst"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unwelcome_accept_is_406(client):
    assert get(client, headers={"Accept": "text/html"}).status_code == 406
    assert choose("text/html, application/x-ndjson;q=0.5, */*;q=0.1") == "application/x-ndjson"
    assert choose("*/*") == "application/json"


def test_too_many_queries_of_one_subject_are_429(mesh):
    app = create_app(mesh, settings=GatewaySettings(per_subject=1), dev_tokens=True)
    with TestClient(app) as client:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: get(client), range(12)))
    found = {a.status_code for a in answers}
    assert found <= {200, 429}
    assert 200 in found
    assert all(a.headers["retry-after"] for a in answers if a.status_code == 429)


def test_health_and_openapi_name_no_product(client):
    assert client.get("/healthz").json()["status"] == "ok"
    assert "sales" not in client.get("/openapi.json").text


def test_values_that_json_cannot_tell_have_one_form():
    from datetime import UTC, datetime
    from decimal import Decimal

    batch = pa.RecordBatch.from_pydict(
        {
            "big": pa.array([Decimal("12345678901234567.89")], pa.decimal128(38, 2)),
            "nan": pa.array([float("nan")]),
            "raw": pa.array([b"\x00\xff"]),
            "at": pa.array([datetime(2026, 11, 24, 9, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            "lines": pa.array(
                [[{"n": Decimal("1.5"), "f": float("inf")}]],
                pa.list_(pa.struct([("n", pa.decimal128(5, 1)), ("f", pa.float64())])),
            ),
        }
    )
    row = json.loads(json_rows(iter([batch])))[0]
    assert row == {
        "big": "12345678901234567.89",
        "nan": None,
        "raw": "AP8=",
        "at": "2026-11-24T09:00:00Z",
        "lines": [{"n": 1.5, "f": None}],
    }
