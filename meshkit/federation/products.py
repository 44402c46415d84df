"""From manifests to what SQL sees: tables with typed columns, and the ports that can be queried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from meshkit.federation.names import Catalogue, TableColumn, TableInfo

if TYPE_CHECKING:
    from meshkit.manifest import FieldSchema, Manifest

__all__ = ["QueryablePort", "catalogue_of", "queryable_ports", "tables_of"]

FileFormat = Literal["parquet", "csv", "json", "postgres"]
_FORMATS: dict[str, FileFormat] = {"parquet": "parquet", "csv": "csv", "json": "json", "ndjson": "json"}


@dataclass(frozen=True, slots=True)
class QueryablePort:
    """A port that SQL can read, with its location filled in for one object."""

    name: str
    format: FileFormat
    location: str
    base: str  # where a relative location starts
    header: bool = True
    delimiter: str = ","
    lines: bool = False  # JSON: one value per line


def tables_of(manifest: Manifest) -> tuple[TableInfo, ...]:
    """The tables of a product, the main one first."""
    objects = sorted(manifest.objects, key=lambda name: name != manifest.main_object)
    return tuple(
        TableInfo(
            product=manifest.id,
            object=name,
            is_main=name == manifest.main_object,
            columns=tuple(
                TableColumn(n, f.data_type, required=bool(f.required), sensitive=_sensitive(f))
                for n, f in manifest.objects[name].fields.items()
            ),
        )
        for name in objects
    )


def catalogue_of(manifests: Iterable[Manifest]) -> Catalogue:
    """All tables of `manifests`."""
    return Catalogue.of(t for m in manifests for t in tables_of(m))


def _sensitive(field: FieldSchema) -> bool:
    stack = [field]
    while stack:
        part = stack.pop()
        if part.is_personal:
            return True
        stack.extend(part.children().values())
    return False


def queryable_ports(manifest: Manifest, object_name: str) -> tuple[QueryablePort, ...]:
    """Ports that serve `object_name` and that the engine reads, in the manifest's order."""
    found = []
    for name, port in manifest.ports.items():
        if port.objects and object_name not in port.objects:
            continue
        form = (
            "postgres" if port.kind == "postgres" else _FORMATS.get(port.format or "") if port.kind == "file" else None
        )
        if form is None:
            continue
        csv = port.csv
        found.append(
            QueryablePort(
                name=name,
                format=form,
                location=manifest.location(name, object_name=object_name),
                base=str(manifest.folder),
                header=bool(csv.header) if csv else True,
                delimiter=csv.delimiter if csv else ",",
                lines=port.format == "ndjson",
            )
        )
    return tuple(found)
