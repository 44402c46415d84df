"""Processes of services: start them so that they cannot outlive us, know them again, end them.

A process is known by pid and start time, or by its working directory being a data directory of this stack together with our
executable or our mark in its environment; never by its name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from meshkit.local.graph import Account, Service

__all__ = ["MARK", "Identity", "end_all", "find_leftovers", "identify", "is_alive", "listens", "pss_bytes", "spawn"]

MARK = "MESHKIT_LOCAL_STACK"


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that can't be confused with a later one of the same pid."""

    pid: int
    start_ticks: int


def identify(pid: int) -> Identity | None:
    """Identity of a living process; None for a dead one. A zombie is dead: containers often have no init that reaps."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _identify_without_proc(pid)
    except (ProcessLookupError, PermissionError):
        return None
    return None if fields[0] in {b"Z", b"X"} else Identity(pid, int(fields[19]))


def _identify_without_proc(pid: int) -> Identity | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else Identity(pid, int(process.create_time() * 100))
    except psutil.Error:
        return None


def is_alive(identity: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def spawn(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a child that dies with us. Call it from a thread that lives as long as the child may: the kernel watches the thread."""
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    shim = [sys.executable, "-I", "-S", str(Path(__file__).with_name("exec_child.py"))]
    facts = [str(int(death_signal)), str(os.getpid()), str(uid), str(gid)]
    with log.open("ab") as out:
        return subprocess.Popen(
            [*shim, *facts, *command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def find_leftovers(services: Iterable[Service], *, stack_id: str) -> dict[str, list[Identity]]:
    """Living processes of this stack that a former supervisor left behind, by service."""
    by_dir = {str(s.data_dir): s for s in services}
    found: dict[str, list[Identity]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            service = by_dir.get(process.cwd().removesuffix(" (deleted)"))
            if service is None or not _is_ours(process, service, stack_id):
                continue
            identity = identify(process.pid)
            if identity is not None and process.pid != os.getpid():
                found.setdefault(service.name, []).append(identity)
    return found


def _is_ours(process: psutil.Process, service: Service, stack_id: str) -> bool:
    if service.command and process.exe().removesuffix(" (deleted)") == os.path.realpath(service.command[0]):
        return True
    with contextlib.suppress(psutil.Error):
        return process.environ().get(MARK) == stack_id
    return False


def end_all(
    identities: Iterable[Identity], *, first: signal.Signals, then: signal.Signals, grace_seconds: float
) -> list[Identity]:
    """Signal, wait, signal harder, then SIGKILL. Returns those that survived even that for two seconds."""
    alive = [i for i in identities if is_alive(i)]
    for number, patience in ((first, grace_seconds), (then, 2.0), (signal.SIGKILL, 2.0)):
        for identity in alive:
            if is_alive(identity):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(identity.pid, number)
        deadline = time.monotonic() + patience
        while (alive := [i for i in alive if is_alive(i)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not alive:
            break
    return alive


def listens(pid: int, port: int) -> bool:
    """Whether the listening socket of `port` belongs to the process or its children: else a foreign server answers there."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                if any(
                    c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in member.net_connections(kind="tcp")
                ):
                    return True
    return False


def pss_bytes(pid: int) -> int:
    """Memory of a process and its children, shared pages divided among those that share them; 0 where it can't be read."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{member.pid}/smaps_rollup").read_text().splitlines()
                total += int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return total
