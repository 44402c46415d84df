"""`meshkit publish`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meshkit.cli.mesh_option import mesh_options
from meshkit.cli.output import Output, format_option

if TYPE_CHECKING:
    from meshkit.mesh import Mesh

__all__ = ["publish"]


@click.command()
@click.argument("refs", nargs=-1, required=True)
@mesh_options
@format_option()
def publish(refs: tuple[str, ...], mesh: Mesh, output: Output) -> int:
    """Run products: read inputs, transform, check, commit. Exit 1 if a contract refuses one.

    \b
    meshkit publish sales.orders
    meshkit publish products/orders/manifest.yaml
    """
    from pathlib import Path

    from meshkit.manifest import Manifest

    worst = 0
    for ref in refs:
        target = Manifest.load(ref) if Path(ref).is_file() else ref
        worst = max(worst, output.show(mesh.publish(target)))
    return worst
