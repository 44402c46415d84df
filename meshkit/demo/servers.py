"""Web servers of the demo in threads of its own process, on ports that the kernel gives."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meshkit.errors import EnvironmentProblem

__all__ = ["gateway_of", "serving"]


@contextmanager
def serving(app: Any, *, port: int = 0) -> Iterator[str]:
    """Run an ASGI application on loopback; gives its URL once it accepts connections."""
    import uvicorn

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise EnvironmentProblem("a web server of the demo did not start", code="demo.server")
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@contextmanager
def gateway_of(config: Path) -> Iterator[str]:
    """The gateway over a mesh of its own, as another process would run it."""
    from meshkit.config import load_config
    from meshkit.gateway import create_app
    from meshkit.mesh import Mesh

    with Mesh(load_config(config), trust="enforced") as mesh, serving(create_app(mesh, dev_tokens=True)) as url:
        yield url
