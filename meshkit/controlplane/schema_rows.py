"""The schema of a product as rows, with what this reader would see of each column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.errors import MeshkitError

if TYPE_CHECKING:
    from meshkit.controlplane.reader import Reader
    from meshkit.manifest import Manifest
    from meshkit.manifest.schema import FieldSchema
    from meshkit.ports import Decision

__all__ = ["SchemaRow", "SchemaView", "schema_view"]


@dataclass(frozen=True, slots=True)
class SchemaRow:
    """One field. `seen` is `as it is`, a mask, or `nothing`; `sample` a made-up value under the mask."""

    object_name: str | None
    name: str
    depth: int
    type: str
    meaning: str
    rules: str
    seen: str
    sample: str | None
    column: str


@dataclass(frozen=True, slots=True)
class SchemaView:
    """All rows, how many fields hold personal data, whether the reader may read at all, and for which purpose (None: any)."""

    rows: tuple[SchemaRow, ...]
    personal: int
    readable: bool
    purpose: str | None = None


def schema_view(reader: Reader, manifest: Manifest) -> SchemaView:
    """Rows in the order of the manifest."""
    decision, purpose = _decision(reader, manifest)
    several, rows, personal = len(manifest.objects) > 1, [], 0
    for object_name, item in manifest.objects.items():
        for number, (path, field) in enumerate(item.walk()):
            steps = [s for s in path if s not in {"[]", "{}"}]
            personal += field.is_personal
            if path[-1] in {"[]", "{}"}:
                continue
            seen, sample = _seen(reader, manifest, decision, object_name, path, several=several)
            rows.append(
                SchemaRow(object_name if several and number == 0 else None, path[-1], len(steps) - 1, _type(field), field.description or field.title or "",
                          _rules(field), seen, sample, path[0])
            )  # fmt: skip
    return SchemaView(tuple(rows), personal, decision is not None and decision.allow, purpose)


def _decision(reader: Reader, manifest: Manifest) -> tuple[Decision | None, str | None]:
    """The decision without a purpose, else with that of a live grant; None for a product whose policies are not of this mesh."""
    if manifest.id not in reader.mesh.manifests:
        return None, None
    decide = reader.mesh.decider.decide
    first = decide(manifest.id, reader.principal, purpose=None, now=reader.now)
    if not first.allow:
        for grant in reader.mesh.grants.grants_for(reader.principal, manifest.id, at=reader.now):
            found = decide(manifest.id, reader.principal, purpose=grant.purpose, now=reader.now)
            if found.allow:
                return found, grant.purpose
    return first, None


def _seen(
    reader: Reader,
    manifest: Manifest,
    decision: Decision | None,
    object_name: str,
    path: tuple[str, ...],
    *,
    several: bool,
) -> tuple[str, str | None]:
    if decision is None:
        return "unknown: not of this mesh", None
    if not decision.allow:
        return "nothing: not granted", None
    dotted = ".".join(path)
    names = (f"{object_name}.{dotted}", dotted, f"{object_name}.{path[0]}", path[0])
    found = next((decision.columns[n] for n in names if n in decision.columns), None)
    if found is None or (found.mask == "clear" and found.only_rows is None):
        return "as it is", None
    if found.reason == "not granted":
        return "nothing: not granted", None
    try:
        address = (
            f"{manifest.id}.{f'{object_name}.' if several and object_name != manifest.main_object else ''}{path[0]}"
        )
        sample = reader.mesh.why(address, principal=reader.principal).sample
    except MeshkitError:
        sample = None  # the mask is what counts; a shape is shown where one can be made
    return found.mask.replace(".", ", "), sample[1] if sample else None


def _type(field: FieldSchema) -> str:
    word = field.type.strip()
    if field.items is not None:
        return f"list of {field.items.type}"
    return f"map to {field.values.type}" if field.values is not None else word


def _rules(field: FieldSchema) -> str:
    parts = []
    if field.key is not None:
        parts.append("key")
    elif field.required:
        parts.append("required")
    if field.unique:
        parts.append("unique")
    if field.enum:
        shown = ", ".join(str(v) for v in field.enum[:6])
        parts.append(f"one of {shown}" + (", …" if len(field.enum) > 6 else ""))
    bounds = (
        ("at least", field.min),
        ("at most", field.max),
        ("above", field.exclusive_min),
        ("below", field.exclusive_max),
    )
    parts += [f"{word} {value}" for word, value in bounds if value is not None]
    if field.max_items is not None:
        parts.append(f"at most {field.max_items} items")
    if field.max_length is not None:
        parts.append(f"at most {field.max_length} characters")
    if field.pattern:
        parts.append(f"like {field.pattern}")
    if field.classification:
        parts.append(field.classification)
    if field.deprecated is not None:
        parts.append("deprecated")
    return ", ".join(parts)
