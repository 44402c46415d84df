"""A small mesh on local files, with a real decider and mask compiler that are small enough to read."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from meshkit._sql import Store
from meshkit.federation import Federation, StoreQueryLog
from meshkit.manifest import Manifest
from meshkit.ports import ColumnDecision, Decision, Principal, RowFilter

MANIFEST = """
apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: {name}
version: 1.0.0
status: active
owner: {{team: data, contact: data@company.com}}
description: {{purpose: Rows for tests.}}
support: [{{channel: "#data"}}]
schema:
{schema}
ports:
{ports}
slos: {{freshness: {{within: 1d}}}}
"""


def manifest(domain, name, schema, ports, folder):
    objects = "".join(
        f"  {o}:\n    fields:\n" + "".join(f"      {n}: {t}\n" for n, t in fields.items())
        for o, fields in schema.items()
    )
    text = MANIFEST.format(
        domain=domain, name=name, schema=objects, ports="".join(f"  {n}: {p}\n" for n, p in ports.items())
    )
    path = Path(folder, f"{domain}.{name}.yaml")
    path.write_text(text)
    return Manifest.load(path)


class Policies:
    """A decider from a table: product -> columns, filters. Products that are not there are denied."""

    def __init__(self, allowed):
        self.allowed = dict(allowed)
        self.asked = []

    def decide(self, product, principal, *, purpose, now):
        self.asked.append(product)
        entry = self.allowed.get(product)
        base = Decision(f"d-{product}", product, "1", "p1", False, code="masking.no_grant")
        if entry is None or (principal.roles and "nobody" in principal.roles):
            return base
        columns, filters = entry
        return replace(
            base,
            allow=True,
            code=None,
            columns=columns,
            row_filters=tuple(RowFilter(f"f{i}", f) for i, f in enumerate(filters)),
        )

    def revision(self):
        return "p1"


class Masks:
    """`redact` in SQL, `secret` after the fetch, as keyed masks are."""

    def duckdb(self, column_sql, data_type, decision):
        if decision.mask == "redact":
            return f"CASE WHEN {column_sql} IS NULL THEN NULL ELSE 'REDACTED' END"
        return None

    def arrow(self, column, data_type, decision):
        assert decision.mask == "secret"
        return pa.chunked_array(
            [pa.array([None if v is None else f"tok{len(str(v)) % 1}" for v in column.to_pylist()], column.type)]
        )


class Audit:
    def __init__(self):
        self.records = []

    def append(self, record):
        self.records.append(record)


ORDERS = {
    "id": "{type: int64, key: 1, required: true}",
    "email": '{type: string, tags: ["pii:email"]}',
    "country": "string",
    "total": "decimal(12,2)",
    "placed": "timestamptz",
}
ROWS = [
    (1, "ana.canary@mail.example", "FR", "10.50"),
    (2, "bob.canary@mail.example", "DE", "20.00"),
    (3, None, "FR", "5.25"),
    (4, "eve.canary@mail.example", "US", "100.00"),
]


def orders_table(rows=ROWS):
    from datetime import UTC, datetime
    from decimal import Decimal

    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("email", pa.string()),
            ("country", pa.string()),
            ("total", pa.decimal128(12, 2)),
            ("placed", pa.timestamp("us", "UTC")),
        ]
    )
    data = [(i, e, c, Decimal(t), datetime(2026, 1, i % 27 + 1, tzinfo=UTC)) for i, e, c, t in rows]
    return pa.table({f.name: pa.array([r[n] for r in data], f.type) for n, f in enumerate(schema)}, schema=schema)


@pytest.fixture
def analyst():
    return Principal("ana", roles=("analyst",))


@pytest.fixture
def build(tmp_path):
    """`build(policies, rows=..., folder=...)`: a federation over sales.orders (Parquet), crm.people (CSV), web.clicks (JSON), hr.pay (denied)."""
    made = []

    def make(policies=None, *, rows=ROWS, folder=None, query_log=None, audit=None, **settings):
        folder = Path(folder or tmp_path)
        folder.mkdir(exist_ok=True)
        pq.write_table(orders_table(rows), folder / "orders.parquet")
        (folder / "people.csv").write_text('id,name,country,age\n1,Ana,FR,31\n2,"Bob, Jr",DE,\n3,"",FR,44\n')
        (folder / "clicks.ndjson").write_text(
            "".join(
                json.dumps({"id": i, "url": f"/p/{i}", "tags": ["a", "b"], "info": {"n": i}}) + "\n" for i in range(5)
            )
        )
        products = [
            manifest(
                "sales",
                "orders",
                {"orders": ORDERS},
                {"lake": "{kind: file, location: orders.parquet, format: parquet}"},
                folder,
            ),
            manifest(
                "crm",
                "people",
                {"people": {"id": "int64", "name": "string", "country": "string", "age": "int32"}},
                {"csv": "{kind: file, location: people.csv, format: csv}"},
                folder,
            ),
            manifest(
                "web",
                "clicks",
                {
                    "clicks": {
                        "id": "int64",
                        "url": "string",
                        "tags": "{type: list, items: string}",
                        "info": "{type: struct, fields: {n: int64}}",
                    }
                },
                {"js": "{kind: file, location: clicks.ndjson, format: ndjson}"},
                folder,
            ),
            manifest(
                "hr",
                "pay",
                {"pay": {"id": "int64"}},
                {"lake": "{kind: file, location: pay.parquet, format: parquet}"},
                folder,
            ),
        ]
        allowed = (
            policies
            if policies is not None
            else {
                "sales.orders": ({"email": ColumnDecision("redact", rule="r2", tag="pii:email")}, []),
                "crm.people": ({}, []),
                "web.clicks": ({}, []),
            }
        )
        decider = allowed if hasattr(allowed, "decide") else Policies(allowed)
        federation = Federation(
            {m.id: m for m in products}, decider=decider, masks=Masks(), query_log=query_log, audit=audit, **settings
        )
        made.append(federation)
        return federation

    yield make
    for federation in made:
        federation.close()


@pytest.fixture
def federation(build):
    return build()


@pytest.fixture
def query_log():
    store = Store.open()
    yield StoreQueryLog(store)
    store.close()


@pytest.fixture
def audit():
    return Audit()
