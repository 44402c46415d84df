"""From `stack.json` to the service graph on this machine."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from meshkit.local import embedded
from meshkit.local.errors import DirectoryProblem, RuntimeNotAvailable
from meshkit.local.graph import Service, closure
from meshkit.local.layout import Layout, StackFile

__all__ = ["DEFAULT_SERVICES", "load_graph", "make_home", "service_needs"]

DEFAULT_SERVICES = ("postgres", "s3", "broker")


def service_needs(*, web: bool) -> Mapping[str, tuple[str, ...]]:
    """Names of the runtime's services and what each needs."""
    return {name: needs for name, needs in embedded.NEEDS.items() if web or name not in {"gateway", "control"}}


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
