"""`identity.user_map` of the demo on a mesh of files: read through federation under its purpose, published, joined by SQL."""

from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest

from meshkit import Mesh
from meshkit.demo.people import make_people

DEMO = files("meshkit.demo") / "files" / "products"
MESH = """\
name: acme
environment: local
products: [./products]
default_principal: analyst
auth: {dev_principals: {analyst: {roles: [analyst]}}}
policies: {paths: [./policies]}
catalog: {sources: [{name: here, dir: ./products}]}
"""
POLICY = """\
version: 1
grants:
  - {id: g1, products: ["sales.*", "marketing.*"], roles: [analyst]}
  - {id: g2, products: ["identity.user_map"], roles: [analyst]}
rules:
  - {id: r-link, tags: ["pii:*"], roles: ["product:identity.user_map"], mask: clear, purposes: [entity_resolution], reason: entity resolution}
  - {id: r-mail, tags: ["pii:*"], mask: redact}
"""


def place(folder: Path, domain: str, name: str, port: str | None = None) -> Path:
    """The demo's manifest (and code) of a product; its own port replaced by a folder of files."""
    home = folder / "products" / name
    (home / name).mkdir(parents=True)
    text = (DEMO / domain / name / "manifest.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    if port is not None:
        start = next(i for i, line in enumerate(lines) if line.startswith("ports:"))
        stop = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith(" "))
        lines[start:stop] = [f'ports: {{here: {{kind: file, location: "{name}/*.{port}", format: {port}}}}}']
    (home / "manifest.yaml").write_text("\n".join(lines) + "\n")
    return home


@pytest.fixture
def world(tmp_path):
    people = make_people(7)
    stamp = pl.lit("2026-01-01T00:00:00Z").str.to_datetime(time_zone="UTC")
    users = pl.DataFrame(
        people.users, schema=["user_id", "given", "surname", "mail", "phone", "plz", "born"], orient="row"
    )
    users.with_columns(changed_at=stamp).write_parquet(
        place(tmp_path, "sales", "users", "parquet") / "users" / "users.parquet"
    )
    customers = pl.DataFrame(
        people.customers, schema=["customer_id", "contact", "email", "mobile", "zip", "birthday"], orient="row"
    )
    customers.with_columns(updated_at=stamp).write_csv(
        place(tmp_path, "marketing", "customers", "csv") / "customers" / "customers.csv"
    )
    home = place(tmp_path, "identity", "user_map", "parquet")
    (home / "product.py").write_text((DEMO / "identity" / "user_map" / "product.py").read_text(encoding="utf-8"))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "acme.yaml").write_text(POLICY)
    (tmp_path / "mesh.yaml").write_text(MESH)
    with Mesh.open(tmp_path / "mesh.yaml") as mesh:
        yield mesh, people


def test_the_user_map_is_published_and_joined_by_sql(world):
    mesh, people = world
    mesh.publish("identity.user_map").raise_for_violations()
    found = mesh.sql("SELECT sales_user_id, marketing_customer_id, confidence_score FROM identity.user_map").to_polars()
    links = set(found.select(pl.nth(0, 1)).iter_rows())
    hits = len(links & people.truth)
    assert hits / len(links) >= 0.95 and hits / len(people.truth) >= 0.95
    joined = mesh.sql(
        "SELECT count(*) AS n FROM identity.user_map m JOIN sales.users u ON u.user_id = m.sales_user_id "
        "JOIN marketing.customers c ON c.customer_id = m.marketing_customer_id"
    ).to_polars()
    assert joined["n"][0] == found.height
