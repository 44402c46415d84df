"""`meshkit gateway serve`."""

from __future__ import annotations

import ipaddress

import click

from meshkit.errors import EnvironmentProblem

__all__ = ["gateway"]


@click.group()
def gateway() -> None:
    """Serve products over HTTP with identity and masking."""


@gateway.command()
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    envvar="MESHKIT_CONFIG",
    help="mesh.yaml to use; default: the one that applies here.",
)
@click.option("--host", help="Address to listen on; default of mesh.yaml: 127.0.0.1.")
@click.option("--port", type=int, help="Port; default of mesh.yaml: 8090.")
@click.option("--insecure-http", is_flag=True, help="Allow plain HTTP on other addresses than loopback.")
def serve(config: str | None, host: str | None, port: int | None, *, insecure_http: bool) -> int:
    """Serve every product of the mesh under its policies.

    \b
    meshkit gateway serve --port 8090
    curl -H 'Authorization: Bearer dev:analyst' http://127.0.0.1:8090/products/sales/orders
    """
    import uvicorn

    from meshkit import log
    from meshkit.cli.mesh_option import open_mesh
    from meshkit.gateway import create_app

    with open_mesh(config) as mesh:
        mesh.trust_mode = "enforced"
        settings = mesh.config.section("gateway")
        address, number = host or settings.host, settings.port if port is None else port
        loopback = address == "localhost" or ipaddress.ip_address(address).is_loopback
        if not loopback and not insecure_http:
            raise EnvironmentProblem(
                f"{address} is not loopback and the gateway speaks plain HTTP. Put a TLS proxy before it and add --insecure-http",
                code="gateway.insecure",
            )
        dev = loopback and mesh.config.is_local and bool(mesh.config.section("auth").dev_principals)
        app = create_app(mesh, dev_tokens=dev)
        log.configure()
        click.echo(
            f"Gateway on http://{address}:{number}" + ("  (dev tokens: Authorization: Bearer dev:NAME)" if dev else ""),
            err=True,
        )
        uvicorn.run(app, host=address, port=number, log_level="warning", access_log=False)
    return 0
