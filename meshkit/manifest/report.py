"""The result of `validate`: what a person reads, and what a program reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshkit.manifest.errors import Diagnostic, ManifestError

if TYPE_CHECKING:
    from meshkit.manifest.model import Manifest

__all__ = ["Checked", "Report"]

_SECTIONS = {
    "name": "Name", "domain": "Domain", "ports": "Output Ports", "slos": "Quality SLA", "owner": "Owner", "schema": "Schema",
    "inputs": "Inputs", "version": "Version", "status": "Status", "description": "Description", "support": "Support",
    "lifecycle": "Lifecycle", "docs": "Docs", "tags": "Tags", "custom": "Custom", "source": "Source",
}  # fmt: skip
_ORDER = ("Name", "Domain", "Output Ports", "Quality SLA", "Owner")


@dataclass(frozen=True, slots=True)
class Checked:
    """One file: its manifest if it could be read, and what was found in it."""

    file: str
    manifest: Manifest | None
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def ok(self) -> bool:
        """No error; warnings allowed."""
        return not any(d.severity == "error" for d in self.diagnostics)


@dataclass(frozen=True, slots=True)
class Report:
    """All files of one `validate` call, in path order. `exit_code` is 1 with errors (or with warnings, if those count)."""

    files: tuple[Checked, ...] = field(default_factory=tuple)
    warnings_as_errors: bool = False

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Of all files, in order."""
        return tuple(d for f in self.files for d in f.diagnostics)

    @property
    def errors(self) -> int:
        """How many diagnostics fail the report."""
        return sum(d.severity == "error" or self.warnings_as_errors for d in self.diagnostics)

    @property
    def ok(self) -> bool:
        """Whether nothing fails the report."""
        return self.errors == 0

    @property
    def exit_code(self) -> int:
        """0 or 1."""
        return 0 if self.ok else 1

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """The manifests without errors."""
        return tuple(f.manifest for f in self.files if f.manifest is not None and f.ok)

    def raise_for_errors(self) -> None:
        """Raises: `ManifestError` with all diagnostics if there is an error."""
        if not self.ok:
            raise ManifestError(self.diagnostics)

    def to_text(self) -> str:
        """One file: a line per section. Several: a line per file. Then the verdict."""
        lines = list(_one(self.files[0]) if len(self.files) == 1 else _many(self.files))
        plural = "" if self.errors == 1 else "s"
        lines.append("Validation Successful!" if self.ok else f"Validation Failed: {self.errors} error{plural}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.manifest.report/1`."""
        return {
            "format": "meshkit.manifest.report/1",
            "ok": self.ok,
            "files": [
                {"file": f.file, "product": f.manifest.id if f.manifest else None, "ok": f.ok} for f in self.files
            ],
            "diagnostics": [d.to_json() for d in self.diagnostics],
        }

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(d.severity)}</td><td><code>{escape(d.place)}</code></td><td>{escape(d.message)} {escape(d.hint)}</td></tr>"
            for d in self.diagnostics
        )
        verdict = "Validation Successful!" if self.ok else f"Validation Failed: {self.errors}"
        return f"<div><strong>{verdict}</strong><table>{rows}</table></div>"


def _facts(m: Manifest) -> dict[str, str]:
    ports = ", ".join(port.title_text for port in m.ports.values())
    slos = ", ".join(slo.summary(name) for name, slo in m.slos.items())
    return {
        "Name": m.name,
        "Domain": m.domain,
        "Output Ports": f"{len(m.ports)} ({ports})",
        "Quality SLA": slos,
        "Owner": m.owner.contact,
    }


def _section(diagnostic: Diagnostic) -> str:
    if not diagnostic.path:
        # a missing top-level key has no place of its own: its name leads the message
        word = diagnostic.message.split("`")[1] if "`" in diagnostic.message else ""
        return _SECTIONS.get(word, "Manifest")
    head = str(diagnostic.path[0])
    return _SECTIONS.get(head, "Manifest")


def _one(checked: Checked) -> Iterator[str]:
    facts = _facts(checked.manifest) if checked.manifest is not None else {}
    by_section: dict[str, list[Diagnostic]] = {}
    for diagnostic in checked.diagnostics:
        by_section.setdefault(_section(diagnostic), []).append(diagnostic)
    for section in (*_ORDER, *(s for s in by_section if s not in _ORDER)):
        found = by_section.get(section, [])
        if not any(d.severity == "error" for d in found) and section in facts:
            yield f"[OK] {section}: {facts[section]}"
        for diagnostic in found:
            yield f"[{'FAIL' if diagnostic.severity == 'error' else 'WARN'}] {section}: {_line(diagnostic)}"


def _many(files: tuple[Checked, ...]) -> Iterator[str]:
    for checked in files:
        if checked.manifest is not None and checked.ok:
            yield f"[OK] {checked.file}: {checked.manifest.id} {checked.manifest.version}"
        for diagnostic in checked.diagnostics:
            yield f"[{'FAIL' if diagnostic.severity == 'error' else 'WARN'}] {_line(diagnostic)}"


def _line(diagnostic: Diagnostic) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(diagnostic))
