"""The error tree. Every error of meshkit derives from `MeshkitError`; modules add their own leaves in `<module>/errors.py`.

    MeshkitError            code, text `code: what is wrong (where). What to do.`   exit 1: the world breaks a promise
    ├── UsageError          the call itself is wrong                                exit 2
    └── EnvironmentProblem  a file, server, tool or credential is missing           exit 3
        └── MissingExtra    an optional package is not installed                    exit 3

A message holds names, places, counts and row numbers; never a data value, a secret or a connection string.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["EnvironmentProblem", "MeshkitError", "MissingExtra", "UsageError"]


class MeshkitError(Exception):
    """Base of all errors that meshkit raises on purpose.

    `code` is stable and documented (`<module>.<what_is_wrong>`); the text is one sentence of what is wrong and where, and one
    of what to do.
    """

    code: ClassVar[str] = "meshkit.error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str | None = None) -> None:
        self.message = message
        if code is not None:
            self.code = code  # type: ignore[misc]  # one leaf class may carry several codes of one family
        super().__init__(f"{self.code}: {message}")


class UsageError(MeshkitError):
    """The call, option or argument is wrong; nothing was read or written."""

    code = "meshkit.usage"
    exit_code = 2


class EnvironmentProblem(MeshkitError):
    """Something outside the data and the manifest is missing or unreachable; nothing was decided."""

    code = "meshkit.environment"
    exit_code = 3


class MissingExtra(EnvironmentProblem):
    """An optional package is absent. Names the extra that brings it."""

    code = "meshkit.missing_extra"

    def __init__(self, extra: str, *, package: str, purpose: str) -> None:
        self.extra, self.package = extra, package
        super().__init__(f"{purpose} needs the package {package}. Run: pip install 'meshkit[{extra}]'")
