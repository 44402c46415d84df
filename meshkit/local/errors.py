"""Errors of the local mesh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = [
    "BadStackFile",
    "DeployFailed",
    "DirectoryProblem",
    "RuntimeNotAvailable",
    "ServiceFailed",
    "StackNotRunning",
    "SupervisorProblem",
    "UnknownService",
    "WrongRuntime",
]


class WrongRuntime(UsageError):
    """The directory belongs to a stack of another runtime."""

    code = "local.wrong_runtime"

    def __init__(self, directory: Path, *, has: str, asked: str) -> None:
        self.directory, self.has, self.asked = directory, has, asked
        super().__init__(
            f"{directory} holds a local mesh of runtime {has}, not {asked}. "
            f"Use --runtime {has}, another --dir, or: meshkit down --wipe"
        )


class RuntimeNotAvailable(EnvironmentProblem):
    """The runtime can be rendered but not started here yet."""

    code = "local.runtime_not_available"

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        super().__init__(
            f"runtime {runtime} cannot be started by this version; its service graph can only be rendered. "
            f"Run: meshkit up --runtime embedded"
        )


class DeployFailed(EnvironmentProblem):
    """The services run, but a product's resources could not be made."""

    code = "local.deploy_failed"


class UnknownService(UsageError):
    """A service name that the runtime does not have."""

    code = "local.unknown_service"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"no local service named {name!r}. Known are: {', '.join(known)}")


class BadStackFile(EnvironmentProblem):
    """`stack.json` can't be read or comes from a newer meshkit; the data was not touched."""

    code = "local.bad_stack_file"

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        super().__init__(
            f"{what} ({path}). The data was not touched. Restore the file, upgrade meshkit, or use another --dir"
        )


class DirectoryProblem(EnvironmentProblem):
    """The directory can't be used: permissions, space, kind of file."""

    code = "local.directory"

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        super().__init__(f"{what} ({path}). Choose another one with --dir")


class StackNotRunning(EnvironmentProblem):
    """No supervisor runs for this directory."""

    code = "local.not_running"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(f"no local mesh runs in {directory}. Run: meshkit up")


class SupervisorProblem(EnvironmentProblem):
    """The supervisor did not start, answer or stop."""

    code = "local.supervisor"

    def __init__(self, what: str, *, log: Path) -> None:
        self.log = log
        super().__init__(f"{what}. See {log}")


class ServiceFailed(MeshkitError):
    """A service did not become ready."""

    code = "local.service_failed"

    def __init__(self, name: str, *, reason: str, log: Path, tail: Sequence[str] = ()) -> None:
        self.name, self.log, self.tail = name, log, tuple(tail)
        lines = "".join(f"\n    {line}" for line in tail)
        super().__init__(f"{name} is not ready: {reason}. See {log}{lines}")
