"""Measuring a product now: per port the cheapest method that answers exactly. What can't be measured gives no evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from meshkit.errors import MeshkitError
from meshkit.log import get_logger
from meshkit.slo.evidence.footers import from_footers
from meshkit.slo.evidence.scan import from_postgres, from_scan
from meshkit.slo.models import Evidence, Promise
from meshkit.slo.promises import promises_of

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["Sources", "collect"]

log = get_logger(__name__)


class Sources(Protocol):
    """Says which source serves a location. `MeshConfig` is one."""

    def source_for(self, location: str, *, port: str = "") -> tuple[str, Any] | None:
        """Name and configuration, None for local files."""


def collect(
    manifest: Manifest, sources: Sources | None, *, now: datetime, run_id: str | None = None
) -> tuple[Evidence, ...]:
    """Evidence for every promise of `manifest` that can be measured at `now`. A port that fails is logged and stays unmeasured."""
    found: list[Evidence] = []
    by_port: dict[str, list[Promise]] = {}
    for promise in promises_of(manifest):
        by_port.setdefault(promise.port, []).append(promise)
    for name, promises in by_port.items():
        try:
            found += _port(manifest, name, promises, sources, now, run_id)
        except MeshkitError as error:
            log.warning("evidence.not_collected", product=manifest.id, port=name, code=error.code)
            found += [
                Evidence(manifest.id, name, "availability", now, "probe", n=1, bad=1)
                for p in promises
                if p.sli == "availability"
            ]
    return tuple(found)


def _port(
    manifest: Manifest, name: str, promises: list[Promise], sources: Sources | None, now: datetime, run_id: str | None
) -> Iterator[Evidence]:
    port = manifest.ports[name]
    location = manifest.location(name, object_name=promises[0].object_name)
    served = sources.source_for(location, port=f"{manifest.id}/{name}") if sources is not None else None
    if port.kind == "postgres" and served is not None:
        yield from from_postgres(promises, served[1].dsn.reveal(), location.rpartition("/")[2], now=now)
    if port.kind != "file":
        return
    options: Mapping[str, Any] | None = served[1].storage_options() if served is not None else None
    url = location if "://" in location else str(manifest.folder / location)
    found = list(from_footers(promises, url, options, now=now, run_id=run_id)) if port.format == "parquet" else []
    yield from found
    answered = {(e.sli, e.field) for e in found}
    left = [
        p for p in promises if (p.sli, p.field if p.sli == "freshness" else None) not in answered and p.sli != "quality"
    ]
    if left:
        yield from from_scan(left, url, port.format or "", options, now=now)
    elif any(p.sli == "availability" for p in promises):
        yield Evidence(manifest.id, name, "availability", now, "probe", n=1, bad=0)
