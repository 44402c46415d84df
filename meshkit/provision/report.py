"""What a deploy did: events while it runs, one report at the end, one deployment per product. Source: provision section 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

__all__ = ["ApplyEvent", "ApplyReport", "Deployment", "NodeResult", "Outcome"]

Outcome = Literal["created", "updated", "deleted", "retained", "unchanged", "moved", "failed", "not_started"]
_DONE = frozenset({"created", "updated", "deleted", "retained", "unchanged"})


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What became of one resource. `blocked`: a person has to act; else a failed one is tried again by the next run."""

    id: str
    outcome: Outcome
    error: str | None = None
    blocked: bool = False

    def to_json(self) -> dict[str, Any]:
        """As in `meshkit.provision.report/1`."""
        return {"id": self.id, "error": self.error, "outcome": self.outcome}


@dataclass(frozen=True, slots=True)
class ApplyEvent:
    """One resource is done, as it happens."""

    result: NodeResult
    seconds: float

    def __str__(self) -> str:
        tail = f": {self.result.error}" if self.result.error else ""
        return f"  {self.result.outcome:<11} {self.result.id}  {self.seconds:.1f} s{tail}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a deployed product is: endpoint per port, credential file or ARN per role, what to run next."""

    product: str
    endpoints: Mapping[str, str]
    roles: Mapping[str, str]
    not_enforced: tuple[str, ...] = ()
    next: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Where everything is, in one line: `Lake s3://acme-lake/sales/orders/v1/  Publisher .mesh/credentials/...`."""
        words = [f"{port} {url}" for port, url in self.endpoints.items()] + [
            f"{r} {at}" for r, at in self.roles.items()
        ]
        return "  ".join(w[:1].upper() + w[1:] for w in words)

    def to_text(self) -> str:
        """Where everything is, and what to run next."""
        return "\n".join(
            [f"{self.product}: {self.summary}", *(f"Start publishing:  {command}" for command in self.next)]
        )

    def to_json(self) -> dict[str, Any]:
        """As in `meshkit.provision.report/1`."""
        return {
            "product": self.product, "endpoints": dict(self.endpoints), "roles": dict(self.roles),
            "not_enforced": list(self.not_enforced), "next": list(self.next),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """All results of one apply. `calls`: requests to services."""

    seconds: float
    calls: int
    results: tuple[NodeResult, ...]
    deployments: tuple[Deployment, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every resource is as its manifest says."""
        return all(r.outcome in _DONE for r in self.results)

    @property
    def exit_code(self) -> int:
        """0; 1 where a person has to act (blocked, moved); 3 where running again may do."""
        if self.ok:
            return 0
        return 1 if any(r.blocked or r.outcome == "moved" for r in self.results) else 3

    @property
    def changes(self) -> int:
        """How many resources were written."""
        return sum(r.outcome in {"created", "updated", "deleted"} for r in self.results)

    def count(self, outcome: Outcome) -> int:
        """How many resources had an outcome."""
        return sum(r.outcome == outcome for r in self.results)

    def to_text(self) -> str:
        """Summary, then what is not done and why, then where each product is."""
        counts = [
            f"{self.count(o)} {o.replace('_', ' ')}"
            for o in ("created", "updated", "moved", "failed", "not_started")
            if self.count(o)
        ]
        word = "Deployed" if self.ok else "Not done: deployed in part"
        lines = [f"{word} in {self.seconds:.1f} s ({', '.join([*(counts or ['no changes']), f'{self.calls} calls'])})."]
        lines += [f"  ! {r.id} {r.outcome.replace('_', ' ')}: {r.error}" for r in self.results if r.error]
        if self.ok and len(self.deployments) == 1:
            only = self.deployments[0]
            lines[0] += f"  {only.summary}"
            lines += [f"Start publishing:  {command}" for command in only.next]
        elif self.ok:
            lines += [f"  {d.product}  {d.summary}" for d in self.deployments]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.provision.report/1`."""
        return {
            "format": "meshkit.provision.report/1", "ok": self.ok, "seconds": round(self.seconds, 3), "calls": self.calls,
            "results": [r.to_json() for r in self.results], "deployments": [d.to_json() for d in self.deployments],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"
