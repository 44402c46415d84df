"""`Provisioner`: observe, plan, apply. No state file and no rollback: a run that was killed anywhere converges when run again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, Self

from meshkit import _registry
from meshkit.errors import MeshkitError, UsageError
from meshkit.log import get_logger
from meshkit.manifest import Manifest
from meshkit.provision.backend import Backend, Kind, Problem
from meshkit.provision.compile import compile_graph
from meshkit.provision.credentials import CredentialFiles, SecretSink
from meshkit.provision.diff import DiffOptions, diff_graph, diff_node
from meshkit.provision.errors import AlreadyExists, BackendUnavailable, Retryable
from meshkit.provision.locking import deploy_lock
from meshkit.provision.plan import Plan, PlanNode
from meshkit.provision.report import ApplyEvent, ApplyReport, Deployment, NodeResult, Outcome
from meshkit.provision.resources import Node, Observed, ProductFacts, ResourceGraph
from meshkit.provision.target import Target

if TYPE_CHECKING:
    from meshkit.config import MeshConfig
    from meshkit.ports import GrantSource

__all__ = ["Allow", "Provisioner", "full_jitter"]

log = get_logger(__name__)

THREADS = 4
TRIES = 8
PLAN_LIVES = timedelta(hours=1)
OnEvent = Callable[[ApplyEvent], None]


@dataclass(frozen=True, slots=True)
class Allow:
    """What a deploy may do without asking again."""

    disruptive: bool = False


def full_jitter(attempt: int) -> float:
    """Seconds to wait after the `attempt`-th failure (from 0): uniform up to 0.2 s doubled each time, at most 20 s."""
    return random.uniform(0, min(20.0, 0.2 * 2**attempt))  # noqa: S311  # spread, not secrecy


class Provisioner:
    """Makes the resources of products on one target. Thread-safe; `with` closes its connections."""

    def __init__(
        self,
        target: Target,
        *,
        backends: Sequence[Backend] | None = None,
        grants: GrantSource | None = None,
        sink: SecretSink | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.target, self._wait = target, wait
        self._grants = grants
        self.sink = sink or CredentialFiles(target.credentials)
        self._lock = threading.Lock()
        self._given = backends
        self._opened: tuple[Backend, ...] | None = None

    @classmethod
    def from_config(
        cls,
        config: MeshConfig,
        *,
        target: str | None = None,
        grants: GrantSource | None = None,
    ) -> Self:
        """The provisioner of a mesh. Raises: `UnknownTarget`; `ConfigError`."""
        return cls(Target.from_config(config, target), grants=grants)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The services of the target, opened at first use."""
        with self._lock:
            if self._opened is None:
                names = ("aws",) if self.target.aws is not None else ("s3", "postgres", "kafka")
                self._opened = (
                    tuple(self._given)
                    if self._given is not None
                    else tuple(_registry.load("backends", name)(self.target, self.sink) for name in names)
                )
            return self._opened

    def close(self) -> None:
        """Release connections."""
        with self._lock:
            for backend in self._opened or ():
                backend.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Plan

    def graph(self, manifests: Iterable[Manifest]) -> ResourceGraph:
        """What shall be. Raises: `CompileFailed` with all problems."""
        wanted = list(manifests)
        now = datetime.now(UTC)
        granted: dict[str, tuple[str, ...]] = {}
        for manifest in wanted if self._grants is not None else ():
            assert self._grants is not None
            live = self._grants.active(manifest.id, at=now)
            granted[manifest.id] = tuple(g.principal for g in live if g.columns is None and g.port is None)
        return compile_graph(wanted, self.target, principals=granted)

    def plan(
        self,
        manifests: Iterable[Manifest],
        *,
        only: Literal["infra", "access"] | None = None,
        allow: Allow = Allow(),
    ) -> Plan:
        """What a deploy would do. Reads only.

        Raises: `CompileFailed`; `BackendUnavailable` naming every service that does not answer; `PermissionMissing`.
        """
        graph = self.graph(manifests)
        nodes = [n for n in graph.nodes if only is None or (n.rank == 2) == (only == "access")]
        self._check(nodes)
        snapshot = self._observe(nodes)
        part = ResourceGraph(
            graph.target,
            graph.target_text,
            graph.account,
            graph.mesh,
            graph.environment,
            tuple(nodes),
            graph.skipped,
            graph.products,
        )
        owned = [pair for backend in self.backends for pair in backend.owned(graph)] if only != "infra" else []
        return diff_graph(part, snapshot, DiffOptions(allow.disruptive, datetime.now(UTC) + PLAN_LIVES), owned=owned)

    def _check(self, nodes: Sequence[Node]) -> None:
        problems: list[Problem] = []
        for backend in self.backends:
            mine = [n for n in nodes if n.kind in backend.kinds]
            problems += backend.check(mine) if mine else []
        if problems:
            raise BackendUnavailable("; ".join(f"{p.backend}: {p.message}" for p in problems))

    def _kind(self, node: Node) -> Kind:
        for backend in self.backends:
            if node.kind in backend.kinds:
                return backend.kinds[node.kind]
        raise UsageError(
            f"no backend of target {self.target.name} has the kind {node.kind}", code="provision.no_backend"
        )

    def _observe(self, nodes: Sequence[Node]) -> dict[str, Observed | None]:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="meshkit-observe") as pool:
            return dict(zip((n.id for n in nodes), pool.map(self._read, nodes), strict=True))

    def _read(self, node: Node) -> Observed | None:
        for attempt in range(TRIES):
            try:
                return self._kind(node).read(node)
            except Retryable:
                if attempt == TRIES - 1:
                    raise
                self._wait(full_jitter(attempt))
        raise AssertionError("the loop returns or raises")

    # Apply

    def apply(
        self,
        plan: Plan,
        *,
        allow: Allow = Allow(),
        on_event: OnEvent | None = None,
        stop: threading.Event | None = None,
    ) -> ApplyReport:
        """Make it so, containers first, rights last. One resource's failure never stops the others, but those that need it.

        `stop`: once set, nothing new is begun. Raises: `UsageError` for a plan that expired or was made for another target.
        """
        self._admit(plan, allow)
        started = time.monotonic()
        before = self._calls()
        run = _Run(self, plan, DiffOptions(allow.disruptive), on_event or (lambda _: None), stop or threading.Event())
        with deploy_lock(self.target):
            results = run.all()
        seconds = time.monotonic() - started
        report = ApplyReport(
            seconds, self._calls() - before, results, tuple(self._deployed(p) for p in plan.graph.products)
        )
        log.info("deploy.finished", target=self.target.name, ok=report.ok, changes=report.changes, calls=report.calls)
        return report

    def _admit(self, plan: Plan, allow: Allow) -> None:
        if plan.graph.target != self.target.name or plan.graph.mesh != self.target.mesh:
            raise UsageError(
                f"the plan is for target {plan.graph.target}, not {self.target.name}", code="provision.wrong_target"
            )
        if plan.expires_at is not None and datetime.now(UTC) > plan.expires_at:
            raise UsageError("the plan has expired. Plan again", code="provision.plan_expired")
        if any(n.writes and n.disruptive for n in plan.nodes) and not allow.disruptive:
            raise UsageError("the plan has disruptive changes. Pass --allow disruptive", code="provision.disruptive")

    def _calls(self) -> int:
        return sum(backend.calls for backend in self.backends)

    def deployment(self, manifest: Manifest) -> Deployment:
        """Where the product is on this target. Compiles only; whether it is there, `plan` tells."""
        return self._deployed(self.graph([manifest]).products[0])

    def _deployed(self, facts: ProductFacts) -> Deployment:
        prefix = "" if self.target.name == "local" else f"MESHKIT_TARGET={self.target.name} "
        command = "publisher run" if facts.has_source else "publish"
        commands = (f"{prefix}meshkit {command} {facts.manifest}",)
        return Deployment(facts.id, facts.endpoints, facts.roles, facts.not_enforced, commands)


