"""The systems that the demo's domains bring along: a Postgres database with private tables, CSV files in S3."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from meshkit.demo.people import CAMPAIGNS, People, make_orders

__all__ = ["BUCKET", "fill_lake", "fill_sales"]

BUCKET = "acme-lake"
_TABLES = """
CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(12,2) NOT NULL, status text NOT NULL, campaign_id integer, email text,
                     placed_at timestamptz, internal_note text);
CREATE TABLE users (id bigint PRIMARY KEY, given text, surname text, mail text, phone text, plz text, born date, password_hash text,
                    changed_at timestamptz NOT NULL);
CREATE SCHEMA mesh;
CREATE VIEW mesh.orders AS SELECT id AS order_id, amount AS total, status AS state, campaign_id, email, placed_at FROM orders;
CREATE VIEW mesh.users AS SELECT id AS user_id, given, surname, mail, phone, plz, born, changed_at FROM users;
"""


def fill_sales(server_dsn: str, folder: Path, people: People, *, seed: int, now: datetime) -> str:
    """Make the database of the sales domain; its DSN stands in `sales.dsn`, 0600. Returns the DSN."""
    import psycopg

    with psycopg.connect(server_dsn, autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS sales_db WITH (FORCE)")
        server.execute("CREATE DATABASE sales_db")
    dsn = urlsplit(server_dsn)._replace(path="/sales_db").geturl()
    with psycopg.connect(dsn) as connection:
        connection.execute(_TABLES)
        with connection.cursor().copy(
            "COPY orders (id, amount, status, campaign_id, email, placed_at) FROM STDIN"
        ) as copy:
            for order in make_orders(seed, now=now):
                copy.write_row((order.id, order.amount, order.status, order.campaign_id, order.email, order.placed_at))
        with connection.cursor().copy(
            "COPY users (id, given, surname, mail, phone, plz, born, changed_at) FROM STDIN"
        ) as copy:
            for user in people.users:
                copy.write_row((*user, now - timedelta(minutes=31)))
        connection.execute("ANALYZE")
    path = folder / "sales.dsn"
    path.touch(mode=0o600)
    path.write_text(dsn)
    return dsn


def fill_lake(options: dict[str, Any], people: People, *, now: datetime) -> None:
    """Put the CSV files of the marketing domain into S3."""
    from meshkit._storage import open_filesystem

    filesystem, _ = open_filesystem(f"s3://{BUCKET}/", options)
    if not filesystem.exists(BUCKET):
        filesystem.mkdir(BUCKET)
    late = (now - timedelta(minutes=144)).isoformat()  # 145 by the time it is looked at
    campaigns = [(i, name, spend, late) for i, name, spend, _ in CAMPAIGNS]
    fresh = (now - timedelta(hours=3)).isoformat()
    customers = [(*c, fresh) for c in people.customers]
    _put(filesystem, "marketing/campaigns/v1/campaigns.csv", ("campaign_id", "name", "spend", "updated_at"), campaigns)
    header = ("customer_id", "contact", "email", "mobile", "zip", "birthday", "updated_at")
    _put(filesystem, "marketing/customers/v1/customers.csv", header, customers)


def _put(filesystem: Any, path: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(["" if v is None else v for v in row] for row in rows)
    filesystem.pipe_file(f"{BUCKET}/{path}", text.getvalue().encode())
