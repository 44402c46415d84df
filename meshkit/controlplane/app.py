"""The web application: routes, error pages, headers of every answer. `create_app(mesh, dev_principal=...)` is an ASGI application."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meshkit import __version__
from meshkit.controlplane.answers import problem, status_of
from meshkit.controlplane.api import api_routes
from meshkit.controlplane.errors import HostRefused, NotHere, SignInNeeded
from meshkit.controlplane.pages import Page
from meshkit.controlplane.plane import ControlPlane
from meshkit.controlplane.security import HEADERS, LOOPBACK
from meshkit.controlplane.web import page_routes
from meshkit.errors import MeshkitError
from meshkit.log import get_logger

if TYPE_CHECKING:
    from meshkit.mesh import Mesh

__all__ = ["create_app"]

log = get_logger(__name__)


def create_app(mesh: Mesh, *, dev_principal: str | None = None) -> FastAPI:
    """The control plane of a mesh as an ASGI application; the caller keeps the mesh open.

    `dev_principal` reads for everybody without a bearer token, on loopback names only. Raises: `MeshkitError` if the mesh does not know it.
    """
    plane = ControlPlane(mesh, dev_principal=dev_principal)
    app = FastAPI(
        title=f"{mesh.config.name} mesh",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.plane = plane
    app.include_router(api_routes())
    app.include_router(_service_routes(plane))
    app.include_router(page_routes(plane))
    _errors(app, plane)
    app.add_middleware(Guard, plane=plane)
    return app


def _service_routes(plane: ControlPlane) -> Any:
    from fastapi import APIRouter

    from meshkit.slo import to_metrics

    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    def healthz() -> Response:
        plane.mesh.catalog.sources()  # the state store answers
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        """Loopback only: a scraper has no principal, so it gets what is not restricted."""
        client = request.client.host if request.client else ""
        if client not in LOOPBACK or "x-forwarded-for" in request.headers or "forwarded" in request.headers:
            raise NotHere("page /metrics")
        restricted = set(plane.mesh.catalog.settings.restricted)
        text = to_metrics(e for e in plane.shared.evaluations(datetime.now(UTC)) if e.product not in restricted)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4", headers={"Cache-Control": "no-store"})

    @router.get("/static/{name}")
    def static(request: Request, name: str) -> Response:  # noqa: ARG001
        found = plane.renderer.by_url.get(request.url.path)
        if found is None:
            raise NotHere("file")
        return Response(
            found.content, headers={"Cache-Control": "public, max-age=31536000, immutable"}, media_type=found.media_type
        )

    return router


class Guard:
    """Refuses foreign host names and puts the security headers on every answer, also on errors."""

    def __init__(self, app: ASGIApp, plane: ControlPlane) -> None:
        self.app, self.plane = app, plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "private, no-cache")
                headers.setdefault("Vary", "Cookie, Authorization, Accept")
            await send(message)

        try:
            self.plane.check_host(Headers(scope=scope).get("host", ""))
        except HostRefused as error:
            await problem(421, error.code, error.message)(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)


def _errors(app: FastAPI, plane: ControlPlane) -> None:
    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, MeshkitError)
        return await run_in_threadpool(_show, plane, request, status_of(error), error.code, error.message, error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "controlplane.not_found" if error.status_code == 404 else "controlplane.http"
        detail = NotHere(f"page {request.url.path}").message if error.status_code == 404 else str(error.detail)
        return await run_in_threadpool(_show, plane, request, error.status_code, code, detail, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        places = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()[:10])
        return await run_in_threadpool(_show, plane, request, 400, "controlplane.invalid", places, error)

    async def unexpected(request: Request, error: Exception) -> Response:
        # the process edge: the cause goes to the log, the reader gets no inner detail
        log.error("controlplane.failed", path=request.url.path, error=type(error).__name__, exc_info=error)
        return problem(
            500, "controlplane.failed", "the page could not be made; nothing was changed. See the log of the server"
        )

    app.add_exception_handler(MeshkitError, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unexpected)


def _show(plane: ControlPlane, request: Request, status: int, code: str, detail: str, error: Exception) -> Response:
    """An error as a page, or as a problem for programs."""
    path = request.url.path
    if path.startswith(("/api/", "/static/")) or path.endswith(".json") or path in {"/healthz", "/metrics"}:
        return problem(status, code, detail)
    try:
        reader = None if isinstance(error, SignInNeeded) or status in {401, 503} else plane.reader(request)
    except MeshkitError:
        reader = None
    first, _, rest = detail.partition(". ")
    head = f"{first[:1].upper()}{first[1:].removesuffix('.')}."
    view: dict[str, Any] = {
        "head": head,
        "detail": rest or "Nothing was changed.",
        "code": code,
        "action": ("/", "Open the overview"),
        "suggestions": [],
    }
    if isinstance(error, NotHere) or status == 404:
        what = error.what if isinstance(error, NotHere) else path
        word = what.rpartition(".")[2].rpartition("/")[2]
        near = getattr(error, "near", ())
        view |= {
            "detail": "Both look the same on purpose.",
            "action": (f"/products?{urlencode({'q': word})}", f"Search for {word}"),
        }
        view["suggestions"] = [(n, f"/lineage?{urlencode({'focus': n})}") for n in near]
        if isinstance(error, NotHere):
            view["head"] = f"There is no {what} here, or you may not see it."
    response = plane.html(request, Page("problem.html", "Problem", "", {}, view, status), reader, action=True)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
