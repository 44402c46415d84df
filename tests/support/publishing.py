"""A small product over a table of orders, for tests of the publisher."""

from meshkit.manifest import Manifest

MANIFEST = """
apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: orders
version: 1.0.0
status: active
owner: {{team: sales, contact: sales@example.com}}
description: {{purpose: Orders as they happen}}
support: [{{channel: "#sales"}}]
schema:
  orders:
    fields:
      order_id: {{type: int64, required: true, key: 1}}
      total: decimal(10,2)
      state: {{type: string}}
{fields}
ports:
  events: {{kind: kafka, location: "kafka://mesh.{domain}.orders.v1", format: json}}
slos:
  freshness: {{within: 1h, port: events}}
source:
  database: sales_db
{options}
  tables:
    - table: public.orders
{table_options}
      map:
        order_id: id
        total: amount
        state: {state}
{map}
"""

TABLE = "CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(10,2), status text, secret text DEFAULT 'hidden')"


def manifest_text(domain="sales", *, fields="", state="status", map="", options="", table_options=""):  # noqa: A002
    def indented(text, spaces):
        return "\n".join(" " * spaces + line for line in text.splitlines())

    return MANIFEST.format(
        domain=domain, fields=indented(fields, 6), state=state, map=indented(map, 8), options=indented(options, 2),
        table_options=indented(table_options, 6),
    )  # fmt: skip


def manifest(domain="sales", **parts):
    return Manifest.parse(manifest_text(domain, **parts), source="manifest.yaml")
