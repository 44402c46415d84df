"""Who is hurt by a change: consumers from other manifests, and which of them read what a change touches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshkit.contracts.models import Change
from meshkit.errors import MeshkitError
from meshkit.ports import Consumer, ConsumerLookup, ConsumerSet

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["Impact", "ManifestConsumers", "impact_of", "lookup"]


class ManifestConsumers:
    """Consumers as their own manifests declare them in `inputs`. The producer never lists them."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._manifests = tuple(manifests)

    def consumers(self, product: str) -> ConsumerSet:
        """Every product that names `product` among its inputs, by title."""
        found = []
        for manifest in self._manifests:
            for source in manifest.inputs.values():
                if source.product != product:
                    continue
                columns = (
                    None
                    if source.columns is None
                    else frozenset(f"{source.object}.{c}" if source.object else c for c in source.columns)
                )
                ports = frozenset([source.port]) if source.port else None
                version = str(source.version) if source.version else None
                name = manifest.title or manifest.id
                found.append(Consumer(name, manifest.id, columns, ports, version, contact=manifest.owner.contact))
        return ConsumerSet(tuple(found), complete=True, source="manifests")


@dataclass(frozen=True, slots=True)
class Impact:
    """Names of consumers by what a change does to them; `complete=False` means that there may be more."""

    affected: tuple[str, ...] = ()
    not_affected: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    complete: bool = True
    _reads: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def hurts(self) -> bool:
        """Whether someone is, or may be, affected."""
        return bool(self.affected or self.unknown or not self.complete)


def lookup(source: ConsumerLookup | Iterable[Consumer] | None, product: str) -> ConsumerSet:
    """Consumers of a product; a failed lookup is an incomplete set, never nobody."""
    if source is None:
        return ConsumerSet((), complete=False, source="none")
    if isinstance(source, Iterable) and not hasattr(source, "consumers"):
        return ConsumerSet(tuple(source), complete=True, source="given")
    try:
        return source.consumers(product)  # type: ignore[union-attr]
    except MeshkitError as error:
        return ConsumerSet((), complete=False, source=f"failed: {error.code}")


def impact_of(change: Change, consumers: ConsumerSet, *, old_version: str) -> Impact:
    """Each consumer is affected (reads a touched column of a touched port within its version range), not affected, or unknown."""
    groups: dict[str, list[Consumer]] = {"affected": [], "not_affected": [], "unknown": []}
    for consumer in _joined(consumers.consumers):
        groups[_judge(change, consumer, old_version)].append(consumer)
    names = {k: tuple(c.name for c in sorted(v, key=lambda c: (-c.reads, c.name))) for k, v in groups.items()}
    return Impact(names["affected"], names["not_affected"], names["unknown"], consumers.complete)


def _joined(consumers: Sequence[Consumer]) -> list[Consumer]:
    """One entry per name: columns and ports of all its inputs together; unknown ones win."""
    found: dict[str, Consumer] = {}
    for c in consumers:
        if c.name not in found:
            found[c.name] = c
            continue
        other = found[c.name]
        columns = None if c.columns is None or other.columns is None else c.columns | other.columns
        ports = None if c.ports is None or other.ports is None else c.ports | other.ports
        found[c.name] = Consumer(
            c.name,
            c.product,
            columns,
            ports,
            c.version or other.version,
            max(c.reads, other.reads),
            c.contact,
            c.source,
        )
    return list(found.values())


def _judge(change: Change, consumer: Consumer, old_version: str) -> str:
    from meshkit.types.quantities import parse_range

    if consumer.version is not None:
        try:
            if not parse_range(consumer.version).contains(old_version):
                return "not_affected"
        except MeshkitError:
            return "unknown"
    if consumer.ports is not None and change.ports and not consumer.ports & set(change.ports):
        return "not_affected"
    if change.path and change.path[0][0] == "port":
        return "affected" if consumer.ports is not None else "unknown"
    if not change.columns:
        return "affected"  # the whole product or object
    if consumer.columns is None:
        return "unknown"
    touched = {c.partition(".")[2] for c in change.columns} | set(change.columns)
    read = {c.partition(".")[0] if c not in touched and "." in c else c for c in consumer.columns} | set(
        consumer.columns
    )
    return "affected" if touched & read else "not_affected"
