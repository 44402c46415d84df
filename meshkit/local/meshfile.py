"""What others read about a local mesh: the generated `mesh.yaml`, files with secrets, environment variables. Pure but for `write_mesh_file`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from meshkit.local.graph import KafkaProbe, PostgresProbe, S3Probe, Service
from meshkit.local.layout import Layout, write_file

__all__ = ["Endpoints", "render_environment", "render_mesh_file", "to_endpoints", "write_mesh_file"]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the local servers are, and their keys. None for a service that the stack does not have."""

    postgres_dsn: str | None = field(default=None, repr=False)
    s3_endpoint: str | None = None
    s3_key: str | None = field(default=None, repr=False)
    s3_secret: str | None = field(default=None, repr=False)
    s3_region: str = "us-east-1"
    kafka_bootstrap: str | None = None
    gateway_url: str | None = None
    control_url: str | None = None


def to_endpoints(services: Iterable[Service]) -> Endpoints:
    """Endpoints of a graph."""
    facts: dict[str, str] = {}
    for service in services:
        match service.ready:
            case PostgresProbe(port, user, password):
                facts["postgres_dsn"] = (
                    f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{port}/postgres"
                )
            case S3Probe(_, key, secret, region):
                facts |= {"s3_endpoint": service.url, "s3_key": key, "s3_secret": secret, "s3_region": region}
            case KafkaProbe():
                facts["kafka_bootstrap"] = service.url
            case _ if service.name in {"gateway", "control"}:
                facts[f"{service.name}_url"] = service.url
    return Endpoints(**facts)


def render_environment(endpoints: Endpoints, mesh_file: Path) -> dict[str, str]:
    """Variables that `meshkit status --env` exports; AWS SDKs find the local S3 by them."""
    values = {
        "MESHKIT_CONFIG": str(mesh_file),
        "MESHKIT_SOURCE_DSN": endpoints.postgres_dsn,
        "MESHKIT_KAFKA_BOOTSTRAP": endpoints.kafka_bootstrap,
        "AWS_ENDPOINT_URL_S3": endpoints.s3_endpoint,
        "AWS_ACCESS_KEY_ID": endpoints.s3_key,
        "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret,
        "AWS_REGION": endpoints.s3_region if endpoints.s3_endpoint else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def render_mesh_file(layout: Layout, endpoints: Endpoints, *, extends: bool) -> str:
    """Text of `.mesh/mesh.yaml`. Secrets stand in files beside it, by absolute path, never here."""
    text = json.dumps  # a JSON string is a YAML string
    lines = [
        "# Written by `meshkit up`; it is written anew at every start. Edit ../mesh.yaml instead.",
        "apiVersion: meshkit/v1",
        "kind: Mesh",
    ]
    lines += ["extends: ../mesh.yaml"] if extends else ["name: local"]
    lines += ["environment: local", f"state: {text(f'sqlite:///{layout.root}/state.db')}", "default_principal: analyst"]
    sources = _sources(layout, endpoints)
    lines += ["sources:", *sources] if sources else ["sources: {}"]
    lines += ["auth:", "  dev_principals:", "    admin: {roles: [admin]}", "    analyst: {roles: [analyst]}"]
    lines += ["provision: {default_target: local}"]
    return "\n".join(lines) + "\n"


def _sources(layout: Layout, endpoints: Endpoints) -> list[str]:
    def secret(name: str) -> str:
        return json.dumps(f"file:{layout.credential(name)}")

    lines: list[str] = []
    if endpoints.postgres_dsn:
        lines.append(f"  local_pg: {{kind: postgres, dsn: {secret('postgres.dsn')}}}")
    if endpoints.s3_endpoint:
        lines.append(
            f"  lake: {{kind: s3, endpoint: {json.dumps(endpoints.s3_endpoint)}, region: {endpoints.s3_region}, "
            f'key: {secret("s3.key")}, secret: {secret("s3.secret")}, serves: ["s3://"]}}'
        )
    if endpoints.kafka_bootstrap:
        lines.append(
            f"  bus: {{kind: kafka, bootstrap: {json.dumps(endpoints.kafka_bootstrap)}, security: {{protocol: plaintext}}, "
            f'delivery: at_least_once, serves: ["kafka://"]}}'
        )
    return lines


def write_mesh_file(layout: Layout, endpoints: Endpoints) -> None:
    """Write `mesh.yaml` and the data source name that it refers to."""
    if endpoints.postgres_dsn:
        write_file(layout.credential("postgres.dsn"), endpoints.postgres_dsn)
    extends = (layout.root.parent / "mesh.yaml").is_file()
    write_file(layout.mesh, render_mesh_file(layout, endpoints, extends=extends))
