"""Routes of the pages and their forms. Each builds a `Page` in a worker thread and shows it as HTML or as its facts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meshkit.catalog import AccessRefused
from meshkit.controlplane.errors import NotHere
from meshkit.controlplane.pages import Page
from meshkit.controlplane.pages import access as access_page
from meshkit.controlplane.pages import crawl as crawl_page
from meshkit.controlplane.pages import lineage as lineage_page
from meshkit.controlplane.pages import overview as overview_page
from meshkit.controlplane.pages import product as product_page
from meshkit.controlplane.pages import products as products_page
from meshkit.controlplane.pages import trust as trust_page
from meshkit.controlplane.plane import ControlPlane
from meshkit.controlplane.reader import Reader
from meshkit.controlplane.security import COOKIE
from meshkit.errors import MeshkitError, UsageError
from meshkit.types.quantities import parse_duration

__all__ = ["page_routes", "read_duration"]

MAX_FORM = 64 * 1024


def page_routes(plane: ControlPlane) -> APIRouter:
    """All pages, each also as `<URL>.json`."""
    router = APIRouter(include_in_schema=False)

    def serve(url: str, make: Callable[..., Page], *, json_url: str | None = None) -> None:
        _add(router, plane, url, json_url or f"{url}.json", make)

    def lineage(reader: Reader, request: Request) -> Page:
        q = request.query_params
        hops = q.get("hops", "")
        if hops and (not hops.isdigit() or not 1 <= int(hops) <= 6):
            raise UsageError("hops is a number from 1 to 6", code="controlplane.hops")
        return lineage_page.lineage(reader, q.get("focus") or None, hops=int(hops) if hops else None, column=q.get("column") or None,
                                    diff=q.get("diff") or None, at_text=q.get("at", ""))  # fmt: skip

    def product(reader: Reader, request: Request) -> Page:
        return product_page.product(reader, request.path_params["domain"], request.path_params["name"])

    def first(reader: Reader, request: Request) -> Page:
        text = request.query_params.get("q", "")
        if text:  # the box of the one view asks for products
            return products_page.products(reader, text[:500])
        return overview_page.overview(reader, focus=request.query_params.get("focus"))

    serve("/", first, json_url="/index.json")
    serve(
        "/products",
        lambda r, q: products_page.products(r, q.query_params.get("q", "")[:500], cursor=q.query_params.get("cursor")),
    )
    serve("/products/{domain}/{name}", product)
    serve("/lineage", lineage)
    serve("/trust", lambda r, q: trust_page.trust(r, product=q.query_params.get("product")))
    serve("/access", lambda r, _: access_page.access(r))
    serve("/crawl", lambda r, _: crawl_page.crawl(r))

    @router.get("/keys", response_model=None)
    def keys(request: Request) -> Response:
        return plane.html(request, Page("keys.html", "Keyboard", "/keys", {}), plane.reader(request))

    _forms(router, plane)
    return router


def _add(router: APIRouter, plane: ControlPlane, url: str, json_url: str, make: Callable[..., Page]) -> None:
    def as_json(request: Request) -> Response:
        return plane.facts(request, make(plane.reader(request), request))

    def as_html(request: Request) -> Response:
        reader = plane.reader(request)
        return plane.html(request, make(reader, request), reader)

    router.add_api_route(json_url, as_json, methods=["GET", "HEAD"], response_model=None)
    router.add_api_route(url, as_html, methods=["GET", "HEAD"], response_model=None)


def _forms(router: APIRouter, plane: ControlPlane) -> None:
    """Asking and deciding by form. Each answers with a redirect, or with the page again and why nothing was changed."""

    async def act(
        request: Request, run: Callable[[Reader, FormData], Any], again: Callable[[Reader, FormData, str], Page]
    ) -> Response:
        form = await _read_form(request)
        plane.forms.check(request.cookies.get(COOKIE), str(form.get("csrf", "")), request.headers)

        def work() -> Response:
            reader = plane.reader(request)
            try:
                run(reader, form)
            except (AccessRefused, UsageError) as error:
                return plane.html(request, again(reader, form, error.message), reader, action=True)
            return RedirectResponse("/access", 303)

        return await run_in_threadpool(work)

    def access_again(reader: Reader, _form: FormData, problem: str) -> Page:
        return access_page.access(reader, problem=problem)

    @router.post("/access/requests")
    async def ask(request: Request) -> Response:
        def again(reader: Reader, form: FormData, problem: str) -> Page:
            domain, _, name = str(form.get("product", "")).rpartition(".")
            kept = {k: str(form.get(k, "")) for k in ("purpose", "duration", "columns")}
            return product_page.product(reader, domain, name, form=kept, problem=problem)

        return await act(request, _ask, again)

    @router.post("/access/requests/{request_id}/{verb}")
    async def decide(request: Request, request_id: str, verb: str) -> Response:
        if verb not in _DECISIONS:
            raise NotHere(f"action {verb}")
        return await act(
            request, lambda reader, form: _DECISIONS[verb](_own(reader, request_id), reader, form), access_again
        )

    @router.post("/access/grants/{grant_id}/revoke")
    async def revoke(request: Request, grant_id: str) -> Response:
        def run(reader: Reader, form: FormData) -> None:
            reader.mesh.catalog.desk.revoke(_own(reader, grant_id), by=reader.principal, reason=_reason(form, "reason"))

        return await act(request, run, access_again)


async def _read_form(request: Request) -> FormData:
    if int(request.headers.get("content-length") or 0) > MAX_FORM:
        raise UsageError("the form is larger than 64 KiB", code="controlplane.form_too_large")
    return await request.form(max_files=0, max_fields=2000, max_part_size=MAX_FORM)


def _own(reader: Reader, request_id: str) -> str:
    """The id, if the request is the reader's or theirs to decide. Raises: `NotHere` for all others, there or not."""
    if reader.request(request_id) is None:
        raise NotHere(f"request {request_id}")
    return request_id


