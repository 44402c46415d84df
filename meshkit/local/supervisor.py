"""The detached process that runs the services of one stack: `python -m meshkit.local.supervisor --dir .mesh`.

It holds `.mesh/lock` while it lives and talks NDJSON over a Unix socket. Everything runs on one loop in the main thread: children are
spawned there, because their parent-death signal fires when the spawning thread ends. One task per service lives its life; decisions
are made by `lifecycle`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from meshkit.errors import MeshkitError
from meshkit.local import lifecycle, portbook
from meshkit.local.embedded import PORTS
from meshkit.local.graph import Service, closure, levels
from meshkit.local.housework import clear, forget_former_sockets, prepare, rotate_logs, start, take_lock
from meshkit.local.layout import Layout, StackFile, load_stack_file, write_file
from meshkit.local.lifecycle import State, Track
from meshkit.local.meshfile import to_endpoints, write_mesh_file
from meshkit.local.probes import NotReady, check, check_again, warm
from meshkit.local.process import Identity, end_all, find_leftovers, identify, is_alive, listens
from meshkit.local.runtime import load_graph, service_needs

__all__ = ["BUSY", "Supervisor", "main"]

TEMPORARY = "meshkit-stack-"  # prefix of folders that `Stack.temporary` makes
BUSY = 75  # exit code when another supervisor holds the lock
PROBE_SECONDS = 5.0
CONFIRM_SECONDS = 10.0
FIRST_PATIENCE_SECONDS, MOST_PATIENCE_SECONDS = (
    0.5,
    5.0,
)  # a server may take a connection before it can answer, and never answer it
LINE_LIMIT = 1 << 20


class Supervisor:
    """Runs the services of `layout` until it is told to stop, its owner ends, or its directory is removed."""

    def __init__(self, layout: Layout, stack: StackFile, *, lock: int, owner: Identity | None) -> None:
        self.layout, self.stack, self.owner = layout, stack, owner
        self.lock_inode = os.fstat(lock).st_ino
        self.services: dict[str, Service] = {}
        self.tracks: dict[str, Track] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = asyncio.Event()
        self.changed = asyncio.Condition()
        self.notes: list[dict[str, Any]] = []
        self.survivors: list[str] = []
        self.socket = Path()

    # Running ----------------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Clear what a killed supervisor left, serve the socket, start the services, wait for the end, stop them."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        forget_former_sockets(self.stack.id)
        self._allot_all_ports_after_clearing()
        folder = Path(tempfile.mkdtemp(prefix=f"meshkit-{self.stack.id}-"))
        self.socket = folder / "s"
        server = await asyncio.start_unix_server(self._serve, path=str(self.socket), limit=LINE_LIMIT)
        self._start_missing()
        self._save()
        try:
            await self._watch_world()
        finally:
            await self._stop_all()
            self._save(ended=True)
            async with self.changed:
                self.changed.notify_all()
            await asyncio.sleep(0.05)  # lets the last events reach their readers
            server.close()
            shutil.rmtree(folder, ignore_errors=True)

    async def _watch_world(self) -> None:
        tick = 0
        while not self.stopping.is_set():
            if self.owner is not None and not is_alive(self.owner):
                return
            if tick % 10 == 0:
                if not self._holds_directory():
                    return
                rotate_logs(self.layout)
            tick += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), 0.5)

    def _holds_directory(self) -> bool:
        try:
            return self.layout.lock.stat().st_ino == self.lock_inode
        except OSError:
            return False

    def _allot_all_ports_after_clearing(self) -> None:
        services = load_graph(self.layout, self.stack)
        for name, identities in find_leftovers(services, stack_id=self.stack.id).items():
            end_all(identities, first=signal.SIGTERM, then=signal.SIGQUIT, grace_seconds=3.0)
            self._note(
                "leftover", service=name, text=f"{name}: {len(identities)} processes of a former run were stopped"
            )
        self._allot(tuple(s.name for s in services))

    def _allot(self, names: tuple[str, ...]) -> bool:
        """Check the ports of services that do not run; whether one had to move."""
        keys = [f"{name}.{port}" for name in names for port in PORTS[name]]
        ports, moved = portbook.allot(keys, self.stack.ports)
        for key, (old, new) in moved.items():
            self._note("port", service=key.partition(".")[0], text=f"{key}: port {old} is busy, moved to {new}")
        if ports != self.stack.ports:
            self.stack = self.stack.model_copy(update={"ports": ports})
            write_file(self.layout.stack, self.stack.model_dump_json(indent=2) + "\n")
        self.services = {s.name: s for s in load_graph(self.layout, self.stack)}
        write_mesh_file(self.layout, to_endpoints(self.services.values()))
        return bool(moved)

    def _start_missing(self) -> None:
        for name in self.services:
            task = self.tasks.get(name)
            if task is None or task.done():
                self.tracks[name] = Track(name)
                self.tasks[name] = asyncio.create_task(self._live(name), name=name)

    # One service ------------------------------------------------------------------------------------------------------------------

    async def _live(self, name: str) -> None:
        while not self.stopping.is_set():
            if not await self._needs_are_ready(name):
                return
            try:
                reason = await self._one_life(name)
            except (OSError, MeshkitError) as error:
                reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else error.message
            if self.stopping.is_set():
                break
            await self._set(lifecycle.exited(self.tracks[name], reason, now=time.monotonic()))
            if self.tracks[name].state is State.FAILED:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), self.tracks[name].restart_after_seconds)
            self.tracks[name] = lifecycle.restarted(self.tracks[name])
        await self._set(lifecycle.stopped(self.tracks[name]))

    async def _needs_are_ready(self, name: str) -> bool:
        async with self.changed:
            while not self.stopping.is_set():
                states = {need: self.tracks[need].state for need in self.services[name].needs}
                failed = next((need for need, state in states.items() if state is State.FAILED), None)
                if failed is not None:
                    self.tracks[name] = lifecycle.blocked(self.tracks[name], failed)
                    self._save()
                    self.changed.notify_all()
                    return False
                if all(state in {State.READY, State.DEGRADED} for state in states.values()):
                    return True
                await self.changed.wait()
        return True

    async def _one_life(self, name: str) -> str:
        """From preparation to the end of the process; returns why it ended."""
        await clear(self.services[name], stack_id=self.stack.id)
        if self._allot((name,)):
            self._end_dependents(name)
        service = self.services[name]
        prepare(service)
        await self._set(lifecycle.begun(self.tracks[name], pid=None, now=time.monotonic()))
        problem = await self._set_up(service)
        if problem is not None or self.stopping.is_set():
            return problem or "stopped"
        child = self._start(service, service.command, cwd=service.data_dir)
        await self._set(lifecycle.begun(self.tracks[name], pid=child.pid, now=time.monotonic()))
        probing = asyncio.create_task(self._probe(service, child))
        try:
            return await self._exit_reason(child, probing)
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
            self.children.pop(name, None)
            await clear(self.services[name], stack_id=self.stack.id)

    async def _exit_reason(self, child: subprocess.Popen[bytes], probing: asyncio.Task[None]) -> str:
        overdue = False
        while (code := child.poll()) is None:
            if probing.done() and not overdue and not self.stopping.is_set():
                overdue = True
                child.kill()
            await asyncio.sleep(0.05)
        if overdue:
            return "did not become ready in time"
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"

    def _end_dependents(self, name: str) -> None:
        for other in self.services.values():
            if name in other.needs and other.name in self.children:
                self.children[other.name].send_signal(other.stop.signal)

    async def _set_up(self, service: Service) -> str | None:
        setup = service.setup
        if setup is None or setup.result.exists():
            return None
        shutil.rmtree(setup.draft, ignore_errors=True)
        child = self._start(service, setup.command, cwd=service.base)
        while (code := child.poll()) is None:  # noqa: ASYNC110  # the event is the end of a process
            await asyncio.sleep(0.01)
        self.children.pop(service.name, None)
        if code != 0:
            return f"its setup exited with code {code}"
        setup.draft.rename(setup.result)
        return None

    def _start(self, service: Service, command: tuple[str, ...], *, cwd: Path) -> subprocess.Popen[bytes]:
        child = start(service, command, cwd=cwd, log=self.layout.log(service.name), stack_id=self.stack.id)
        self.children[service.name] = child
        return child

    async def _probe(self, service: Service, child: subprocess.Popen[bytes]) -> None:
        """Returns only when the start took too long; else runs until it is cancelled."""
        assert service.ready is not None
        deadline = time.monotonic() + service.start_timeout_seconds
        patience = FIRST_PATIENCE_SECONDS
        await asyncio.to_thread(warm, service.ready)
        while self.tracks[service.name].state is State.STARTING:
            try:
                await check(service.ready, timeout_seconds=patience)
                self._refuse_foreign(service, child)
            except NotReady as error:
                self.tracks[service.name] = lifecycle.missed(self.tracks[service.name], error.message)
                if time.monotonic() > deadline:
                    return
                patience = min(patience * 1.1, MOST_PATIENCE_SECONDS)
                await asyncio.sleep(0.05)
                continue
            await self._set(lifecycle.answered(self.tracks[service.name], now=time.monotonic()))
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await check_again(service.ready)
                await self._set(lifecycle.answered(self.tracks[service.name], now=time.monotonic()))
            except NotReady as error:
                await self._set(lifecycle.missed(self.tracks[service.name], error.message))

    def _refuse_foreign(self, service: Service, child: subprocess.Popen[bytes]) -> None:
        if not listens(child.pid, service.ports[service.main_port]):
            raise NotReady(f"port {service.ports[service.main_port]} is served by a foreign process")

    # Stopping ---------------------------------------------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        self.stopping.set()
        async with self.changed:
            self.changed.notify_all()
        for level in reversed(levels(self.services.values())):
            await asyncio.gather(*(self._stop(self.services[name]) for name in level))
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.survivors = sorted(find_leftovers(self.services.values(), stack_id=self.stack.id))

    async def _stop(self, service: Service) -> None:
        child = self.children.get(service.name)
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(service.stop.signal)
        deadline = time.monotonic() + service.stop.grace_seconds
        while child.poll() is None:
            if time.monotonic() > deadline:
                child.kill()
            await asyncio.sleep(0.01)

    # Telling ----------------------------------------------------------------------------------------------------------------------

    async def _set(self, track: Track) -> None:
        if self.tracks.get(track.name) == track:
            return
        async with self.changed:
            self.tracks[track.name] = track
            self._save()
            self.changed.notify_all()

    def _note(self, event: str, **facts: Any) -> None:
        self.notes.append({"event": event, **facts})

    def _save(self, *, ended: bool = False) -> None:
        if not self._holds_directory():
            return
        me = identify(os.getpid())
        facts = {
            "format": "meshkit.local.state/1",
            "supervisor": None
            if ended or me is None
            else {"pid": me.pid, "start_ticks": me.start_ticks, "socket": str(self.socket)},
            "services": [self._facts(name) for name in self.services],
        }
        write_file(self.layout.state, json.dumps(facts, indent=1) + "\n")

    def _facts(self, name: str) -> dict[str, Any]:
        track = self.tracks.get(name, Track(name))
        identity = identify(track.pid) if track.pid else None
        return {
            "name": name, "state": str(track.state), "pid": track.pid, "start_ticks": identity.start_ticks if identity else None,
            "ready_seconds": None if track.ready_seconds is None else round(track.ready_seconds, 2), "restarts": track.restarts,
            "last_error": track.last_error,
        }  # fmt: skip

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            request = json.loads(await reader.readline() or b"{}")
            async for event in self._answer(request):
                writer.write(json.dumps(event).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        op = request.get("op")
        if op == "status":
            yield self._status("status")
        elif op == "up":
            if self.stopping.is_set():
                yield {"event": "ending"}
                return
            try:
                self._extend(request)
            except MeshkitError as error:
                yield {"event": "error", "text": error.message}
                return
            await self._notice_the_dead()
            await asyncio.gather(*(self._confirm(name) for name in self.services))
            async for event in self._follow():
                yield event
        elif op == "down":
            self.stopping.set()
            async for event in self._follow():
                yield event
        else:
            yield {"event": "error", "text": f"unknown operation {op!r}"}

    def _extend(self, request: dict[str, Any]) -> None:
        """Add the services that a caller asks for and start those that do not run."""
        web = self.stack.web or bool(request.get("web"))
        names = closure((*self.stack.services, *request.get("services", ())), service_needs(web=web))
        if names != self.stack.services:
            self.stack = self.stack.model_copy(update={"services": names, "web": web})
            write_file(self.layout.stack, self.stack.model_dump_json(indent=2) + "\n")
        idle = tuple(name for name in names if name not in self.tasks or self.tasks[name].done())
        if idle:
            self._allot(idle)
            self._start_missing()

    async def _notice_the_dead(self) -> None:
        """Wait until each process that has just ended is known to have: `up` must not call a dead server ready."""
        while any(t.pid is not None and identify(t.pid) is None for t in self.tracks.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def _confirm(self, name: str) -> None:
        """Ask a ready service again before `up` calls it so: Postgres recovers for a moment when one of its backends was killed."""
        deadline = time.monotonic() + CONFIRM_SECONDS
        while (track := self.tracks[name]).state is State.READY and (probe := self.services[name].ready) is not None:
            try:
                await check_again(probe, timeout_seconds=2.0)
            except NotReady as error:
                if time.monotonic() > deadline:
                    await self._set(lifecycle.missed(track, error.message))
                    return
                await asyncio.sleep(0.05)
            else:
                return

    async def _follow(self) -> AsyncIterator[dict[str, Any]]:
        """Each change of a service until nothing is under way, then the whole state."""
        told: dict[str, dict[str, Any]] = {}
        noted = 0
        while True:
            for note in self.notes[noted:]:
                yield note
            noted = len(self.notes)
            for name in self.services:
                facts = self._facts(name)
                if told.get(name) != facts:
                    told[name] = facts
                    yield {"event": "service", **facts}
            async with self.changed:
                done = [t.state is State.STOPPED or t.state is State.FAILED for t in self.tracks.values()]
                if (
                    (all(done) and self.tasks_done())
                    if self.stopping.is_set()
                    else lifecycle.settled(self.tracks.values())
                ):
                    break
                if all(told.get(name) == self._facts(name) for name in self.services):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.changed.wait(), 1.0)
        for name in self.services:
            if told.get(name) != self._facts(name):
                yield {"event": "service", **self._facts(name)}
        yield self._status("settled")

    def tasks_done(self) -> bool:
        """Whether each service's life is over."""
        return all(task.done() for task in self.tasks.values())

    def _status(self, event: str) -> dict[str, Any]:
        services = [self._facts(name) for name in self.services]
        return {
            "event": event,
            "state": lifecycle.overall(self.tracks.values()),
            "services": services,
            "survivors": self.survivors,
        }


def main(arguments: list[str] | None = None) -> int:
    """Take the lock and run; 75 when another supervisor runs. An owned stack is removed with its directory when its owner ends."""
    parser = argparse.ArgumentParser(
        prog="meshkit.local.supervisor", description="Runs the services of one local mesh."
    )
    parser.add_argument("--dir", required=True, type=Path)
    parser.add_argument("--owner", help="PID:START_TICKS of the process whose end ends the stack")
    options = parser.parse_args(arguments)
    layout = Layout(options.dir.resolve())
    lock = take_lock(layout.lock)
    if lock is None:
        return BUSY
    owner = Identity(*(int(part) for part in options.owner.split(":"))) if options.owner else None
    try:
        stack = load_stack_file(layout)
        if stack is None:
            return 3
        supervisor = Supervisor(layout, stack, lock=lock, owner=owner)
        asyncio.run(supervisor.run())
    except MeshkitError as error:
        return error.exit_code
    if owner is not None and not is_alive(owner):
        shutil.rmtree(layout.root, ignore_errors=True)
        if layout.root.parent.name.startswith(TEMPORARY):
            shutil.rmtree(layout.root.parent, ignore_errors=True)
        if stack.home is not None:
            shutil.rmtree(stack.home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
