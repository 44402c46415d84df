"""`ControlPlane`: what all routes share: the mesh, who reads, rendering, form tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from meshkit.controlplane.answers import conditional, json_bytes
from meshkit.controlplane.errors import HostRefused, SignInNeeded
from meshkit.controlplane.pages import Page
from meshkit.controlplane.pages.crawl import last_crawl
from meshkit.controlplane.reader import Reader
from meshkit.controlplane.render import Renderer
from meshkit.controlplane.security import COOKIE, LOOPBACK, Forms, host_of
from meshkit.controlplane.shared import Shared
from meshkit.lineage import instant

if TYPE_CHECKING:
    from meshkit.mesh import Mesh
    from meshkit.ports import Principal

__all__ = ["ControlPlane"]


class ControlPlane:
    """The state of one server. `dev_principal` reads for everybody who sends no bearer token; then only loopback names are answered."""

    def __init__(self, mesh: Mesh, *, dev_principal: str | None) -> None:
        self.mesh, self.dev_principal = mesh, dev_principal
        if dev_principal is not None:
            mesh.principal(dev_principal)  # an unknown name is an error of the start, not of the first page
        for part in ("decider", "catalog", "evidence", "lineage_store", "query_log"):
            getattr(
                mesh, part
            )  # made before the first two requests could make them at once; a bad policy stops the start
        self.renderer = Renderer(mesh.config.name)
        self.forms = Forms()
        self.shared = Shared(mesh)

    def check_host(self, header: str) -> None:
        """Refuse names that were rebound to this server: without sign-in the name is all that protects it. Raises: `HostRefused`."""
        if self.dev_principal is not None and host_of(header) not in LOOPBACK:
            raise HostRefused

    def principal(self, request: Request) -> Principal:
        """The subject of the bearer token, else the development principal. Raises: `SignInNeeded`, `TokenRejected`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return self.mesh.principal(token=token.strip())
        if self.dev_principal is None:
            raise SignInNeeded
        return self.mesh.principal(self.dev_principal)

    def reader(self, request: Request) -> Reader:
        """The mesh as the caller sees it, at `?at=` or now. Raises: `SignInNeeded`, `TokenRejected`, `UsageError` for an instant that can't be read."""
        now = datetime.now(UTC)
        text = request.query_params.get("at", "").strip()
        at = instant(text, now=now) if text and text != f"{now:%Y-%m-%d}" else None
        return Reader(self.mesh, self.shared, self.principal(request), now, at if at is not None and at < now else None)

    def html(self, request: Request, page: Page, reader: Reader | None, *, action: bool = False) -> Response:
        """A page, with its session cookie. `action` marks the answer to a form, which is never cached."""
        session = request.cookies.get(COOKIE)
        fresh = session or self.forms.new_session()
        body = self.renderer.html(page, **self._shown(request, page, reader, fresh)).encode()
        response = conditional(request, body, "text/html; charset=utf-8", status=page.status)
        if action:
            response.headers["Cache-Control"] = "no-store"
        if session is None:
            response.set_cookie(
                COOKIE, fresh, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/"
            )
        return response

    def _shown(self, request: Request, page: Page, reader: Reader | None, session: str) -> dict[str, Any]:
        """What every page shows beside its own view."""
        path = request.url.path
        shown: dict[str, Any] = {
            "path": path, "token": self.forms.token(session), "dev": self.dev_principal, "reader": reader, "past": False, "keep": "", "keep_and": "?",
            "waiting": 0, "json_url": None, "moment": datetime.now(UTC), "now": datetime.now(UTC), "query": request.query_params.get("q", ""),
        }  # fmt: skip
        if reader is None:
            return shown
        keep = f"?at={reader.moment:%Y-%m-%dT%H:%M:%SZ}" if reader.is_past else ""
        shown |= {
            "past": reader.is_past, "keep": keep, "keep_and": f"{keep}&" if keep else "?", "waiting": len(reader.waiting), "moment": reader.moment,
            "now": reader.now, "crawled": last_crawl(reader), "manifests": reader.manifests, "today": f"{reader.now:%Y-%m-%d}",
        }  # fmt: skip
        if page.facts and request.method == "GET":
            tail = f"?{request.url.query}" if request.url.query else ""
            shown["json_url"] = f"{'/index' if path == '/' else path}.json{tail}"
        return shown

    def facts(self, request: Request, page: Page) -> Response:
        """A page as JSON."""
        return conditional(request, json_bytes(page.facts), "application/json", status=page.status)
