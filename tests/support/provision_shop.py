"""Manifests and mesh.yaml files for tests of provisioning, and backends that live in memory."""

import itertools
from dataclasses import replace
from pathlib import Path

from meshkit.config import MeshConfig, parse_config
from meshkit.manifest import Manifest
from meshkit.provision import AlreadyExists, Marker, Observed, Target

HEAD = """\
apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: {name}
version: 1.2.0
status: active
owner: {{team: t, contact: t@x.org}}
description: {{purpose: "For tests."}}
support: [{{channel: "#x"}}]
"""
SOURCES = """\
  lake: {kind: s3, endpoint: "http://127.0.0.1:1", key: k, secret: s, serves: ["s3://"]}
  pg: {kind: postgres, dsn: "postgresql://u:p@127.0.0.1:1/shop", serves: ["postgresql://db.shop/shop"]}
  bus: {kind: kafka, bootstrap: "127.0.0.1:1", serves: ["kafka://"]}
"""


def file_product(
    domain="sales", name="orders", location="s3://acme-lake/sales/orders/v{major}/*.parquet", *, extra="", email=""
) -> Manifest:
    text = HEAD.format(domain=domain, name=name) + (
        f"schema: {{{name}: {{fields: {{id: {{type: int64, required: true, key: 1}}, total: {{type: 'decimal(12,2)'}}{email}}}}}}}\n"
        f'ports: {{lake: {{kind: file, location: "{location}", format: parquet}}}}\n'
        "slos: {freshness: {within: 1h, target: 99%}}\n" + extra
    )
    return Manifest.parse(text, source=f"{name}.yaml")


def database_product(
    name="orders", *, table="public.orders", view="mesh.orders", columns="id: id, total: amount", mapped=True
) -> Manifest:
    source = f"source: {{database: shop, tables: [{{table: {table}, map: {{{columns}}}}}]}}\n" if mapped else ""
    topic = (
        f'  events: {{kind: kafka, location: "kafka://bus/mesh.sales.{name}.v{{major}}", format: json, key: id}}\n'
        if mapped
        else ""
    )
    text = HEAD.format(domain="sales", name=name) + (
        f"schema: {{{name}: {{fields: {{id: {{type: int64, required: true, key: 1}}, total: {{type: 'decimal(12,2)'}}}}}}}}\n"
        f'ports:\n  warehouse: {{kind: postgres, location: "postgresql://db.shop/shop/{view}"}}\n{topic}'
        f"slos: {{freshness: {{within: 1h, target: 99%}}}}\n{source}"
    )
    return Manifest.parse(text, source=f"{name}.yaml")


def mesh_config(folder: Path, *, sources=SOURCES, provision="", name="acme", environment="local") -> MeshConfig:
    text = (
        f"name: {name}\nenvironment: {environment}\nsources:\n{sources}"
        if sources
        else f"name: {name}\nenvironment: {environment}\n"
    )
    return parse_config(text + provision, folder=folder)


AWS = """\
provision:
  targets:
    prod:
      aws: {account: "111122223333", region: eu-central-1%s}
      publishers: {sales: ["arn:aws:iam::111122223333:role/sales-ci"]}
      engines: ["arn:aws:iam::111122223333:role/mesh-gateway"]
"""


class MemoryKind:
    """A kind of resource in a dictionary; remembers every write."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.things: dict[str, Observed] = {}
        self.writes: list[tuple[str, str]] = []

    def read(self, node):
        return self.things.get(node.id)

    def create(self, node):
        if node.id in self.things:
            raise AlreadyExists(f"{node.id} exists already")
        self.writes.append(("create", node.id))
        self.things[node.id] = Observed(
            dict(node.fields), Marker(node.owner, self.target.mesh, self.target.environment)
        )

    def update(self, node, changes):
        self.writes.append(("update", node.id))
        seen = self.things[node.id]
        self.things[node.id] = replace(seen, fields={**seen.fields, **{c.path: c.after for c in changes}})


class MemoryBackend:
    """All kinds in memory: satisfies `Backend`."""

    name = "memory"
    calls = 0

    def __init__(self, target: Target) -> None:
        names = ("s3.bucket", "aws.s3_prefix", "s3.identity", "postgres.schema", "postgres.view", "postgres.role", "kafka.topic",
                 "aws.s3_bucket", "aws.glue_database", "aws.glue_table", "aws.iam_role")  # fmt: skip
        self.kinds = {n: MemoryKind(target) for n in names}

    @property
    def writes(self):
        return [w for k in self.kinds.values() for w in k.writes]

    def thing(self, node_id):
        return self.kinds[node_id.partition("/")[0]].things.get(node_id)

    def put(self, node_id, observed):
        self.kinds[node_id.partition("/")[0]].things[node_id] = observed

    def check(self, nodes):
        return []

    def owned(self, graph):
        return []

    def close(self):
        pass


class Killed(BaseException):
    """The process is gone: nothing after this runs."""


class KilledAt:
    """Wraps a backend: the process dies before or after its `n`-th call that may write."""

    def __init__(self, backend, n: int, *, after: bool) -> None:
        self.backend, self.n, self.after = backend, n, after
        self._numbers = itertools.count(1)
        self.name = backend.name
        self.kinds = {name: _KilledKind(self, kind) for name, kind in backend.kinds.items()}

    @property
    def calls(self):
        return self.backend.calls

    def check(self, nodes):
        return self.backend.check(nodes)

    def owned(self, graph):
        return self.backend.owned(graph)

    def close(self):
        self.backend.close()

    def around(self, call):
        mine = next(self._numbers)  # of this call: several run at a time
        if mine == self.n and not self.after:
            raise Killed
        result = call()
        if mine == self.n:
            raise Killed
        return result


class _KilledKind:
    def __init__(self, owner, kind) -> None:
        self.owner, self.kind = owner, kind

    def read(self, node):
        return self.kind.read(node)

    def create(self, node):
        return self.owner.around(lambda: self.kind.create(node))

    def update(self, node, changes):
        return self.owner.around(lambda: self.kind.update(node, changes))
