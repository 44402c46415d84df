"""Two pure renderers of the service graph: processes for people and tests, Compose for a container engine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from meshkit.local.containers import Container
from meshkit.local.graph import Service

__all__ = ["render_compose", "render_processes"]


def render_processes(services: Iterable[Service]) -> Mapping[str, str]:
    """`processes.json`: commands, ports and names of variables. No value of a variable, because some are secrets."""
    facts = [
        {
            "name": s.name, "version": s.version, "needs": list(s.needs), "ports": dict(s.ports), "command": list(s.command),
            "env": sorted(s.env), "data_dir": str(s.data_dir), "url": s.url, "ready": type(s.ready).__name__,
            "stop": {"signal": s.stop.signal.name, "grace_seconds": s.stop.grace_seconds},
        }
        for s in services
    ]  # fmt: skip
    return {"processes.json": json.dumps({"format": "meshkit.local.processes/1", "services": facts}, indent=2) + "\n"}


def render_compose(containers: Iterable[Container], *, secrets: Mapping[str, str]) -> Mapping[str, str]:
    """`compose.yaml` and `services.env`. The second holds the secrets: write it with mode 0600."""
    plan = tuple(containers)
    compose: dict[str, Any] = {
        "name": "meshkit-local",
        "services": {c.name: _service(c) for c in plan},
        "volumes": {f"{c.name}-data": {} for c in plan if c.volume},
    }
    text = yaml.safe_dump(compose, sort_keys=False, width=1000, allow_unicode=True)
    env = "".join(f"{name}={value}\n" for name, value in secrets.items())
    return {"compose.yaml": text, "services.env": env}


def _service(container: Container) -> dict[str, Any]:
    published = "" if container.published is None else str(container.published)
    service: dict[str, Any] = {
        "image": container.image,
        "ports": [f"127.0.0.1:{published}:{container.port}"],
        # Compose fills in `$NAME` itself; a doubled sign reaches the container as one.
        "healthcheck": {
            "test": [part.replace("$", "$$") for part in container.health],
            "interval": "5s", "timeout": "5s", "retries": 3, "start_period": "60s", "start_interval": "1s",
        },
        "mem_limit": f"{container.memory_mb}m",
        "restart": "unless-stopped",
    }  # fmt: skip
    if container.command:
        service["command"] = [part.replace("$", "$$") for part in container.command]
    if container.env:
        service["environment"] = {name: value.replace("$", "$$") for name, value in container.env.items()}
    if container.secrets:
        service["env_file"] = ["services.env"]
    if container.volume:
        service["volumes"] = [f"{container.name}-data:{container.volume}"]
    if container.needs:
        service["depends_on"] = {need: {"condition": "service_healthy"} for need in container.needs}
    return service
