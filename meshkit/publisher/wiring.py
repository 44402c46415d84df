"""From manifest and mesh.yaml to a source and sinks. Source: publisher section 12 `Wiring`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from meshkit._storage import fixed_part
from meshkit.config import KafkaSource, MeshConfig
from meshkit.config import PostgresSource as PostgresConfig
from meshkit.errors import UsageError
from meshkit.manifest import Manifest
from meshkit.ports import Sink
from meshkit.publisher.errors import NotInThisRelease
from meshkit.publisher.settings import PublisherSettings
from meshkit.publisher.sinks.kafka import KafkaSink
from meshkit.publisher.sinks.parquet import ParquetSink
from meshkit.publisher.sources.postgres import PostgresSource

__all__ = ["Parts", "publisher_parts"]

_SOURCE_OPTIONS = ("slot", "publication", "manage", "failover", "slot_wait_seconds", "spool_dir", "max_spool_bytes")


@dataclass(frozen=True, slots=True)
class Parts:
    """What `Publisher(...)` takes."""

    manifest: Manifest
    source: PostgresSource
    sinks: tuple[Sink, ...]
    settings: PublisherSettings


def publisher_parts(manifest: Manifest, config: MeshConfig, source_dsn: str | None = None) -> Parts:
    """Source and sinks of a product. Raises: `UsageError` naming what is missing in mesh.yaml or the manifest."""
    source, options = _source(manifest, config, source_dsn)
    known = {*_SOURCE_OPTIONS, *PublisherSettings.model_fields}
    unknown = sorted(set(options) - known)
    if unknown:
        raise UsageError(
            f"the source of {manifest.id} has unknown options {', '.join(unknown)}. Known are {', '.join(sorted(known))}"
        )
    try:
        settings = PublisherSettings.model_validate(
            {k: v for k, v in options.items() if k in PublisherSettings.model_fields}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"option {first['loc'][0]} of the source: {first['msg']}") from None
    return Parts(manifest, source, _sinks(manifest, config), settings)


def _source(manifest: Manifest, config: MeshConfig, source_dsn: str | None) -> tuple[PostgresSource, Mapping[str, Any]]:
    name = (manifest.source or {}).get("database")
    postgres = {n: s for n, s in config.sources.items() if isinstance(s, PostgresConfig)}
    chosen = postgres.get(str(name)) or next(
        (s for s in postgres.values() if urlsplit(s.dsn.reveal()).path == f"/{name}"), None
    )
    if chosen is None and source_dsn is None:
        raise UsageError(
            f"{manifest.id} reads database {name}, but no postgres source of mesh.yaml is called so or has it. "
            "Add one to `sources`, or set MESHKIT_SOURCE_DSN", code="publisher.no_source",
        )  # fmt: skip
    options = chosen.options if chosen is not None else {}
    dsn = chosen.dsn.reveal() if chosen is not None else str(source_dsn)
    given = {k: v for k, v in options.items() if k in _SOURCE_OPTIONS}
    return PostgresSource(dsn, **given), options


def _sinks(manifest: Manifest, config: MeshConfig) -> tuple[Sink, ...]:
    sinks: list[Sink] = []
    for name, port in manifest.ports.items():
        if port.kind == "kafka":
            sinks.append(_kafka(manifest, name, config))
        elif port.kind == "file":
            if port.format != "parquet":
                raise NotInThisRelease(
                    f"port {name} is a file port of format {port.format}; streams are written as parquet"
                )
            found = config.source_for(manifest.location(name), port=name)
            options = found[1].storage_options() if found else {}
            location = manifest.location(name)
            if "://" not in location:
                location = str(manifest.folder / location)
            sinks.append(ParquetSink(table_url=fixed_part(location), storage_options=options, name=name))
    if not sinks:
        raise UsageError(
            f"{manifest.id} has no port of kind kafka or file to publish to. Add one to `ports`",
            code="publisher.no_sink",
        )
    return tuple(sinks)


def _kafka(manifest: Manifest, port_name: str, config: MeshConfig) -> KafkaSink:
    port = manifest.ports[port_name]
    if port.format not in {None, "json"}:
        raise NotInThisRelease(f"port {port_name} has format {port.format}; only json is in this release")
    location = manifest.location(port_name)
    found = config.source_for(location, port=port_name)
    if found is None or not isinstance(found[1], KafkaSource):
        raise UsageError(
            f"port {port_name} is served by no kafka source. Add one to `sources` of mesh.yaml",
            code="publisher.no_sink",
        )
    broker = found[1]
    topic = location.removeprefix("kafka://").rpartition("/")[2]
    options = {"create_topics": config.is_local, **broker.options}
    return KafkaSink(
        broker.bootstrap,
        topic=topic or None,
        delivery=broker.delivery,
        security=broker.security,
        name=port_name,
        **options,
    )
