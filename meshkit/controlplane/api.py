"""`/api/v1`: the facts of the pages, and access requests. Errors are `application/problem+json`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from meshkit.controlplane.answers import conditional, json_bytes
from meshkit.controlplane.errors import NotHere
from meshkit.controlplane.pages.access import access_json
from meshkit.controlplane.pages.crawl import crawl_json
from meshkit.controlplane.pages.lineage import view_graph
from meshkit.controlplane.pages.product import product_json
from meshkit.controlplane.pages.products import search_json
from meshkit.controlplane.pages.trust import trust_json
from meshkit.controlplane.plane import ControlPlane
from meshkit.controlplane.reader import Reader
from meshkit.controlplane.security import check_origin
from meshkit.controlplane.web import read_duration
from meshkit.errors import UsageError
from meshkit.lineage import impact as find_impact

__all__ = ["api_routes"]


class Ask(BaseModel):
    """Body of a request for access. `duration` is `90d`, ISO 8601, or days as a number."""

    model_config = ConfigDict(extra="forbid")

    product: str
    purpose: str
    duration: str | int = "90d"
    columns: list[str] | None = None
    port: str | None = None


class Approve(BaseModel):
    """Body of an approval; may narrow, never widen."""

    model_config = ConfigDict(extra="forbid")

    columns: list[str] | None = None
    until: datetime | None = None
    note: str = ""


class Why(BaseModel):
    """Body of a rejection or revocation."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


def reader_of(request: Request) -> Reader:
    """The mesh as the caller sees it."""
    plane: ControlPlane = request.app.state.plane
    return plane.reader(request)


def writer_of(request: Request) -> Reader:
    """As `reader_of`, for calls that change something: not from another site's page, not at a past instant."""
    check_origin(request.headers)
    reader = reader_of(request)
    if reader.is_past:
        raise UsageError("nothing can be changed at a past instant. Leave out `at`", code="controlplane.past")
    return reader


Seen = Annotated[Reader, Depends(reader_of)]
Writer = Annotated[Reader, Depends(writer_of)]


def api_routes() -> APIRouter:
    """Reads and writes of the API."""
    router = APIRouter(prefix="/api/v1")
    _reads(router)
    _writes(router)
    return router


def _reads(router: APIRouter) -> None:
    def answer(request: Request, value: dict[str, Any]) -> Response:
        return conditional(request, json_bytes(value), "application/json")

    @router.get("/products")
    def products(
        request: Request,
        reader: Seen,
        q: str = "",
        query: str = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        cursor: str | None = None,
    ) -> Response:
        return answer(request, search_json(reader, reader.search(query or q, limit=limit, cursor=cursor)))

    @router.get("/products/{domain}/{name}")
    def product(request: Request, reader: Seen, domain: str, name: str) -> Response:
        return answer(request, product_json(reader, _manifest(reader, f"{domain}.{name}")))

    @router.get("/lineage")
    def lineage(
        request: Request,
        reader: Seen,
        focus: str | None = None,
        hops: Annotated[int | None, Query(ge=1, le=6)] = None,
        column: str | None = None,
        diff: str | None = None,
    ) -> Response:
        return answer(request, view_graph(reader, focus, hops=hops, column=column, diff=diff).to_json(reader.views))

    @router.get("/impact")
    def impact(
        request: Request,
        reader: Seen,
        urn: str,
        column: str | None = None,
        change: Literal["remove", "retype", "stop"] = "remove",
    ) -> Response:
        return answer(request, find_impact(reader.graph, reader.graph.find(urn), column, change=change).to_json())

    @router.get("/trust")
    def trust(request: Request, reader: Seen) -> Response:
        return answer(request, trust_json(reader))

    @router.get("/access/requests")
    def requests(request: Request, reader: Seen) -> Response:
        return answer(request, access_json(reader))

    @router.get("/crawl")
    def crawl(request: Request, reader: Seen) -> Response:
        return answer(request, crawl_json(reader))


def _manifest(reader: Reader, product: str) -> Any:
    manifest = reader.manifests.get(product)
    if manifest is None:
        raise NotHere(product)
    return manifest


def _writes(router: APIRouter) -> None:
    def answer(value: Any, status: int = 200) -> Response:
        return Response(json_bytes(value.to_json()), status, {"Cache-Control": "no-store"}, "application/json")

    def own(reader: Reader, request_id: str) -> str:
        if reader.request(request_id) is None:
            raise NotHere(f"request {request_id}")
        return request_id

    @router.post("/access/requests", status_code=201)
    def ask(reader: Writer, body: Ask) -> Response:
        name = _manifest(reader, body.product.removeprefix("urn:mesh:").replace(":", ".")).id
        duration = read_duration(str(body.duration))
        made = reader.mesh.catalog.desk.request(
            name,
            purpose=body.purpose,
            duration=duration,
            principal=reader.principal,
            columns=body.columns,
            port=body.port,
        )
        return answer(made, 201)

    @router.post("/access/requests/{request_id}/approve")
    def approve(reader: Writer, request_id: str, body: Approve | None = None) -> Response:
        given = body or Approve()
        desk = reader.mesh.catalog.desk
        return answer(
            desk.approve(
                own(reader, request_id), by=reader.principal, columns=given.columns, until=given.until, note=given.note
            )
        )

    @router.post("/access/requests/{request_id}/reject")
    def reject(reader: Writer, request_id: str, body: Why) -> Response:
        return answer(reader.mesh.catalog.desk.reject(own(reader, request_id), by=reader.principal, reason=body.reason))

    @router.post("/access/requests/{request_id}/cancel")
    def cancel(reader: Writer, request_id: str) -> Response:
        return answer(reader.mesh.catalog.desk.cancel(own(reader, request_id), by=reader.principal))

    @router.post("/access/grants/{grant_id}/revoke")
    def revoke(reader: Writer, grant_id: str, body: Why) -> Response:
        return answer(reader.mesh.catalog.desk.revoke(own(reader, grant_id), by=reader.principal, reason=body.reason))
