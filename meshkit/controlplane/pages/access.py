"""`/access`: what waits for you to decide, what you asked for, what was decided."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meshkit.controlplane.pages.page import Page

if TYPE_CHECKING:
    from meshkit.catalog import AccessRequest
    from meshkit.controlplane.reader import Reader

__all__ = ["access", "access_json"]


def access(reader: Reader, *, problem: str = "") -> Page:
    """The access page; `problem` says why the last decision was refused."""
    desk = reader.mesh.catalog.desk
    known = desk.requests(now=reader.now)
    mine = [r for r in known if r.by == reader.principal.subject]
    decided = [r for r in known if r.status != "requested" and r not in mine and desk.may_decide(r, reader.principal)]
    view = {
        "waiting_list": [_asked(reader, r) for r in reader.waiting], "mine": mine, "history": [r for r in decided if r.status != "approved"],
        "grants": [r for r in decided if r.status == "approved"], "head": _head(len(reader.waiting), mine), "problem": problem,
        "manifests": reader.manifests,
    }  # fmt: skip
    return Page("access.html", "Access", "/access", access_json(reader), view, 422 if problem else 200)


def access_json(reader: Reader) -> dict[str, Any]:
    """`meshkit.controlplane.access/1`."""
    desk = reader.mesh.catalog.desk
    known = desk.requests(now=reader.now)
    mine = [r.to_json() for r in known if r.by == reader.principal.subject]
    decided = [
        r.to_json()
        for r in known
        if r.status != "requested" and r.by != reader.principal.subject and desk.may_decide(r, reader.principal)
    ]
    return {
        "format": "meshkit.controlplane.access/1",
        "as_of": reader.now.isoformat(),
        "waiting_for_you": [r.to_json() for r in reader.waiting],
        "mine": mine,
        "decided": decided,
    }


def _head(waiting: int, mine: list[AccessRequest]) -> str:
    if waiting:
        return f"{waiting} {'request waits' if waiting == 1 else 'requests wait'} for you."
    open_ones = sum(r.status == "requested" for r in mine)
    if open_ones:
        return f"{open_ones} of your requests {'waits' if open_ones == 1 else 'wait'} for a decision."
    active = sum(r.status == "approved" for r in mine)
    return (
        f"You hold {active} {'grant' if active == 1 else 'grants'}; nothing waits."
        if active
        else "Nothing waits, and you asked for nothing."
    )


def _asked(reader: Reader, request: AccessRequest) -> dict[str, Any]:
    """What a decider sees before the button: columns with class, end, record."""
    manifest = reader.mesh.catalog.manifests().get(request.product)
    fields = {n: f for o in manifest.objects.values() for n, f in o.fields.items()} if manifest else {}
    asked = list(request.columns) if request.columns is not None else list(fields)
    other = [
        r
        for r in reader.mesh.catalog.desk.requests(now=reader.now)
        if r.principal == request.principal and r.status == "approved"
    ]
    return {
        "r": request, "all": len(fields), "columns": [(c, fields[c].classification or "not classified", ", ".join(fields[c].tags)) for c in asked if c in fields],
        "latest": reader.now + request.duration, "lapses": request.at + timedelta(days=30), "others": len(other), "manifest": manifest,
    }  # fmt: skip
