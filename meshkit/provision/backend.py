"""What a backend is: a service that has kinds of resources, each with read, create, update and delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from meshkit.provision.plan import Change
from meshkit.provision.resources import Node, Observed, ResourceGraph

__all__ = ["Backend", "Kind", "Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a backend can't be used: unreachable, wrong account, missing right."""

    backend: str
    message: str


class Kind(Protocol):
    """One kind of resource. Every method is safe to repeat: what a killed run began, the next one finishes.

    Raises, all of them: `PermissionMissing`, `Retryable` (also for a call without an answer), `BackendRefused`; `create`: `AlreadyExists`.
    """

    def read(self, node: Node) -> Observed | None:
        """What is there; None if nothing is."""

    def create(self, node: Node) -> None:
        """Make it with its marker in the same call or transaction."""

    def update(self, node: Node, changes: Sequence[Change]) -> None:
        """Make the fields of `changes` as the node says; others are kept."""


@runtime_checkable
class Backend(Protocol):
    """A service with its kinds. `calls` counts requests made so far."""

    name: str
    kinds: Mapping[str, Kind]
    calls: int

    def check(self, nodes: Sequence[Node]) -> Sequence[Problem]:
        """Whether the systems of these nodes answer, and are the right ones."""

    def owned(self, graph: ResourceGraph) -> Iterable[tuple[Node, Observed]]:
        """Rights of the graph's products that are there and that the graph does not have: what a renamed role left behind."""

    def close(self) -> None:
        """Release connections."""


def by_source(nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """Nodes grouped by the system they live on."""
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.source, []).append(node)
    return groups
