"""Manifests and policies that the tests of masking share."""

from meshkit.manifest import Manifest
from meshkit.masking.policies import PolicySet
from meshkit.masking.policy_reader import read_policies
from meshkit.ports import Principal

HEAD = """apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: {name}
version: 1.2.0
status: active
owner: {{team: data, contact: team@company.com}}
description: {{purpose: Test data.}}
support: [{{channel: "#data", tool: slack, url: "https://chat.company.com/data"}}]
"""
TAIL = """ports: {lake: {kind: file, location: "data/*.parquet", format: parquet}}
slos: {freshness: {within: 1h, target: 99%, port: lake}}
"""
FIELDS = """schema:
  orders:
    fields:
      order_id: {type: int64, required: true, key: 1}
      total: {type: "decimal(12,2)"}
      country: string
      email: {type: string, tags: ["pii:email"], classification: confidential}
      phone: {type: string, tags: ["pii:phone"]}
      iban: {type: string, tags: ["pii.iban"]}
      salary: {type: int64, tags: ["pii:salary"]}
      note: {type: string, classification: restricted}
      secret: {type: string, tags: [pii]}
      consent: bool
      created_at: timestamptz
      address: {type: struct, fields: {city: string, street: {type: string, tags: ["pii:address"]}}}
"""


def manifest(*, domain="sales", name="orders", fields=FIELDS, more=""):
    return Manifest.parse(HEAD.format(domain=domain, name=name) + more + fields + TAIL)


ORDERS = manifest()


def read(text, manifests=(ORDERS,), source="policies/p.yaml"):
    return read_policies([(source, text)], manifests)


def policies(text, manifests=()) -> PolicySet:
    found, diagnostics = read("version: 1\n" + text, manifests)
    assert [d for d in diagnostics if d.severity == "error"] == []
    return found


def who(*roles, subject="ana", issuer="dev", **attributes):
    return Principal(subject, roles, attributes, issuer)


GRANT = "grants: [{id: g1, products: [sales.*]}]\n"
