"""What policies point at: products and columns of manifests, by names, prefixes, tags and classes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from meshkit.manifest import CLASSES, Manifest, is_personal
from meshkit.types import DataType, Struct

__all__ = ["Target", "default_look", "matches_product", "matches_tag", "row_type", "targets"]

LINKAGE = "linkage"  # a product that links people is granted by its exact name only


@dataclass(frozen=True, slots=True)
class Target:
    """A column or nested path of a product. `label` names it in decisions: `email`, and `lines.sku` in other objects than the main one."""

    label: str
    address: str  # sales.orders.address.street: what `columns` of a rule name
    data_type: DataType
    tags: tuple[str, ...]
    classification: str | None
    column: str  # label of the top-level column it is part of

    @property
    def is_nested(self) -> bool:
        """Whether this is a part of a column."""
        return self.label != self.column


def targets(manifest: Manifest) -> Iterator[Target]:
    """Every column and nested path of every object."""
    for name, item in manifest.objects.items():
        main = name == manifest.main_object
        for path, field in item.walk():
            own = ".".join(path).replace(".[]", "[]").replace(".{}", "{}")
            label = own if main else f"{name}.{own}"
            address = f"{manifest.id}.{own}" if main else f"{manifest.id}__{name}.{own}"
            top = path[0] if main else f"{name}.{path[0]}"
            yield Target(label, address, field.data_type, tuple(map(normal_tag, field.tags)), field.classification, top)


def row_type(manifest: Manifest) -> Struct:
    """Row type of the main object: what row filters are about."""
    return manifest.objects[manifest.main_object].data_type


def normal_tag(tag: str) -> str:
    """`pii.email` is `pii:email`."""
    return "pii:" + tag[4:] if tag.startswith("pii.") else tag


def matches_tag(pattern: str, tag: str) -> bool:
    """Equal, or a prefix for a pattern that ends in `*`."""
    pattern = normal_tag(pattern)
    return tag.startswith(pattern[:-1]) if pattern.endswith("*") else tag == pattern


def matches_class(wanted: str, actual: str | None) -> bool:
    """The class itself and stricter ones."""
    return actual is not None and CLASSES.index(actual) >= CLASSES.index(wanted)


def matches_product(pattern: str, manifest: Manifest) -> bool:
    """`sales.orders`, or all that starts with what stands before a final `*`; never by prefix for a product that links people."""
    if pattern.endswith("*"):
        return LINKAGE not in manifest.tags and manifest.id.startswith(pattern[:-1])
    return pattern == manifest.id


def matches_column(pattern: str, target: Target) -> bool:
    """The column by its address, or what it contains."""
    return target.address == pattern or target.address.startswith((pattern + ".", pattern + "[]", pattern + "{}"))


_DEFAULTS: dict[str, tuple[str, dict[str, object]]] = {
    "email": ("email.partial", {}), "phone": ("last_n", {"n": 4}), "card": ("last_n", {"n": 4}), "name": ("redact", {}), "address": ("redact", {}),
    "contact": ("redact", {}), "free": ("redact", {}), "birth_date": ("date.trunc", {"unit": "year"}), "iban": ("hmac", {}), "id": ("hmac", {}),
    # `ip.prefix` and `postcode.prefix` are not in this release: the next stricter mask stands in
    "ip": ("redact", {}), "postcode": ("redact", {}), "salary": ("bucket", {"width": 10000}),
}  # fmt: skip


def default_look(tag: str) -> tuple[str, dict[str, object]]:
    """Mask and arguments of a tag that no rule speaks about; `null` for all that is not in the table."""
    return _DEFAULTS.get(tag.removeprefix("pii:"), ("null", {})) if is_personal(tag) and ":" in tag else ("null", {})
