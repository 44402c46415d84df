"""`meshkit serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meshkit.cli.mesh_option import mesh_options

if TYPE_CHECKING:
    from meshkit.mesh import Mesh

__all__ = ["serve"]


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; only loopback with a dev principal."
)
@click.option("--port", default=8400, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option(
    "--dev-principal",
    metavar="NAME",
    help="Everybody who reaches the server reads as this dev principal of a local mesh. Default: default_principal.",
)
@mesh_options
def serve(mesh: Mesh, host: str, port: int, dev_principal: str | None) -> int:
    """Serve the control plane: catalog, lineage and trust in one view. Exit 3 without an identity to read with.

    \b
    meshkit serve --dev-principal analyst
    meshkit serve --port 8401 --dev-principal jane
    """
    from meshkit.controlplane import create_app

    name = who_reads(mesh, host, dev_principal)
    app = create_app(mesh, dev_principal=name)
    import uvicorn

    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    click.echo(
        f"Control plane of {mesh.config.name}: {url}"
        + (f"  (reads as {name}; loopback only)" if name else "  (bearer tokens)"),
        err=True,
    )
    try:
        uvicorn.run(
            app, host=host, port=port, log_level="warning", access_log=False, server_header=False, proxy_headers=False
        )
    except SystemExit as stopped:  # uvicorn says itself why it could not listen
        return 3 if stopped.code else 0
    return 0


def who_reads(mesh: Mesh, host: str, dev_principal: str | None) -> str | None:
    """The dev principal, or None for bearer tokens only. Raises: `NoIdentity` if neither is possible."""
    from meshkit.controlplane import NoIdentity

    loopback = host in {"127.0.0.1", "localhost", "::1"}
    if dev_principal is not None and not loopback:
        raise NoIdentity(
            f"--dev-principal works on loopback only, not on {host}. Leave out --host; sign-in by OpenID Connect follows in a later release"
        )
    name = dev_principal or (mesh.config.default_principal if loopback and mesh.config.is_local else None)
    if name is None and not mesh.config.section("auth").issuers:
        raise NoIdentity(
            "nobody could read: there is no sign-in yet. Use --dev-principal NAME on loopback, or name `auth.issuers` in mesh.yaml for bearer tokens; "
            "OpenID Connect follows in a later release"
        )
    return name
