"""`--config`, `--as` and the mesh they give: `@mesh_options` passes `mesh` and, where asked, the reader's principal."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from meshkit.mesh import Mesh

__all__ = ["as_option", "mesh_options"]

F = TypeVar("F", bound=Callable[..., Any])


def mesh_options(function: F) -> F:
    """Adds `--config`; the command gets `mesh`, closed when it ends."""

    @click.option(
        "--config",
        type=click.Path(dir_okay=False),
        envvar="MESHKIT_CONFIG",
        help="mesh.yaml to use; default: the one that applies here.",
    )
    @wraps(function)
    def run(*args: Any, config: str | None, **kwargs: Any) -> Any:
        with open_mesh(config) as mesh:
            return function(*args, mesh=mesh, **kwargs)

    return run  # type: ignore[return-value]


def open_mesh(config: str | None) -> Mesh:
    """The mesh of a command; says so when it is that of a running local stack."""
    from meshkit.config import find_config
    from meshkit.mesh import Mesh

    if config is None:
        found = find_config()
        if found is not None and found.parent.name == ".mesh":
            click.echo(f"Using the local mesh of {found.parent}", err=True)
    return Mesh.open(config)


def as_option(function: F) -> F:
    """Adds `--as ROLE`: a dev principal of a local mesh. The command gets `principal: str | None`."""
    return click.option(
        "--as", "principal", metavar="NAME", help="Dev principal of a local mesh to act as; default: default_principal."
    )(function)
