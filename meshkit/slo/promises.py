"""Promises of a manifest: which SLOs have an indicator, and what each one measures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from meshkit.manifest import resolve_field
from meshkit.slo.models import SCORED, Promise

if TYPE_CHECKING:
    from meshkit.manifest import Manifest, Slo

__all__ = ["promises_of", "unmonitored"]


def promises_of(manifest: Manifest) -> tuple[Promise, ...]:
    """Every SLO with an indicator, in the order of the file."""
    return tuple(_promises(manifest))


def unmonitored(manifest: Manifest) -> tuple[str, ...]:
    """SLOs whose kind has no indicator: shown as not monitored, not scored."""
    return tuple(name for name, slo in manifest.slos.items() if slo.kind not in SCORED)


def _promises(manifest: Manifest) -> Iterator[Promise]:
    slice_seconds = _slice_seconds(manifest)
    for name, slo in manifest.slos.items():
        if slo.kind not in SCORED:
            continue
        found = resolve_field(manifest, slo.field) if slo.field else None
        object_name = found[0] if found else manifest.main_object
        not_null = tuple(slo.not_null or (n for n, f in manifest.objects[object_name].fields.items() if f.required))
        column = slo.field.removeprefix(f"{object_name}.") if slo.field else None
        yield Promise(
            manifest.id, name, slo.kind, slo.port or next(iter(manifest.ports)), slo.target_ratio, _within(slo), column, object_name,
            not_null if slo.kind == "completeness" else (), slice_seconds,
        )  # fmt: skip


def _within(slo: Slo) -> timedelta | None:
    return slo.within.timedelta() if slo.within is not None else None


def _slice_seconds(manifest: Manifest) -> int:
    """`clamp(frequency.every / 12, 60 s, 6 h)`, 300 s without `frequency`."""
    every = next((s.every for s in manifest.slos.values() if s.kind == "frequency" and s.every is not None), None)
    return 300 if every is None else int(min(max(every.timedelta().total_seconds() / 12, 60), 6 * 3600))
