"""A small mesh for lineage tests: sales.orders feeds marketing.revenue and finance.audit, which nobody declared."""

from datetime import UTC, datetime, timedelta

from meshkit.manifest import Manifest
from meshkit.ports import QueryLogRecord

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


def manifest(product, *, inputs="{}", columns="id, total, state", title=None, more=""):
    domain, _, name = product.rpartition(".")
    fields = ", ".join(f"{c.strip()}: string" for c in columns.split(","))
    return Manifest.parse(f"""
apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: {name}
version: 1.0.0
title: {title or name.title()}
status: active
owner: {{team: {domain}-team, contact: "{domain}@example.org"}}
description: {{purpose: Test.}}
support: [{{channel: "#{domain}", url: "https://chat.example.org"}}]
inputs: {inputs}
schema: {{{name}: {{fields: {{{fields}}}}}}}
ports: {{lake: {{kind: file, location: "./data/*.parquet", format: parquet}}}}
slos: {{freshness: {{within: 1h, target: 99%}}}}
{more}""")


def query(number, principal, statement="", *, at=NOW, **more):
    return QueryLogRecord(query_id=f"q{number}", at=at, principal=principal, statement=statement, **more)


def ago(**span):
    return NOW - timedelta(**span)


MESH = (
    manifest("shop.checkout", columns="id, amount, email"),
    manifest("sales.orders", inputs="{raw: {product: shop.checkout, columns: [id, amount]}}"),
    manifest("marketing.revenue", inputs="{orders: sales.orders, ads: {external: ads.google}}", columns="day, revenue"),
    manifest("finance.audit", columns="order_id, ok"),
)
