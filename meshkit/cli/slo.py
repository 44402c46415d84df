"""`meshkit slo check | report | metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meshkit.cli.mesh_option import mesh_options
from meshkit.cli.output import Output, format_option

if TYPE_CHECKING:
    from meshkit.mesh import Mesh

__all__ = ["slo"]


@click.group()
def slo() -> None:
    """Compare promises with evidence."""


@slo.command()
@click.argument("refs", nargs=-1)
@click.option("--allow-unmeasured", is_flag=True, help="A promise that can't be measured is no failure.")
@click.option("--dry-run", is_flag=True, help="Don't store what is measured.")
@mesh_options
@format_option()
def check(refs: tuple[str, ...], mesh: Mesh, output: Output, *, allow_unmeasured: bool, dry_run: bool) -> int:
    """Measure now and compare with the promises. Without REFS all products, worst first. Exit 1 on a failure.

    \b
    meshkit slo check sales.orders marketing.leads
    """
    return output.show(mesh.check_slos(refs or None, allow_unmeasured=allow_unmeasured, store=not dry_run))


@slo.command()
@click.argument("refs", nargs=-1)
@mesh_options
@format_option()
def report(refs: tuple[str, ...], mesh: Mesh, output: Output) -> int:
    """Trust scores with their breakdown, from stored evidence. Exit 1 if a product is breaching.

    \b
    meshkit slo report sales.orders
    """
    from meshkit.slo.report import TrustReport

    ids = [mesh.find(r).manifest.id for r in refs] or sorted(mesh.found)
    return output.show(TrustReport(tuple(mesh.evaluate(i) for i in ids)))


@slo.command()
@mesh_options
def metrics(mesh: Mesh) -> int:
    """Print Prometheus metrics of all products, from stored evidence.

    \b
    meshkit slo metrics
    """
    from meshkit.slo import to_metrics

    click.echo(to_metrics(mesh.evaluate(i) for i in sorted(mesh.found)), nl=False)
    return 0
