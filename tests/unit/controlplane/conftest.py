"""A small mesh on files with real rows, and browsers of several readers."""

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshkit import Mesh
from meshkit.controlplane import create_app

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette announces another HTTP client; the one here works
    from starlette.testclient import TestClient

HEAD = """\
apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: {name}
version: 1.0.0
status: active
owner: {{team: {team}, contact: t@x.org}}
description: {{purpose: "{purpose}"}}
support: [{{channel: "#x", url: "https://chat.example.org/x"}}]
"""
ORDERS = (
    HEAD.format(domain="shop", name="orders", team="shop-data", purpose="Orders of the shop.")
    + """\
docs: README.md
schema:
  orders:
    fields:
      id: {type: int64, required: true, key: 1}
      amount: {type: "decimal(12,2)", required: true, min: 0, description: Gross}
      email: {type: string, tags: ["pii:email"], classification: confidential}
      at: {type: timestamptz, required: true}
ports: {files: {kind: file, location: "*.csv", format: csv}}
slos: {freshness: {within: 1h, target: 99%, field: at}, availability: {target: 99%}}
"""
)
REVENUE = (
    HEAD.format(domain="finance", name="revenue", team="finance", purpose="Revenue by day.")
    + """\
inputs: {orders: {product: shop.orders, columns: [id, amount]}}
schema: {revenue: {fields: {total: {type: "decimal(38,2)"}, lines: {type: list, items: {type: struct, fields: {sku: string, n: int32}}}}}}
ports: {files: {kind: file, location: "*.csv", format: csv}}
slos: {freshness: {within: 1d}}
"""
)
SALARIES = (
    HEAD.format(domain="hr", name="salaries", team="people", purpose="Salaries.")
    + """\
inputs: {revenue: {product: finance.revenue}}
schema: {salaries: {fields: {person: string, salary: {type: "decimal(12,2)", classification: restricted}}}}
ports: {files: {kind: file, location: "*.csv", format: csv}}
slos: {freshness: {within: 1d}}
"""
)
POLICY = """\
version: 1
grants:
  - {id: g1, products: ["shop.*"], roles: [analyst]}
rules:
  - {id: r1, tags: ["pii:email"], mask: email.partial}
"""
MESH = """\
name: acme
environment: local
products: [./products]
default_principal: analyst
auth:
  dev_principals:
    analyst: {roles: [analyst]}
    jane: {roles: [owner], attributes: {team: shop-data}}
    petra: {roles: [owner], attributes: {team: people}}
    bob: {roles: [guest]}
policies: {paths: [./policies]}
catalog: {sources: [{name: here, dir: ./products}], restricted: [hr.salaries]}
"""


def add_product(folder: Path, name: str, manifest: str) -> Path:
    """Write one product."""
    home = folder / "products" / name
    home.mkdir(parents=True)
    (home / "manifest.yaml").write_text(manifest)
    return home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    home = add_product(tmp_path, "orders", ORDERS)
    rows = [(1, "100.00", "john.doe@gmail.com", 12), (2, "50.50", "ana@firm.example", 30)]
    lines = [f"{i},{a},{m},{(now - timedelta(minutes=t)).isoformat()}" for i, a, m, t in rows]
    (home / "rows.csv").write_text("id,amount,email,at\n" + "\n".join(lines) + "\n")
    (home / "README.md").write_text(README)
    add_product(tmp_path, "revenue", REVENUE)
    add_product(tmp_path, "salaries", SALARIES)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mail.yaml").write_text(POLICY)
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path


README = """\
# Orders
Good for **revenue**. <script>alert(1)</script> [bad](javascript:alert(1)) [good](https://example.org) ![pixel](https://evil.example/p.png)

| a | b |
|--:|---|
| 1 | 2 |
"""


@pytest.fixture
def mesh(folder: Path) -> Iterator[Mesh]:
    with Mesh.open(folder / "mesh.yaml") as opened:
        yield opened


@pytest.fixture
def browse(mesh: Mesh) -> Callable[[str | None], TestClient]:
    """`browse("analyst")`: a client of a control plane that reads as that principal."""

    def make(name: str | None) -> TestClient:
        return TestClient(
            create_app(mesh, dev_principal=name),
            base_url="http://127.0.0.1:8400",
            follow_redirects=False,
            client=("127.0.0.1", 5000),
        )

    return make


@pytest.fixture
def token() -> Callable[[TestClient, str], str]:
    """The CSRF token of a page's forms."""

    def read(client: TestClient, url: str) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', client.get(url).text)
        assert found, f"{url} has no form"
        return found[1]

    return read
