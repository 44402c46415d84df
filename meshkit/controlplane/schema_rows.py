"""The schema of a product as rows, with what this reader would see of each column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.errors import MeshkitError

if TYPE_CHECKING:
    from meshkit.controlplane.reader import Reader
    from meshkit.manifest import Manifest
    from meshkit.manifest.schema import FieldSchema

__all__ = ["SchemaRow", "schema_rows"]


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


def schema_rows(reader: Reader, manifest: Manifest) -> tuple[list[SchemaRow], int]:
    """Rows in the order of the manifest, and how many fields hold personal data."""
    decision = None
    if manifest.id in reader.mesh.manifests:
        decision = reader.mesh.decider.decide(manifest.id, reader.principal, purpose=None, now=reader.now)
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
    return rows, personal


def _seen(
    reader: Reader, manifest: Manifest, decision: object, object_name: str, path: tuple[str, ...], *, several: bool
) -> tuple[str, str | None]:
    from meshkit.ports import Decision

    if not isinstance(decision, Decision):
        return "unknown: not of this mesh", None
    if not decision.allow:
        return "nothing: not granted", None
    dotted = ".".join(path)
    names = (f"{object_name}.{dotted}", dotted, f"{object_name}.{path[0]}", path[0])
    found = next((decision.columns[n] for n in names if n in decision.columns), None)
    if found is None or (found.mask == "clear" and found.only_rows is None):
        return "as it is", None
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
