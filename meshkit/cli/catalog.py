"""`meshkit catalog crawl | search | show | request-access | requests | approve | reject | cancel | revoke`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from meshkit.cli.mesh_option import as_option, mesh_options
from meshkit.cli.output import Output, format_option

if TYPE_CHECKING:
    from meshkit.catalog import AccessRequest
    from meshkit.mesh import Mesh

__all__ = ["catalog"]


@click.group()
def catalog() -> None:
    """Crawl, search, request access."""


@catalog.command()
@click.argument("sources", nargs=-1)
@mesh_options
@format_option()
def crawl(sources: tuple[str, ...], mesh: Mesh, output: Output) -> int:
    """Read manifests from the sources of mesh.yaml. Exit 1 for an invalid one, 3 for an unreachable source.

    \b
    meshkit catalog crawl
    """
    return output.show(mesh.catalog.crawl(sources=sources))


@catalog.command()
@click.argument("query", nargs=-1)
@click.option("--limit", default=20, show_default=True, help="Hits to show.")
@as_option
@mesh_options
@format_option()
def search(query: tuple[str, ...], limit: int, principal: str | None, mesh: Mesh, output: Output) -> int:
    """Find products: words, "phrase", -word, and fields such as domain: owner: column: trust> sla.freshness<=

    \b
    meshkit catalog search orders
    meshkit catalog search 'column:email sla.freshness<=1h'
    """
    from meshkit.catalog import SearchView

    reader = mesh.reader_or_none(principal)
    result = mesh.search(" ".join(query), limit=limit, principal=reader)
    access = {h.document.manifest.id: mesh.access_state(h.document.manifest.id, reader) for h in result.hits}
    return output.show(SearchView(result, access))


@catalog.command()
@click.argument("ref")
@as_option
@mesh_options
@format_option()
def show(ref: str, principal: str | None, mesh: Mesh, output: Output) -> int:
    """Show one product: promises, ports, SQL, readers, access.

    \b
    meshkit catalog show sales.orders
    """
    return output.show(mesh.product(ref, principal=mesh.reader_or_none(principal)))


@catalog.command("request-access")
@click.argument("ref")
@click.option("--purpose", required=True, help="`word` or `word: text`; a query must state the word.")
@click.option("--for", "duration", required=True, help="How long, for example 90d.")
@click.option("--columns", help="Columns to ask for, comma-separated; default all.")
@click.option("--port", help="Port to read.")
@as_option
@mesh_options
@format_option()
def request_access(
    ref: str,
    purpose: str,
    duration: str,
    columns: str | None,
    port: str | None,
    principal: str | None,
    mesh: Mesh,
    output: Output,
) -> int:
    """Ask for access to a product.

    \b
    meshkit catalog request-access sales.orders --purpose "reporting: Q4 revenue" --for 90d --as analyst
    """
    from meshkit.types.quantities import parse_duration

    reader = mesh.principal(principal)
    made = mesh.catalog.desk.request(
        mesh.catalog.find(ref, principal=reader).id, purpose=purpose, duration=parse_duration(duration).timedelta(), principal=reader,
        columns=_listed(columns), port=port,
    )  # fmt: skip
    return output.show(made)


def _listed(columns: str | None) -> list[str] | None:
    return [c.strip() for c in columns.split(",")] if columns is not None else None


@dataclass(frozen=True)
class _Requests:
    items: tuple[AccessRequest, ...]

    def to_text(self) -> str:
        return "\n".join(r.to_text() for r in self.items) or "There are no requests."

    def to_json(self) -> dict[str, Any]:
        return {"format": "meshkit.catalog.requests/1", "requests": [r.to_json() for r in self.items]}


@catalog.command()
@click.option("--mine", is_flag=True, help="Only those I made.")
@click.option("--waiting", is_flag=True, help="Only those I may decide.")
@as_option
@mesh_options
@format_option()
def requests(principal: str | None, mesh: Mesh, output: Output, *, mine: bool, waiting: bool) -> int:
    """List access requests, newest first.

    \b
    meshkit catalog requests --waiting --as jane
    """
    who = mesh.principal(principal) if mine or waiting else None
    return output.show(
        _Requests(mesh.catalog.desk.requests(mine=who if mine else None, waiting_for=who if waiting else None))
    )


@catalog.command()
@click.argument("request_id")
@click.option("--columns", help="Grant these only, comma-separated.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="End earlier than asked for (end of that day, UTC).")
@click.option("--note", default="", help="A remark for the requester.")
@as_option
@mesh_options
@format_option()
def approve(
    request_id: str,
    columns: str | None,
    until: datetime | None,
    note: str,
    principal: str | None,
    mesh: Mesh,
    output: Output,
) -> int:
    """Grant a request; may narrow it, never widen.

    \b
    meshkit catalog approve ar-20261124-7f3a9c01 --as jane
    """
    end = until.replace(tzinfo=UTC) + timedelta(days=1) if until else None
    return output.show(
        mesh.catalog.desk.approve(
            request_id, by=mesh.principal(principal), columns=_listed(columns), until=end, note=note
        )
    )


@catalog.command()
@click.argument("request_id")
@click.option("--reason", required=True, help="What the requester reads.")
@as_option
@mesh_options
@format_option()
def reject(request_id: str, reason: str, principal: str | None, mesh: Mesh, output: Output) -> int:
    """Refuse a request.

    \b
    meshkit catalog reject ar-20261124-7f3a9c01 --reason "use finance.revenue" --as jane
    """
    return output.show(mesh.catalog.desk.reject(request_id, by=mesh.principal(principal), reason=reason))


@catalog.command()
@click.argument("request_id")
@as_option
@mesh_options
@format_option()
def cancel(request_id: str, principal: str | None, mesh: Mesh, output: Output) -> int:
    """Take one's own request back.

    \b
    meshkit catalog cancel ar-20261124-7f3a9c01 --as analyst
    """
    return output.show(mesh.catalog.desk.cancel(request_id, by=mesh.principal(principal)))


@catalog.command()
@click.argument("grant_id")
@click.option("--reason", required=True, help="Why it ends.")
@as_option
@mesh_options
@format_option()
def revoke(grant_id: str, reason: str, principal: str | None, mesh: Mesh, output: Output) -> int:
    """End a grant at once: the next query is denied.

    \b
    meshkit catalog revoke ar-20261124-7f3a9c01 --reason "project ended" --as jane
    """
    return output.show(mesh.catalog.desk.revoke(grant_id, by=mesh.principal(principal), reason=reason))
