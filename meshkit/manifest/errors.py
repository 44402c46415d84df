"""Diagnostics of manifests and the error that carries them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from meshkit.errors import MeshkitError

__all__ = ["Diagnostic", "ManifestError"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding in a file: what, where, and what to do. `path` is the way to the value, step by step."""

    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    file: str = "<text>"
    line: int = 1
    column: int = 1
    path: tuple[str | int, ...] = ()

    @property
    def place(self) -> str:
        """`file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"

    def __str__(self) -> str:
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.message} ({self.place}).{hint}"

    def to_json(self) -> dict[str, Any]:
        """As in `meshkit.manifest.report/1`."""
        return {
            "code": self.code, "severity": self.severity, "message": self.message, "hint": self.hint,
            "file": self.file, "line": self.line, "column": self.column, "path": list(self.path),
        }  # fmt: skip


class ManifestError(MeshkitError):
    """A manifest breaks the format or its own promises; `diagnostics` has everything that was found."""

    code = "manifest.invalid"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        errors = [d for d in self.diagnostics if d.severity == "error"]
        super().__init__(
            f"{len(errors)} error{'s' if len(errors) != 1 else ''}\n" + "\n".join(f"  {d.code}: {d}" for d in errors)
        )
