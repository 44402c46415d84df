"""What a stack looks like now: values with the text and JSON that `meshkit up`, `status` and `down` print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from meshkit.local.capabilities import Capability, not_enforced
from meshkit.local.errors import ServiceFailed

__all__ = ["DownReport", "ServiceStatus", "StackStatus"]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service: `url` without secrets, `pss_bytes` of its process and children, `ready_seconds` from start to first real answer."""

    name: str
    label: str
    version: str
    state: str
    url: str
    pid: int | None = None
    ready_seconds: float | None = None
    restarts: int = 0
    pss_bytes: int = 0
    last_error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Form in `meshkit.local.status/1`."""
        return {
            "name": self.name, "version": self.version, "state": self.state, "pid": self.pid, "url": self.url,
            "ready_seconds": self.ready_seconds, "restarts": self.restarts, "pss_bytes": self.pss_bytes, "last_error": self.last_error,
        }  # fmt: skip

    def to_line(self) -> str:
        """`postgres 18.4        ready 0.9 s     postgresql://127.0.0.1:41233`."""
        took = f" {self.ready_seconds:.1f} s" if self.state == "ready" and self.ready_seconds is not None else ""
        line = f"  {self.label:<22} {self.state + took:<15} {self.url}"
        if self.restarts:
            line += f"   restarted {self.restarts} x"
        return line if self.last_error is None else f"{line}   {self.last_error}"


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The whole stack; `exit_code` 1 unless everything asked for is ready. `notes` says what a start changed or moved."""

    state: str
    runtime: str
    services: tuple[ServiceStatus, ...]
    capabilities: Mapping[str, Capability]
    supervisor_pid: int | None = None
    supervisor_pss_bytes: int = 0
    notes: tuple[str, ...] = ()
    log_tails: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return 0 if self.state == "ready" else 1

    @property
    def pss_bytes(self) -> int:
        """Memory of all services and the supervisor."""
        return self.supervisor_pss_bytes + sum(s.pss_bytes for s in self.services)

    def to_text(self) -> str:
        lines = [f"  {note}" for note in self.notes]
        lines += [service.to_line() for service in self.services]
        for name, tail in self.log_tails.items():
            lines += [f"{name}, last lines of its log:", *(f"    {line}" for line in tail)]
        if self.state == "down":
            lines.append("The local mesh is down. Run: meshkit up")
        missing = not_enforced(self.runtime, tuple(s.name for s in self.services))
        if missing:
            lines.append(f"Not enforced here: {', '.join(missing)}   (meshkit status --capabilities)")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "meshkit.local.status/1", "state": self.state, "runtime": self.runtime,
            "services": [s.to_json() for s in self.services],
            "supervisor": {"pid": self.supervisor_pid, "pss_bytes": self.supervisor_pss_bytes}, "pss_bytes": self.pss_bytes,
            "notes": list(self.notes),
            "capabilities": {name: c.to_json() for name, c in self.capabilities.items()},
        }  # fmt: skip

    def capabilities_text(self) -> str:
        """The table of `meshkit status --capabilities`."""
        return "\n".join(f"  {name:<30} {c.state:<9} {c.note or ''}".rstrip() for name, c in self.capabilities.items())

    def raise_for_failures(self, log_path: Callable[[str], Path]) -> None:
        """Raises: `ServiceFailed` for the first service that is not ready."""
        for service in self.services:
            if service.state != "ready":
                reason = service.last_error or service.state
                raise ServiceFailed(
                    service.name, reason=reason, log=log_path(service.name), tail=self.log_tails.get(service.name, ())
                )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(s.label)}</td><td>{escape(s.state)}</td><td>{escape(s.url)}</td></tr>"
            for s in self.services
        )
        return f"<table><caption>Local mesh: {escape(self.state)}</caption><tr><th>service</th><th>state</th><th>url</th></tr>{rows}</table>"


@dataclass(frozen=True, slots=True)
class DownReport:
    """What `down` did; `survivors` are services with a process that could not be ended."""

    was_running: bool
    wiped: bool
    survivors: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return 1 if self.survivors else 0

    def to_text(self) -> str:
        if self.survivors:
            return f"A process survived: {', '.join(self.survivors)}. Run: meshkit doctor --fix"
        first = "The local mesh is stopped" if self.was_running else "No local mesh was running"
        return f"{first}; its data is {'removed' if self.wiped else 'kept'}."

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "meshkit.local.down/1", "was_running": self.was_running, "wiped": self.wiped, "survivors": list(self.survivors),
        }  # fmt: skip