class _Run:
    """One apply: nodes wave by wave, several at a time."""

    def __init__(
        self, owner: Provisioner, plan: Plan, options: DiffOptions, on_event: OnEvent, stop: threading.Event
    ) -> None:
        self.owner, self.plan, self.options, self.on_event, self.stop = owner, plan, options, on_event, stop
        self.results: dict[str, NodeResult] = {}
        self._events = threading.Lock()

    def all(self) -> tuple[NodeResult, ...]:
        items = [i for i in self.plan.nodes if i.action != "orphan"]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="meshkit-apply") as pool:
            for rank in sorted({i.node.rank for i in items}):
                wave = [i for i in items if i.node.rank == rank]
                for result in pool.map(self._one, wave):
                    self.results[result.id] = result
        return tuple(self.results[i.node.id] for i in items)

    def _one(self, item: PlanNode) -> NodeResult:
        started = time.monotonic()
        result = self._decide(item)
        if result.outcome != "unchanged":
            with self._events:
                self.on_event(ApplyEvent(result, time.monotonic() - started))
        return result

    def _decide(self, item: PlanNode) -> NodeResult:
        node = item.node
        if item.action in {"conflict", "manual", "blocked"}:
            return NodeResult(node.id, "not_started", item.reason or item.action, blocked=True)
        moved = self._written(node)
        if item.action == "skipped" or (item.action == "noop" and not moved):
            return NodeResult(node.id, "unchanged")
        if self.stop.is_set():
            return NodeResult(node.id, "not_started", "stopped")
        broken = [
            n for n in node.needs if n in self.results and self.results[n].outcome in {"failed", "not_started", "moved"}
        ]
        if broken:
            return NodeResult(node.id, "not_started", f"needs {', '.join(broken)}")
        try:
            return self._converge(item, expected=None if moved else item.fingerprint)
        except MeshkitError as error:
            log.warning("node.failed", node=node.id, code=error.code)
            return NodeResult(node.id, "failed", error.message)

    def _written(self, node: Node) -> bool:
        """Whether this run wrote what the node stands on: making a view anew takes the grants on it away."""
        return any(n in self.results and self.results[n].outcome in {"created", "updated"} for n in node.needs)

    def _converge(self, item: PlanNode, *, expected: str | None) -> NodeResult:
        """Read, decide, write, until a read says that all is well. A call without an answer may have acted: so it is read again."""
        node, kind = item.node, self.owner._kind(item.node)  # noqa: SLF001  # one class in two parts
        outcome: Outcome = "unchanged"
        error: MeshkitError = Retryable("not tried")
        for attempt in range(TRIES):
            try:
                now = self._now(kind, node)
                if now.action == "noop":
                    return NodeResult(node.id, outcome)
                if now.action not in {"create", "update"}:
                    return NodeResult(node.id, "failed", f"{now.action}: {now.reason}", blocked=True)
                if attempt == 0 and now.action == "update" and expected not in {None, now.fingerprint}:
                    return NodeResult(node.id, "moved", "changed since the plan. Plan again")
                outcome = "created" if now.action == "create" or outcome == "created" else "updated"
                if now.action == "create":
                    kind.create(node)
                else:
                    kind.update(node, now.changes)
                now = self._now(kind, node)
                if now.action == "noop":
                    return NodeResult(node.id, outcome)
                error = Retryable(
                    f"it still differs after writing: {', '.join(c.path for c in now.changes) or now.action}"
                )
            except (Retryable, AlreadyExists) as failed:
                error = failed
            if attempt < TRIES - 1:
                self.owner._wait(full_jitter(attempt))  # noqa: SLF001
        raise error

    def _now(self, kind: Kind, node: Node) -> PlanNode:
        return diff_node(node, kind.read(node), marker_text=str(self.plan.graph.marker(node)), options=self.options)
