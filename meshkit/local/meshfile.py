"""What others read about a local mesh: the generated `mesh.yaml`, files with secrets, environment variables. Pure but for `write_mesh_file`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from meshkit import _registry, _yaml
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


def render_mesh_file(
    layout: Layout, endpoints: Endpoints, *, base_keys: Collection[str] | None, sections: Collection[str]
) -> str:
    """Text of `.mesh/mesh.yaml`. Secrets stand in files beside it, never here.

    `base_keys` are the top-level keys of `../mesh.yaml`, which it then extends; what stands there stays, but for sources and state.
    `sections` are the sections that are known: a module that is not installed would make its section an unknown key.
    """
    text = json.dumps  # a JSON string is a YAML string
    keys = base_keys or ()
    lines = [
        "# Written by `meshkit up`, anew at every start. Write your own settings into ../mesh.yaml.",
        "apiVersion: meshkit/v1",
        "kind: Mesh",
    ]
    lines += ["name: local"] if base_keys is None else ["extends: ../mesh.yaml"]
    lines += ["environment: local", f"state: {text(f'sqlite:///{layout.root}/state.db')}"]
    lines += ["default_principal: analyst"] if "default_principal" not in keys else []
    sources = _sources(endpoints)
    lines += ["sources:", *sources] if sources else ["sources: {}"]
    if "auth" in sections and "auth" not in keys:
        lines += ["auth:", "  dev_principals:", "    admin: {roles: [admin]}", "    analyst: {roles: [analyst]}"]
    return "\n".join(lines) + "\n"


def _sources(endpoints: Endpoints) -> list[str]:
    def secret(name: str) -> str:
        return json.dumps(f"file:credentials/{name}")  # relative to mesh.yaml, so the directory can be moved

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
    text = render_mesh_file(
        layout,
        endpoints,
        base_keys=_base_keys(layout.root.parent / "mesh.yaml"),
        sections=_registry.names("config_sections"),
    )
    write_file(layout.mesh, text)


def _base_keys(path: Path) -> tuple[str, ...] | None:
    """Top-level keys of the hand-written file; None when there is none. A broken one is extended all the same: its reader reports it."""
    if not path.is_file():
        return None
    try:
        data = _yaml.parse(path.read_bytes(), source=str(path)).data
    except _yaml.YamlSyntaxError:
        return ()
    return tuple(data) if isinstance(data, dict) else ()
