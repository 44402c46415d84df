"""A small mesh on files for tests: raw CSV orders, a product made of them, one that reads it, policies."""

from pathlib import Path

HEAD = """\
apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: {name}
version: 1.0.0
status: active
owner: {{team: {team}, contact: t@x.org}}
description: {{purpose: {name} for tests.}}
support: [{{channel: "#x"}}]
"""

RAW = (
    HEAD.format(domain="shop", name="raw_orders", team="shop-data")
    + """\
schema:
  raw_orders:
    fields:
      id: {type: int64, required: true, key: 1}
      amount: {type: "decimal(12,2)", required: true}
      email: {type: string, tags: ["pii:email"], classification: confidential}
      at: {type: timestamptz, required: true}
ports: {files: {kind: file, location: "*.csv", format: csv}}
slos: {freshness: {within: 1h, target: 99%, field: at}}
"""
)
ORDERS = (
    HEAD.format(domain="sales", name="orders", team="sales-data")
    + """\
inputs: {raw: {product: shop.raw_orders, columns: [id, amount, email, at]}}
schema:
  orders:
    fields:
      order_id: {type: int64, required: true, key: 1}
      total: {type: "decimal(12,2)", required: true, min: 0}
      email: {type: string, tags: ["pii:email"], classification: confidential}
      at: {type: timestamptz, required: true}
ports: {lake: {kind: file, location: "lake/*.parquet", format: parquet}}
slos: {freshness: {within: 1h, target: 99%, field: at}, completeness: {target: 99%}, availability: {target: 99%}}
"""
)
REVENUE = (
    HEAD.format(domain="finance", name="revenue", team="finance")
    + """\
title: Finance-Revenue
inputs: {orders: {product: sales.orders, columns: [order_id, total]}}
schema: {revenue: {fields: {total: {type: "decimal(38,2)"}}}}
ports: {lake: {kind: file, location: "lake/*.parquet", format: parquet}}
slos: {freshness: {within: 1d}}
"""
)
ORDERS_CODE = """\
import polars as pl
from meshkit import data_product

@data_product("manifest.yaml")
def orders(raw: pl.LazyFrame) -> pl.LazyFrame:
    return raw.select(order_id="id", total="amount", email="email", at="at")
"""
REVENUE_CODE = """\
import polars as pl
from meshkit import data_product

@data_product("manifest.yaml")
def revenue(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.select(pl.col("total").sum())
"""
POLICY = """\
version: 1
grants:
  - {id: g1, products: ["sales.*"], roles: [analyst, admin]}
  - {id: g2, products: ["shop.*"], roles: [admin]}
rules:
  - {id: r1, tags: ["pii:email"], roles: [admin], mask: clear, reason: support desk}
  - {id: r2, tags: ["pii:email"], mask: email.partial}
  - {id: r3, columns: [shop.raw_orders.email], roles: ["product:sales.orders"], mask: clear, reason: source of orders}
"""
MESH = """\
name: acme
environment: local
products: [./products]
default_principal: analyst
auth:
  dev_principals:
    admin: {roles: [admin]}
    analyst: {roles: [analyst]}
    jane: {roles: [owner], attributes: {team: finance}}
    bob: {roles: [guest]}
policies: {paths: [./policies]}
catalog: {sources: [{name: here, dir: ./products}]}
"""


def make_mesh_folder(tmp_path: Path) -> Path:
    """Write the mesh into a folder."""
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    for name, manifest, code in (
        ("raw_orders", RAW, None),
        ("orders", ORDERS, ORDERS_CODE),
        ("revenue", REVENUE, REVENUE_CODE),
    ):
        home = tmp_path / "products" / name
        home.mkdir(parents=True)
        (home / "manifest.yaml").write_text(manifest)
        if code:
            (home / "product.py").write_text(code)
    rows = [
        (1, "100.00", "john.doe@gmail.com", 12),
        (2, "50.50", "ana@firm.example", 30),
        (3, "-1.00", "x@y.example", 40),
    ]
    lines = [f"{i},{a},{m},{(now - timedelta(minutes=t)).isoformat()}" for i, a, m, t in rows]
    (tmp_path / "products" / "raw_orders" / "raw.csv").write_text("id,amount,email,at\n" + "\n".join(lines) + "\n")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "contact.yaml").write_text(POLICY)
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path
