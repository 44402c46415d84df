"""What a supervisor does around the life of a service: lock, folders, environment, what former lives left behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from meshkit.local.graph import Service
from meshkit.local.layout import Layout, write_file
from meshkit.local.process import MARK, end_all, find_leftovers, spawn

__all__ = ["clear", "forget_former_sockets", "prepare", "rotate_logs", "start", "take_lock"]

LOG_BYTES = 10 << 20


def take_lock(path: Path, *, patience_seconds: float = 0.5) -> int | None:
    """An open file descriptor that holds the lock until this process ends; None while another supervisor holds it.

    It is tried for a moment: a program that only looks whether a supervisor runs holds the lock for microseconds.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                return None
            time.sleep(0.01)
        else:
            return handle


def prepare(service: Service) -> None:
    """Make its folders and files, for the user that it runs as. A data directory that its setup makes is left to that."""
    owner = (service.account.uid, service.account.gid) if service.account else None
    folders = [service.base, service.base / "home", service.base / "tmp"]
    for folder in folders if service.setup else [*folders, service.data_dir]:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if owner is not None:
            os.chown(folder, *owner)
    for path, text in service.files.items():
        write_file(path, text, owner=owner)


def start(service: Service, command: Sequence[str], *, cwd: Path, log: Path, stack_id: str) -> subprocess.Popen[bytes]:
    """Spawn a program of the service in a clean environment: nothing of ours, above all no `AWS_*`."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(service.base / "home"),
        "TMPDIR": str(service.base / "tmp"), MARK: stack_id, **service.env,
    }  # fmt: skip
    # Postgres ends its backends and its shared memory at SIGINT; SIGKILL would orphan them. The others have nothing to tidy.
    death_signal = signal.SIGINT if service.stop.signal is signal.SIGINT else signal.SIGKILL
    return spawn(command, cwd=cwd, env=env, log=log, account=service.account, death_signal=death_signal)


async def clear(service: Service, *, stack_id: str) -> None:
    """End what is left of its processes: orphaned Postgres backends hold shared memory and block the next start."""
    leftovers = (await asyncio.to_thread(find_leftovers, [service], stack_id=stack_id)).get(service.name, [])
    if leftovers:
        await asyncio.to_thread(end_all, leftovers, first=signal.SIGTERM, then=signal.SIGQUIT, grace_seconds=3.0)
    for path in service.litter:
        with contextlib.suppress(OSError):
            path.unlink()


def rotate_logs(layout: Layout) -> None:
    """Keep three logs of 10 MB. Copy and truncate: children write with O_APPEND to the same file, so they go on at its new start."""
    for path in layout.logs.glob("*.log"):
        if path.stat().st_size > LOG_BYTES:
            with contextlib.suppress(FileNotFoundError):
                path.with_suffix(".log.1").replace(path.with_suffix(".log.2"))
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)


def forget_former_sockets(stack_id: str) -> None:
    """Remove folders of supervisors of this stack that were killed; known by the stack's id, so no file has to tell."""
    for former in Path(tempfile.gettempdir()).glob(f"meshkit-{stack_id}-*"):
        if former.lstat().st_uid == os.getuid() and not former.is_symlink():
            shutil.rmtree(former, ignore_errors=True)
