"""From `stack.json` to the service graph on this machine."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from meshkit.local import embedded, jvm
from meshkit.local.errors import DirectoryProblem, RuntimeNotAvailable
from meshkit.local.graph import Service, closure
from meshkit.local.layout import Layout, StackFile

__all__ = ["DEFAULT_SERVICES", "WEB", "draw_graph", "load_graph", "make_home", "port_names", "service_needs"]

DEFAULT_SERVICES = ("postgres", "s3", "broker")
WEB = ("gateway", "control")


def service_needs(*, web: bool) -> Mapping[str, tuple[str, ...]]:
    """Names of the runtime's services and what each needs."""
    return {name: needs for name, needs in embedded.NEEDS.items() if web or name not in WEB}


def load_graph(layout: Layout, stack: StackFile) -> tuple[Service, ...]:
    """The services that `stack` asks for, ready to be started. Makes secrets that are missing.

    Raises: `RuntimeNotAvailable`, `MissingExtra`, `UnknownService`.
    """
    if stack.runtime != "embedded":
        raise RuntimeNotAvailable(stack.runtime)
    binaries = _binaries()
    account = embedded.choose_account()
    secrets = embedded.Secrets(layout.secret("postgres.password"), layout.secret("s3.key"), layout.secret("s3.secret"))
    postgres = embedded.reachable_postgres(binaries, stack.home, account)
    graph = embedded.plan_embedded(layout, stack, binaries, secrets, postgres=postgres, account=account)
    wanted = closure(stack.services, service_needs(web=stack.web))
    return tuple(s for s in graph if s.name in wanted)


def port_names(stack: StackFile) -> tuple[str, ...]:
    """Names of all ports of a stack, `service.port`."""
    needs = jvm.NEEDS if stack.runtime == "jvm" else service_needs(web=stack.web)
    ports = jvm.PORTS if stack.runtime == "jvm" else embedded.PORTS
    return tuple(f"{name}.{port}" for name in needs for port in ports[name])


def draw_graph(layout: Layout, stack: StackFile) -> tuple[Service, ...]:
    """The whole graph of a runtime for people to read; writes nothing, secrets are blanks.

    Raises: `MissingExtra`.
    """
    blanks = embedded.Secrets("", "", "")
    binaries = _binaries()
    services = embedded.plan_embedded(layout, stack, binaries, blanks, postgres=binaries.postgres, account=None)
    if stack.runtime != "jvm":
        return services
    return (*(s for s in services if s.name != "broker"), *jvm.plan_jvm(layout, stack, jvm.Homes.from_env()))


@functools.cache
def _binaries() -> embedded.Binaries:
    return embedded.find_binaries()


def make_home(stack_id: str) -> Path | None:
    """A folder that the Postgres user can reach: `.mesh/` is closed to it when we are root. None when we are not.

    Raises: `DirectoryProblem` when the name is taken by a folder that is not ours.
    """
    if os.getuid() != 0:
        return None
    home = Path(f"/var/tmp/meshkit-{stack_id}")  # noqa: S108  # random name, owner checked below
    home.mkdir(mode=0o711, exist_ok=True)
    info = home.lstat()
    if info.st_uid != 0 or home.is_symlink():
        raise DirectoryProblem(home, "the folder belongs to somebody else")
    home.chmod(0o711)
    return home
