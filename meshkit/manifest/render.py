"""A manifest as people read it: text for `meshkit manifest show`, HTML for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshkit.manifest.model import Manifest

__all__ = ["ManifestView", "manifest_html", "manifest_text"]


@dataclass(frozen=True, slots=True)
class ManifestView:
    """`manifest show`: the value with its text and JSON forms."""

    manifest: Manifest

    def to_text(self) -> str:
        """For people."""
        return manifest_text(self.manifest)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.manifest.show/1`."""
        return {
            "format": "meshkit.manifest.show/1",
            "urn": self.manifest.versioned_urn,
            "digest": self.manifest.digest(),
            "manifest": self.manifest.plain(),
        }


def _rows(m: Manifest) -> list[tuple[str, str, str, str]]:
    """Object, field (dotted), type, notes."""
    rows = []
    for object_name, item in m.objects.items():
        for steps, field in item.walk():
            notes = [
                w
                for w, on in (("key", field.key is not None), ("required", field.required), ("unique", field.unique))
                if on
            ]
            notes += field.tags + ([field.classification] if field.classification else [])
            rows.append(
                (
                    object_name,
                    "".join(s if s in {"[]", "{}"} or i == 0 else f".{s}" for i, s in enumerate(steps)),
                    str(field.data_type),
                    ", ".join(notes),
                )
            )
    return rows


def manifest_text(m: Manifest) -> str:
    """Facts, schema, ports and promises in aligned columns."""
    lines = [
        f"{m.id} {m.version}  ({m.status})",
        m.description.purpose,
        f"Owner: {m.owner.team} <{m.owner.contact}>",
        "",
    ]
    rows = _rows(m)
    widths = [max((len(r[i]) for r in rows), default=0) for i in range(3)]
    lines += [f"  {r[0]:<{widths[0]}}  {r[1]:<{widths[1]}}  {r[2]:<{widths[2]}}  {r[3]}".rstrip() for r in rows]
    lines += ["", *(f"  port {name}: {port.title_text}  {m.location(name)}" for name, port in m.ports.items())]
    lines += [
        f"  slo {slo.summary(name)}" + (f" within {slo.within}" if slo.within else "") for name, slo in m.slos.items()
    ]
    lines += [f"  reads {s.product or s.external} as {name}" for name, s in m.inputs.items()]
    return "\n".join(lines)


def manifest_html(m: Manifest) -> str:
    """A small table that renders in light and dark notebooks."""
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(m))
    ports = "".join(
        f"<li>{escape(n)}: {escape(p.title_text)} <code>{escape(m.location(n))}</code></li>" for n, p in m.ports.items()
    )
    slos = ", ".join(escape(s.summary(n)) for n, s in m.slos.items())
    return (
        f"<div><strong>{escape(m.id)}</strong> {escape(m.version)} ({escape(m.status)})<br>{escape(m.description.purpose)}"
        f"<table><thead><tr><th>object</th><th>field</th><th>type</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
        f"<ul>{ports}</ul><p>{slos}</p></div>"
    )
