"""One deploy at a time on this machine, as a courtesy: what is right never depends on it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshkit.provision.target import Target

__all__ = ["deploy_lock"]

PATIENCE_SECONDS = 60.0


@contextmanager
def deploy_lock(target: Target) -> Iterator[None]:
    """Hold `.mesh/provision.lock`; after a minute of waiting, or where it can't be made, go on without: concurrent deploys converge."""
    path = target.credentials.parent / "provision.lock"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        stream = path.open("w")
    except OSError:
        yield
        return
    with stream:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.1)
        yield