def read_duration(text: str) -> timedelta:
    """`90d`, `P90D`, `90` (days). Raises: `UsageError`."""
    plain = text.strip()
    try:
        return parse_duration(f"{plain}d" if plain.isdigit() else plain).timedelta()
    except MeshkitError as error:
        raise UsageError(f"{error.message}. For example 90d", code="access.duration") from None


def _ask(reader: Reader, form: FormData) -> None:
    name = str(form.get("product", ""))
    if name not in reader.manifests:
        raise NotHere(name or "product")
    text = [c.strip() for value in form.getlist("columns") for c in str(value).split(",")]
    columns = [c for c in text if c]
    reader.mesh.catalog.desk.request(
        name, purpose=str(form.get("purpose", "")), duration=read_duration(str(form.get("duration") or "90d")), principal=reader.principal, columns=columns or None
    )  # fmt: skip


def _approve(request_id: str, reader: Reader, form: FormData) -> None:
    request = reader.mesh.catalog.desk.find(request_id, now=reader.now)
    columns = [str(c) for c in form.getlist("column")]
    if not columns:
        raise UsageError("leave at least one column, or reject the request", code="controlplane.no_column")
    until = None
    if form.get("until"):
        try:
            day = datetime.fromisoformat(str(form["until"])).date()
        except ValueError:
            raise UsageError("the end is a date like 2027-02-22", code="controlplane.until") from None
        # a date is the end of that day, but never later than what was asked for
        until = min(datetime.combine(day, time.max, UTC), reader.now + request.duration)
        if until <= reader.now:
            raise UsageError("the end lies in the past. Choose a later one", code="controlplane.until")
    reader.mesh.catalog.desk.approve(
        request_id, by=reader.principal, columns=columns, until=until, note=str(form.get("note", "")), now=reader.now
    )


def _reject(request_id: str, reader: Reader, form: FormData) -> None:
    reader.mesh.catalog.desk.reject(request_id, by=reader.principal, reason=_reason(form, "note"))


def _cancel(request_id: str, reader: Reader, _form: FormData) -> None:
    reader.mesh.catalog.desk.cancel(request_id, by=reader.principal)


_DECISIONS: dict[str, Callable[[str, Reader, FormData], None]] = {
    "approve": _approve,
    "reject": _reject,
    "cancel": _cancel,
}


def _reason(form: FormData, name: str) -> str:
    """What the other side reads; may stay empty in a form, then it says so."""
    return str(form.get(name, "")).strip() or "no reason was given"
