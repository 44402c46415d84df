"""Errors of provisioning. What a backend reports is translated into one of these at the backend, chained to its cause."""

from __future__ import annotations

from collections.abc import Sequence

from meshkit._diagnostics import Diagnostic
from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = [
    "AlreadyExists", "BackendRefused", "BackendUnavailable", "CompileFailed", "PermissionMissing", "Retryable",
    "UnknownTarget",
]  # fmt: skip


class CompileFailed(MeshkitError):
    """Manifests can't become resources; `diagnostics` has everything that was found, with places."""

    code = "provision.invalid"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("nothing was read or written\n" + "\n".join(f"{d.code}: {d}" for d in diagnostics))


class UnknownTarget(UsageError):
    """No target of that name stands in mesh.yaml."""

    code = "provision.unknown_target"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"no target named {name!r}. Known are: {', '.join(known)}; add one to `provision.targets`")


class BackendUnavailable(EnvironmentProblem):
    """A service that resources live on can't be reached, or is the wrong one."""

    code = "provision.unavailable"


class PermissionMissing(EnvironmentProblem):
    """The service denied the deployer an action. Never retried."""

    code = "provision.permission_missing"

    def __init__(self, *, action: str, resource: str) -> None:
        self.action, self.resource = action, resource
        super().__init__(
            f"{action} on {resource} was denied. Give the login of the deployer that right, then run again"
        )


class BackendRefused(MeshkitError):
    """A service refused a call for a reason that trying again does not change."""

    code = "provision.refused"


class Retryable(MeshkitError):
    """A call failed in passing, or may have acted without an answer: read again and go on from there."""

    code = "provision.retryable"


class AlreadyExists(MeshkitError):
    """A create met a resource of that name: somebody, maybe a run of ours, made it since the read."""

    code = "provision.already_exists"
