"""TCP ports on 127.0.0.1: the kernel chooses once, then they are kept; only a busy one moves."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping

__all__ = ["allot", "is_free"]

PREFERRED = {"gateway": 8090, "control": 8400}


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def allot(
    names: Iterable[str], kept: Mapping[str, int], *, in_use: Iterable[str] = ()
) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """A port for each name: the kept one while it is free, else a new one.

    `in_use` are names whose own server listens now. Returns all ports and, for those that moved, (old, new). New ports are held open
    until all are chosen, so that no two are the same.
    """
    ports = dict(kept)
    moved: dict[str, tuple[int, int]] = {}
    listening = set(in_use)
    with contextlib.ExitStack() as held:
        for name in names:
            old = ports.get(name)
            if old is not None and (name in listening or is_free(old)):
                continue
            preferred = PREFERRED.get(name.partition(".")[0], 0) if old is None else 0
            ports[name] = _take(held, preferred, set(ports.values()))
            if old is not None:
                moved[name] = (old, ports[name])
    return ports, moved


def _take(held: contextlib.ExitStack, preferred: int, taken: set[int]) -> int:
    for wish in (preferred, *[0] * 50):
        probe = held.enter_context(socket.socket())
        try:
            probe.bind(("127.0.0.1", wish))
        except OSError:
            continue
        port: int = probe.getsockname()[1]
        if port not in taken:
            return port
    raise OSError("no free TCP port on 127.0.0.1")
