"""Resources on the servers of mesh.yaml `sources`: S3 folders and users, Postgres views and roles, Kafka topics. Target `local` is these."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from meshkit.errors import MeshkitError
from meshkit.provision.compile import ProductGraph
from meshkit.provision.policies import Place, count_actions, publisher_statements, reader_statements, to_document
from meshkit.provision.resources import bounded
from meshkit.types.quantities import parse_duration

__all__ = ["compile_servers"]

DLQ_RETENTION_MS = 30 * 86_400_000
DEFAULT_RETENTION_MS = 7 * 86_400_000


def compile_servers(product: ProductGraph) -> None:
    """Add everything that one product needs."""
    if "publisher" in product.readers:
        hint = "Call the role otherwise: `publisher` is the role that writes."
        product.problem("role_name", "a reader role is called publisher", hint, "roles", "publisher")
        return
    files: dict[str, dict[Place, str]] = {}
    relations: dict[str, list[str]] = {}
    for name, port in product.manifest.ports.items():
        location = product.location(name)
        if location is None:
            continue
        if port.kind == "file":
            _file_port(product, name, location, files)
        elif port.kind == "postgres":
            _postgres_port(product, name, location, relations)
        elif port.kind == "kafka":
            product.endpoints[name] = location
        else:
            product.skip(name, f"no backend for {port.kind} on target {product.target.name}")
    _topics(product)
    _identities(product, files)
    _postgres_roles(product, relations)


def _source(product: ProductGraph, port: str, location: str, kind: str) -> tuple[str, Any] | None:
    try:
        name, source = product.target.source_for(location, port)
    except MeshkitError as error:
        product.problem(error.code.partition(".")[2], error.message, "", "ports", port, "location")
        return None
    if source.kind != kind:
        product.skip(port, f"source {name} is {source.kind}, the port is {kind}")
        return None
    return name, source


# Files ----------------------------------------------------------------------------------------------------------------------------


def _file_port(product: ProductGraph, port: str, location: str, files: dict[str, dict[Place, str]]) -> None:
    scheme = location.partition("://")[0] if "://" in location else "file"
    if scheme == "file":
        product.endpoints[port] = location if "://" in location else str(product.manifest.folder / location)
        return
    if scheme != "s3":
        product.skip(port, f"no backend for {scheme}:// on target {product.target.name}")
        return
    found = _source(product, port, location, "s3")
    names = product.manifest.ports[port].objects or tuple(product.manifest.objects)
    for object_name in names if found else ():
        filled = product.location(port, object_name=object_name)
        place = product.place(port, filled, whole_bucket=False) if filled else None
        if place is None or found is None:
            return
        bucket = product.node("s3.bucket", place.bucket, found[0], owner=product.domain_urn, shared=True)
        prefix = product.node("aws.s3_prefix", f"{place.bucket}/{place.prefix}", found[0], needs=(bucket,), fields={})
        files.setdefault(found[0], {})[place] = prefix
        product.endpoints.setdefault(port, f"s3://{place.bucket}/{place.prefix}/")
    _direct_reads(product, port)


def _direct_reads(product: ProductGraph, port: str) -> None:
    """Direct reads pass no mask, so the plan says for whom such a credential is."""
    columns = product.sensitive_columns(port)
    if columns:
        product.notes[
            f"port {port} has personal data ({', '.join(columns)}): its reader credential is for engines that mask, not for people"
        ] = None


def _identities(product: ProductGraph, files: dict[str, dict[Place, str]]) -> None:
    if len(files) > 1:
        hint = "Put the file ports of one product into one object store, or make two products."
        product.problem(
            "two_stores", f"file ports of {product.manifest.id} lie in {' and '.join(sorted(files))}", hint, "ports"
        )
        return
    for source, places in files.items():
        product.not_enforced["s3.public_access_block"] = None
        if str(getattr(product.target.config.sources[source], "endpoint", None) or "").startswith("http://"):
            product.not_enforced["tls"] = None
        for role in ("publisher", *product.readers):
            statements = (
                publisher_statements(places, with_parts=False) if role == "publisher" else reader_statements(places)
            )
            policy = to_document(statements)
            name = bounded(f"mk.{product.manifest.id}.{role}", 64)
            product.node(
                "s3.identity", name, source, needs=tuple(sorted(places.values())), summary=_counted(policy),
                fields={"policy": policy, "other_policies": [], "credential": "stored"}, context={"product": product.manifest.id, "role": role},
            )  # fmt: skip
            _credential(product, role)


def _counted(policy: dict[str, Any]) -> str:
    titles = {"s3": "S3", "glue": "Glue", "kms": "KMS"}
    return ", ".join(f"{n} {titles.get(s, s)}" for s, n in count_actions(policy).items()) + " actions"


def _credential(product: ProductGraph, role: str) -> None:
    product.roles[role] = str(product.target.credentials / f"{product.manifest.id}.{role}.json")


# Postgres -------------------------------------------------------------------------------------------------------------------------


def _postgres_port(product: ProductGraph, port: str, location: str, relations: dict[str, list[str]]) -> None:
    found = _source(product, port, location, "postgres")
    if found is None:
        return
    parts = urlsplit(location)
    path = [unquote(p) for p in parts.path.split("/") if p]
    schema, _, relation = (path[1] if len(path) == 2 else "").partition(".")
    if not schema or not relation:
        hint = "Write postgresql://host/database/schema.view."
        product.problem(
            "relation", f"the location of port {port} names no schema and view", hint, "ports", port, "location"
        )
        return
    source = found[0]
    product.endpoints[port] = location
    relations.setdefault(source, []).append(f"{schema}.{relation}")
    mapping = _mapping(product, port, f"{schema}.{relation}")
    if mapping is not None:
        parent = product.node(
            "postgres.schema",
            f"{source}/{schema}",
            source,
            owner=product.domain_urn,
            shared=True,
            context={"schema": schema},
        )
        product.node(
            "postgres.view", f"{source}/{schema}.{relation}", source, needs=(parent,), fields={"definition": mapping}, optional=True,
            context={"schema": schema, "view": relation},
        )  # fmt: skip
    _direct_reads(product, port)


def _mapping(product: ProductGraph, port: str, view: str) -> dict[str, Any] | None:
    """Table and columns of the view behind a port, by the `source` mapping; None where the port is no view of ours."""
    m = product.manifest
    tables = [t for t in (m.source or {}).get("tables") or () if isinstance(t, dict)]
    named = m.ports[port].objects or (m.main_object,)
    table = next((t for t in tables if t.get("object", m.main_object) == named[0]), None)
    if table is None or table.get("table") == view:
        return None
    columns = table.get("map") or {}
    if not all(isinstance(v, str) and v.isidentifier() for v in columns.values()) or not columns:
        product.skip(port, f"its view is not made: the mapping of {table.get('table')} has more than plain columns")
        return None
    return {"table": str(table["table"]), "columns": {str(k): str(v) for k, v in columns.items()}}


def _postgres_roles(product: ProductGraph, relations: dict[str, list[str]]) -> None:
    for source, names in relations.items():
        for role in product.readers:
            reads = [["usage", n.partition(".")[0]] for n in names] + [["select", *n.split(".", 1)] for n in names]
            needs = [n.id for n in product.nodes.values() if n.kind == "postgres.view" and n.source == source]
            _role_node(product, source, role, reads, needs=needs, replication=False)
    source_map = product.manifest.source or {}
    tables = [t for t in source_map.get("tables") or () if isinstance(t, dict) and t.get("table")]
    if not tables:
        return
    found = product.target.database(str(source_map.get("database", "")))
    if found is None:
        product.skip(
            "source", f"no single postgres source serves database {source_map.get('database')}: no publisher role there"
        )
        return
    grants: list[list[str]] = []
    for table in tables:
        schema = str(table["table"]).partition(".")[0] if "." in str(table["table"]) else "public"
        relation = str(table["table"]).rpartition(".")[2]
        grants += [["usage", schema], *(["select", schema, relation, c] for c in sorted(_columns(table)))]
    _role_node(product, found[0], "publisher", grants, needs=[], replication=True)


def _columns(table: dict[str, Any]) -> set[str]:
    return {v for v in (table.get("map") or {}).values() if isinstance(v, str) and v.isidentifier()}


def _role_node(
    product: ProductGraph, source: str, role: str, grants: list[list[str]], *, needs: list[str], replication: bool
) -> None:
    m = product.manifest
    name = bounded(f"mk_{m.domain}_{m.name}_{role}".replace(".", "_"), 63)
    product.node(
        "postgres.role", f"{source}/{name}", source, needs=tuple(sorted(needs)),
        fields={"attributes": ["login", *(["replication"] if replication else [])], "member_of": [], "grants": _unique(grants), "credential": "stored"},
        context={"role_name": name, "product": m.id, "role": role, "made_here": [i.split("/", 2)[2] for i in needs]}, summary="replication" if replication else "",
    )  # fmt: skip
    _credential(product, role)


def _unique(grants: list[list[str]]) -> list[list[str]]:
    return [list(g) for g in sorted({tuple(g) for g in grants})]


# Kafka ----------------------------------------------------------------------------------------------------------------------------


def _topics(product: ProductGraph) -> None:
    """The product's topic, its dead letters, and the domain's positions: where there is a kafka port or a `source`."""
    m = product.manifest
    ports = {n: p for n, p in m.ports.items() if p.kind == "kafka"}
    if not ports and not m.source:
        return
    source = _kafka_source(product, ports)
    if source is None:
        return
    topic = f"mesh.{m.id}.v{m.major}"
    for name in ports:
        wanted = urlsplit(product.endpoints.get(name, "")).path.strip("/")
        if wanted != topic:
            product.skip(name, f"its topic {wanted} is not {topic}, the one topic that is made for this product")
    settings = product.target.settings.kafka
    shape = {
        "partitions": settings.partitions,
        "replication": settings.replication,
        "min.insync.replicas": str(max(1, settings.replication - 1)),
    }
    keyed = any(p.key for p in ports.values()) or bool(m.source)
    policy = {"cleanup.policy": "compact" if keyed else "delete"}
    product.node(
        "kafka.topic",
        topic,
        source,
        fields={**shape, **policy, "retention.ms": "-1" if keyed else str(_retention_ms(product))},
    )
    letters = {"cleanup.policy": "delete", "retention.ms": str(DLQ_RETENTION_MS)}
    product.node("kafka.topic", f"{topic}.dlq", source, fields={**shape, **letters})
    if m.source:
        one = {**shape, "partitions": 1, "cleanup.policy": "compact", "retention.ms": "-1"}
        product.node("kafka.topic", f"mesh.{m.domain}._positions", source, owner=product.domain_urn, fields=one)
    product.not_enforced["kafka.acls"] = None


def _kafka_source(product: ProductGraph, ports: dict[str, Any]) -> str | None:
    for name in ports:
        found = _source(product, name, product.endpoints.get(name, ""), "kafka") if name in product.endpoints else None
        if found:
            return found[0]
    if ports:
        return None
    brokers = [n for n, s in product.target.config.sources.items() if s.kind == "kafka"]
    if len(brokers) == 1:
        return brokers[0]
    product.skip(
        "source",
        f"{len(brokers)} kafka sources in mesh.yaml, one is needed for topics of a product without a kafka port",
    )
    return None


def _retention_ms(product: ProductGraph) -> int:
    promised = [s.at_least for s in product.manifest.slos.values() if s.kind == "retention" and s.at_least]
    return max(
        (int(parse_duration(p).timedelta().total_seconds() * 1000) for p in promised), default=DEFAULT_RETENTION_MS
    )
