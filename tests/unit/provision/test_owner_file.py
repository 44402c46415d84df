"""The owner file of a folder lies among the data."""

import json

from provision_shop import file_product

from meshkit import Mesh
from meshkit.provision import Marker
from meshkit.provision.backends.s3 import OWNER_FILE


def test_the_owner_file_is_no_data_of_a_json_port(tmp_path):
    """A `*.json` location matches it, and a query reads the rows alone."""
    folder = tmp_path / "products"
    (folder / "data").mkdir(parents=True)
    manifest = file_product(location="data/*.json").dump().replace("format: parquet", "format: json")
    (folder / "manifest.yaml").write_text(manifest)
    (folder / "data" / "a.json").write_text('[{"id": 1, "total": 2.5}]')
    (folder / "data" / OWNER_FILE).write_text(json.dumps(Marker("urn:mesh:sales:orders", "acme", "local").to_json()))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(POLICY)
    (tmp_path / "mesh.yaml").write_text(MESH)
    with Mesh.open(tmp_path / "mesh.yaml") as mesh:
        assert mesh.sql("select count(*) from sales.orders", principal="analyst").to_polars().item() == 1


MESH = """\
name: acme
environment: local
products: [./products]
auth: {dev_principals: {analyst: {roles: [analyst]}}}
policies: {paths: [./policies]}
"""
POLICY = """version: 1
name: acme
owner: g@x.org
grants:
  - {id: g-open, products: ["sales.*"], roles: [analyst]}
"""
