"""`diff(old, new)`: what changed in meaning between two versions of a contract. Pure. Source: manifest-and-contracts section 5.

A contract permits a set of data and promises; a change loosens it (L), tightens it (T), both (B), is undecidable (U), documents (D) or
touches governance (G). For consumers L and B are major, T minor, U needs review, D is a patch, G a matter of policy. For producers L and T
change places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from meshkit.contracts import diff_fields, diff_promises
from meshkit.contracts.models import CLASS_ORDER, Change, ChangeClass, ContractDiff, Effect

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["Perspective", "diff"]

Perspective = Literal["consumer", "producer", "both"]
_CONSUMER: dict[Effect, ChangeClass] = {
    "loosens": "major", "both": "major", "tightens": "minor", "undecidable": "review", "documents": "patch", "governance": "policy",
}  # fmt: skip
_PRODUCER: dict[Effect, ChangeClass] = _CONSUMER | {"loosens": "minor", "tightens": "major"}
# rules whose class the table fixes otherwise than their effect says, for consumers
_FIXED: dict[str, ChangeClass] = {
    "field.deprecated": "minor", "object.deprecated": "minor", "port.deprecated": "minor", "object.kind_changed": "minor",
    "type.narrowed": "major", "status.promoted": "minor", "status.deprecated": "minor", "support.removed": "minor",
    "partition.changed": "patch", "type.widened": "minor",
}  # fmt: skip
_STREAMED = {"kafka", "http"}


def diff(old: Manifest, new: Manifest, *, perspective: Perspective = "consumer") -> ContractDiff:
    """All changes of meaning from `old` to `new`. `consumer` protects readers (FORWARD), `producer` writers (BACKWARD), `both` is FULL.

    Source: section 5 of the design. Never raises for two valid manifests of one product; other products compare too, as `contract.id_changed`.
    """
    found = [
        *diff_promises.product_changes(old, new),
        *diff_fields.object_changes(old, new),
        *diff_promises.port_changes(old, new),
    ]
    found += [*diff_promises.slo_changes(old, new), *diff_promises.quality_changes(old, new)]
    changes = [_classified(c, new, perspective) for c in found]
    changes = [replace(c, fingerprint=c.marked(old.id, old.major), location=_place(new, c)) for c in changes]
    changes.sort(key=lambda c: (CLASS_ORDER.index(c.change_class), c.path, c.rule))
    return ContractDiff(
        new.id, old.version, new.version, tuple(changes), perspective, deprecated=dict(_deprecated(old))
    )


def _classified(change: Change, new: Manifest, perspective: Perspective) -> Change:
    consumer, producer = _for_consumer(change, new), _for_producer(change)
    chosen = {"consumer": consumer, "producer": producer, "both": min(consumer, producer, key=CLASS_ORDER.index)}[
        perspective
    ]
    ports = change.ports or tuple(_serving(new, change))
    return replace(change, change_class=chosen, producer_risk=change.effect in {"tightens", "both"}, ports=ports)


def _for_consumer(change: Change, new: Manifest) -> ChangeClass:
    if change.rule == "type.widened" and any(
        new.ports[p].kind in _STREAMED or new.ports[p].format in {"avro", "protobuf"} for p in _serving(new, change)
    ):
        return "major"  # readers of events have the old type compiled in
    if change.rule == "enum.value_added" and change.change_class == "minor":
        return "minor"  # the old enum was declared open
    return _FIXED.get(change.rule, _CONSUMER[change.effect])


def _for_producer(change: Change) -> ChangeClass:
    if change.rule == "field.added":
        return "major" if isinstance(change.after, dict) and change.after.get("required") else "minor"
    return _FIXED.get(change.rule, _PRODUCER[change.effect]) if change.rule != "type.narrowed" else "major"


def _serving(manifest: Manifest, change: Change) -> Iterator[str]:
    """Ports that serve the object a change is in."""
    object_name = next((name for kind, name in change.path if kind == "object"), None)
    for name, port in manifest.ports.items():
        if object_name is None or not port.objects or object_name in port.objects:
            yield name


def _deprecated(old: Manifest) -> Iterator[tuple[str, Any]]:
    from meshkit.contracts.models import show_path

    for object_name, item in old.objects.items():
        if item.deprecated:
            yield object_name, item.deprecated
        for steps, field in item.walk():
            if field.deprecated:
                kinds = tuple(
                    (("items", "") if s == "[]" else ("values", "") if s == "{}" else ("field", s)) for s in steps
                )
                yield show_path((("object", object_name), *kinds)), field.deprecated
    for name, port in old.ports.items():
        if port.deprecated:
            yield f"port {name}", port.deprecated


_SECTIONS = {"object": "schema", "port": "ports", "slo": "slos", "quality": "quality", "field": "fields"}


def _place(new: Manifest, change: Change) -> tuple[str, Any] | None:
    """Where a reader should look: in the new file, at the nearest part that is still there."""
    steps: list[str | int] = []
    for kind, name in change.path:
        if kind in _SECTIONS:
            steps += [_SECTIONS[kind], name]
        elif kind in {"items", "values"}:
            steps.append(kind)
        elif kind == "part":
            steps.append(name)
    span = new.span(*steps)
    return (new.source_name, span) if span is not None else None
