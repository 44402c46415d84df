"""`Stack`: one local mesh in a directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from meshkit.local import client, doctor, portbook
from meshkit.local import runtime as runtime_module
from meshkit.local.capabilities import capabilities
from meshkit.local.containers import plan_containers
from meshkit.local.doctor import DoctorReport
from meshkit.local.errors import (
    DeployFailed,
    RuntimeNotAvailable,
    StackNotRunning,
    SupervisorProblem,
    UnknownService,
    WrongRuntime,
)
from meshkit.local.graph import Service, closure
from meshkit.local.housework import forget_former_sockets
from meshkit.local.layout import Layout, RuntimeName, StackFile, load_stack_file, make_directory, write_file
from meshkit.local.meshfile import Endpoints, render_environment, to_endpoints
from meshkit.local.process import Identity, end_all, find_leftovers, identify, pss_bytes
from meshkit.local.render import render_compose, render_processes
from meshkit.local.status import DownReport, ServiceStatus, StackStatus

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["Stack"]

Listener = Callable[[Mapping[str, Any]], None]


class Stack:
    """The servers of a local mesh: started, watched, stopped. Everything about it lies in its directory.

    `Stack.open(".mesh").up()` starts what is missing and leaves it running after this process ends.
    """

    def __init__(self, layout: Layout, stack: StackFile, *, owner: Identity | None = None) -> None:
        self._layout, self._stack, self._owner = layout, stack, owner

    @classmethod
    def open(
        cls,
        directory: str | Path = ".mesh",
        runtime: RuntimeName = "embedded",
        *,
        only: Iterable[str] | None = None,
        durable: bool = False,
        web: bool = False,
        ends_with_pid: int | None = None,
    ) -> Stack:
        """The stack of a directory; nothing is written or started yet.

        `only` names services (what they need comes along), `durable` makes Postgres survive a crash of the machine, `web` adds the
        gateway and the control plane. `ends_with_pid` ties a stack that this call starts to a process: when that ends, however it
        does, the servers stop and the directory is removed.
        Raises: `WrongRuntime`, `BadStackFile`, `UnknownService`.
        """
        layout = Layout(Path(directory).absolute())
        found = load_stack_file(layout)
        if found is not None and found.runtime != runtime:
            raise WrongRuntime(layout.root, has=found.runtime, asked=runtime)
        known = found or StackFile(runtime=runtime)
        web = web or known.web
        names = (
            tuple(only)
            if only is not None
            else (*runtime_module.DEFAULT_SERVICES, *(runtime_module.WEB if web else ()))
        )
        wanted = closure(names, runtime_module.service_needs(web=web)) if runtime == "embedded" else known.services
        stack = known.model_copy(update={"services": wanted, "durable": durable or known.durable, "web": web})
        return cls(layout, stack, owner=identify(ends_with_pid) if ends_with_pid is not None else None)

    @classmethod
    def find(cls, directory: str | Path = ".mesh") -> Stack:
        """The stack of a directory, whatever its runtime and services; an empty one when there is none."""
        found = load_stack_file(Layout(Path(directory).absolute()))
        return cls.open(directory) if found is None else cls.open(directory, found.runtime, only=found.services)

    @classmethod
    @contextlib.contextmanager
    def temporary(cls, only: Iterable[str] = ("postgres", "s3"), *, web: bool = False) -> Iterator[Stack]:
        """A running stack of its own for tests: other ports, other data; removed at the end, also when this process is killed.

        Raises: `ServiceFailed` when a service does not become ready.
        """
        root = Path(tempfile.mkdtemp(prefix="meshkit-stack-"))
        stack = cls.open(root / ".mesh", only=only, web=web, ends_with_pid=os.getpid())
        try:
            stack.up().raise_for_failures(stack.log_path)
            yield stack
        finally:
            stack.down(wipe=True)
            shutil.rmtree(root, ignore_errors=True)

    # Verbs ------------------------------------------------------------------------------------------------------------------------

    def up(self, products: str | Path | None = None, on_event: Listener | None = None) -> StackStatus:
        """Start what is missing and wait until each service works or has failed; a second call changes nothing.

        `on_event` is called with each change (`{"event": "service", "name": ..., "state": ...}`).
        `products`, a folder or file of manifests, are then deployed to target `local` and recorded in the catalog.
        Raises: `RuntimeNotAvailable`, `MissingExtra`, `DirectoryProblem`, `SupervisorProblem`; `ManifestError` before anything starts.
        """
        manifests = _manifests(products) if products is not None else ()
        self._require_embedded()
        make_directory(self._layout)
        notes: list[str] = []
        last: dict[str, Any] = {}
        for event in self._started():
            if event["event"] in {"port", "leftover"}:
                notes.append(str(event["text"]))
            if on_event is not None:
                on_event(event)
            last = event
        if manifests:
            notes.append(self._deploy(manifests))
        return self._to_status(last, notes=tuple(notes))

    def _deploy(self, manifests: Sequence[Manifest]) -> str:
        """Make the products' resources on the running services. Returns what was done, for the status."""
        from meshkit.catalog import record_published
        from meshkit.config import load_config
        from meshkit.mesh import Mesh

        with Mesh(load_config(self.mesh_file), products=manifests) as mesh:
            report = mesh.deploy([m.id for m in manifests], target="local")
            if not report.ok:
                raise DeployFailed(report.to_text())
            for manifest in manifests:
                record_published(mesh.catalog.tables, manifest, now=datetime.now(UTC))
        return f"{len(manifests)} products deployed, {report.changes} resources changed"

    def _started(self) -> Iterator[dict[str, Any]]:
        """Events of a start; a supervisor that ends or is killed at this very moment is replaced."""
        deadline = time.monotonic() + client.START_SECONDS
        while True:
            with _turn(self._layout.root):
                if not client.is_running(self._layout):
                    self._write_stack_file()
                client.ensure_supervisor(self._layout, owner=self._owner)
            try:
                yield from client.ask(self._layout, "up", services=self._stack.services, web=self._stack.web)
            except StackNotRunning:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def down(self, *, wipe: bool = False) -> DownReport:
        """Stop all services in reverse order; with `wipe` remove the directory and all data of the stack.

        Raises: `SupervisorProblem` when the supervisor does not end.
        """
        running = client.is_running(self._layout)
        survivors: tuple[str, ...] = ()
        if running:
            with contextlib.suppress(StackNotRunning, SupervisorProblem):
                for event in client.ask(self._layout, "down"):
                    survivors = tuple(event.get("survivors", ()))
            client.wait_until_down(self._layout)
        survivors = self._end_leftovers() or survivors
        if wipe and not survivors:
            self._wipe()
        return DownReport(was_running=running, wiped=wipe and not survivors, survivors=survivors)

    def _end_leftovers(self) -> tuple[str, ...]:
        """End processes of a supervisor that was killed; names of services with survivors."""
        if not self._layout.stack.exists() or self._stack.runtime != "embedded":
            return ()
        services = self._all_services()
        found = find_leftovers(services, stack_id=self._stack.id)
        alive = {
            n: end_all(ids, first=signal.SIGTERM, then=signal.SIGQUIT, grace_seconds=3.0) for n, ids in found.items()
        }
        for path in (path for service in services for path in service.litter):
            with contextlib.suppress(OSError):
                path.unlink()
        forget_former_sockets(self._stack.id)
        return tuple(sorted(name for name, identities in alive.items() if identities))

    def _wipe(self) -> None:
        if self._stack.home is not None:
            shutil.rmtree(self._stack.home, ignore_errors=True)
        if self._layout.stack.exists():  # a directory without it is not ours to remove
            shutil.rmtree(self._layout.root, ignore_errors=True)

    def status(self) -> StackStatus:
        """What runs now; `down` when no supervisor does."""
        if client.is_running(self._layout):
            with contextlib.suppress(StackNotRunning):
                *_, last = client.ask(self._layout, "status")
                return self._to_status(last)
        return self._to_status(
            {"state": "down", "services": [{"name": n, "state": "stopped"} for n in self._stack.services]}
        )

    def doctor(self, *, fix: bool = False, runtime: RuntimeName | None = None) -> DoctorReport:
        """Check this machine and the directory, for `runtime` instead of its own if given.

        `fix` stops orphans and forgets busy ports of a stack that is down.
        """
        checks = [*doctor.check_machine(runtime or self._stack.runtime), *doctor.check_directory(self._layout)]
        if self._stack.runtime != "embedded" or not self._layout.stack.exists():
            return DoctorReport(tuple(checks))
        running = client.is_running(self._layout)
        if fix and not running:
            self._end_leftovers()
            self._forget_busy_ports()
        services = self.services()
        leftovers = () if running else find_leftovers(self._all_services(), stack_id=self._stack.id).values()
        checks += [
            doctor.check_ports(services, running=running),
            doctor.check_leftovers(sum(len(found) for found in leftovers), running=running),
        ]
        return DoctorReport(tuple(checks))

    def _forget_busy_ports(self) -> None:
        ports = {name: port for name, port in self._stack.ports.items() if portbook.is_free(port)}
        if ports != self._stack.ports:
            self._stack = self._stack.model_copy(update={"ports": ports})
            write_file(self._layout.stack, self._stack.model_dump_json(indent=2) + "\n")

    def render(self, form: Literal["compose", "processes"]) -> Mapping[str, str]:
        """The service graph as files, name -> text; nothing is started. Pure but for ports, which are chosen when there are none.

        `compose` gives `compose.yaml` and `services.env` of runtime docker; `processes` gives `processes.json`, without secrets.
        """
        if form == "compose":
            return render_compose(plan_containers(), secrets=self._container_secrets())
        if self._stack.runtime == "docker":
            raise RuntimeNotAvailable("docker as processes")
        ports, _ = portbook.allot(runtime_module.port_names(self._stack), self._stack.ports)
        drawn = self._stack.model_copy(update={"ports": ports})
        return render_processes(runtime_module.draw_graph(self._layout, drawn))

    def _container_secrets(self) -> Mapping[str, str]:
        names = {
            "POSTGRES_PASSWORD": "postgres.password",
            "MINIO_ROOT_USER": "s3.key",
            "MINIO_ROOT_PASSWORD": "s3.secret",
        }
        paths = {variable: self._layout.credential(name) for variable, name in names.items()}
        return {
            variable: path.read_text() if path.exists() else secrets.token_hex(20) for variable, path in paths.items()
        }

    # Facts ------------------------------------------------------------------------------------------------------------------------

    @property
    def directory(self) -> Path:
        """The stack's directory, absolute."""
        return self._layout.root

    @property
    def mesh_file(self) -> Path:
        """The generated `mesh.yaml`."""
        return self._layout.mesh

    @property
    def endpoints(self) -> Endpoints:
        """Where the servers are, with keys. Valid after `up`."""
        return to_endpoints(self.services())

    def env(self) -> dict[str, str]:
        """Environment variables by which programs find the stack. They hold secrets."""
        return render_environment(self.endpoints, self.mesh_file)

    def log_path(self, service: str) -> Path:
        """The current log file of a service, or of `supervisor`."""
        return self._layout.log(service)

    def log_tail(self, service: str, lines: int = 20) -> tuple[str, ...]:
        """The last lines of a service's log. Raises: `UnknownService`."""
        if service not in {*self.service_names, "supervisor"}:
            raise UnknownService(service, (*self.service_names, "supervisor"))
        return client.tail(self._layout.log(service), lines)

    @property
    def service_names(self) -> tuple[str, ...]:
        """Services that this stack has, in the order of the graph."""
        return self._stack.services

    def services(self) -> tuple[Service, ...]:
        """The service graph as it runs or would run."""
        self._stack = load_stack_file(self._layout) or self._stack
        return runtime_module.load_graph(self._layout, self._stack)

    def _all_services(self) -> tuple[Service, ...]:
        """The whole graph, also of services that this stack does not run now: one may be left from before."""
        stack = load_stack_file(self._layout) or self._stack
        return runtime_module.load_graph(
            self._layout, stack.model_copy(update={"services": tuple(runtime_module.service_needs(web=stack.web))})
        )

    def _require_embedded(self) -> None:
        if self._stack.runtime != "embedded":
            raise RuntimeNotAvailable(self._stack.runtime)

    def _write_stack_file(self) -> None:
        """Write what this call asks for; only while no supervisor runs, which writes the file itself."""
        found = load_stack_file(self._layout) or self._stack
        asked = {name: getattr(self._stack, name) for name in ("services", "durable", "web")}
        self._stack = found.model_copy(update={**asked, "home": found.home or runtime_module.make_home(found.id)})
        write_file(self._layout.stack, self._stack.model_dump_json(indent=2) + "\n")

    def _to_status(self, event: Mapping[str, Any], *, notes: tuple[str, ...] = ()) -> StackStatus:
        graph = {s.name: s for s in self._all_services()} if self._layout.stack.exists() else {}
        services = tuple(_service_status(graph[f["name"]], f) for f in event["services"] if f["name"] in graph)
        bad = [s.name for s in services if s.state in {"failed", "backoff"}]
        supervisor = (
            (client.read_state(self._layout).get("supervisor") or {}).get("pid") if event["state"] != "down" else None
        )
        own = 0 if supervisor is None else pss_bytes(supervisor) - sum(s.pss_bytes for s in services)
        return StackStatus(
            state=event["state"], runtime=self._stack.runtime, services=services, capabilities=capabilities(self._stack.runtime),
            supervisor_pid=supervisor, supervisor_pss_bytes=max(0, own), notes=notes,
            log_tails={name: client.tail(self._layout.log(name), 20) for name in bad},
        )  # fmt: skip


@contextlib.contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """One start at a time per directory: two at once would overwrite each other's wishes."""
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _service_status(service: Service, facts: Mapping[str, Any]) -> ServiceStatus:
    pid = facts.get("pid")
    return ServiceStatus(
        name=service.name, label=service.label, version=service.version, state=facts["state"], url=service.url, pid=pid,
        ready_seconds=facts.get("ready_seconds"), restarts=facts.get("restarts", 0), pss_bytes=pss_bytes(pid) if pid else 0,
        last_error=facts.get("last_error") if facts["state"] not in {"ready", "stopped"} else None,
    )  # fmt: skip


def _manifests(products: str | Path) -> tuple[Manifest, ...]:
    """Manifests of a path. Raises: `ManifestError` with every problem."""
    from meshkit.manifest import validate

    report = validate([products])
    report.raise_for_errors()
    return report.manifests
