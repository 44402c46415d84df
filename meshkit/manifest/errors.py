"""Diagnostics of manifests and the error that carries them all."""

from __future__ import annotations

from collections.abc import Sequence

from meshkit._diagnostics import Diagnostic
from meshkit.errors import MeshkitError

__all__ = ["Diagnostic", "ManifestError"]


class ManifestError(MeshkitError):
    """A manifest breaks the format or its own promises; `diagnostics` has everything that was found."""

    code = "manifest.invalid"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        errors = [d for d in self.diagnostics if d.severity == "error"]
        super().__init__(
            f"{len(errors)} error{'s' if len(errors) != 1 else ''}\n" + "\n".join(f"  {d.code}: {d}" for d in errors)
        )
