"""Talking to a supervisor, and starting one: used by `Stack`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshkit.local.errors import StackNotRunning, SupervisorProblem
from meshkit.local.layout import Layout
from meshkit.local.process import Identity

__all__ = ["ask", "ensure_supervisor", "is_running", "read_state", "tail", "wait_until_down"]

START_SECONDS = 30.0
SILENCE_SECONDS = 90.0
BUSY = 75


def is_running(layout: Layout) -> bool:
    """Whether a supervisor holds the lock."""
    try:
        handle = os.open(layout.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def read_state(layout: Layout) -> dict[str, Any]:
    """`state.json`; empty when it is missing or corrupt: living processes are found without it."""
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(layout.state.read_text(encoding="utf-8"))
        if isinstance(state, dict):
            return state
    return {}


def ensure_supervisor(layout: Layout, *, owner: Identity | None) -> None:
    """Wait until a supervisor listens, and start one, detached, when none holds the lock. Several callers at once get the same one.

    Raises: `SupervisorProblem`.
    """
    log = layout.log("supervisor")
    process: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = process.poll() if process is not None else None
        if code not in {None, BUSY}:
            raise SupervisorProblem(f"the supervisor ended with code {code}: {' '.join(tail(log, 1))}", log=log)
        if is_running(layout):
            with contextlib.suppress(StackNotRunning), _connect(layout):
                if process is not None and code is None:
                    process.returncode = 0  # it is detached: no warning about a child that still runs
                return
        elif process is None or code == BUSY:
            process = _start_supervisor(layout, owner)
        time.sleep(0.01)
    raise SupervisorProblem(f"the supervisor did not answer within {START_SECONDS:g} s", log=log)


def _start_supervisor(layout: Layout, owner: Identity | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "meshkit.local.supervisor", "--dir", str(layout.root)]
    if owner is not None:
        command += ["--owner", f"{owner.pid}:{owner.start_ticks}"]
    with layout.log("supervisor").open("ab") as out:
        return subprocess.Popen(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )


def _connect(layout: Layout) -> socket.socket:
    supervisor = read_state(layout).get("supervisor")
    if not isinstance(supervisor, dict) or "socket" not in supervisor:
        raise StackNotRunning(layout.root)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(SILENCE_SECONDS)
        connection.connect(str(supervisor["socket"]))
    except OSError:
        connection.close()
        raise StackNotRunning(layout.root) from None
    return connection


def ask(layout: Layout, operation: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Send one operation and yield the events of its answer.

    Raises: `StackNotRunning` when there is no supervisor or it ends meanwhile, `SupervisorProblem` when it falls silent.
    """
    with _connect(layout) as connection, connection.makefile("rwb") as stream:
        stream.write(json.dumps({"op": operation, **facts}).encode() + b"\n")
        stream.flush()
        last: dict[str, Any] = {}
        try:
            for line in stream:
                last = json.loads(line)
                if last["event"] == "ending":
                    raise StackNotRunning(layout.root)
                if last["event"] == "error":
                    raise SupervisorProblem(str(last["text"]), log=layout.log("supervisor"))
                yield last
        except TimeoutError as error:
            raise SupervisorProblem("the supervisor stopped answering", log=layout.log("supervisor")) from error
        except OSError:
            raise StackNotRunning(layout.root) from None  # it was killed while it answered
    if last.get("event") not in {"status", "settled"}:
        raise StackNotRunning(layout.root)


def wait_until_down(layout: Layout, *, seconds: float = 30.0) -> None:
    """Wait until the lock is free. Raises: `SupervisorProblem`."""
    deadline = time.monotonic() + seconds
    while is_running(layout):
        if time.monotonic() > deadline:
            raise SupervisorProblem(f"the supervisor did not end within {seconds:g} s", log=layout.log("supervisor"))
        time.sleep(0.01)


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """The last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64 * 1024))
            return tuple(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ()
