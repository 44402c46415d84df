"""The HTTP application: routes, identity, limits, streams. The mesh is sync and runs in worker threads. Source: section 6."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from meshkit.errors import MeshkitError
from meshkit.gateway import formats
from meshkit.gateway.params import DEFAULT_PAGE, LARGEST_PAGE, read_query
from meshkit.gateway.problems import Problem, problem_response
from meshkit.gateway.settings import GatewaySettings
from meshkit.log import get_logger
from meshkit.ports import Principal

if TYPE_CHECKING:
    from meshkit.federation import QueryResult
    from meshkit.mesh import Mesh

__all__ = ["create_app"]

log = get_logger(__name__)
_HEADERS = {"Cache-Control": "private, no-store", "Vary": "Authorization, Accept", "X-Content-Type-Options": "nosniff"}


class _Limits:
    """Queries at once, per subject and in all."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings, self._lock = settings, threading.Lock()
        self._running: dict[str, int] = {}

    @contextmanager
    def slot(self, subject: str) -> Iterator[None]:
        """Hold a place while a query runs. Raises: `Problem` 429."""
        self.enter(subject)
        try:
            yield
        finally:
            self.leave(subject)

    def enter(self, subject: str) -> None:
        with self._lock:
            mine = self._running.get(subject, 0)
            if mine >= self.settings.per_subject or sum(self._running.values()) >= self.settings.per_worker:
                raise Problem(
                    429,
                    "too many queries at once. Try again when one has ended",
                    code="gateway.busy",
                    headers={"Retry-After": "1"},
                )
            self._running[subject] = mine + 1

    def leave(self, subject: str) -> None:
        with self._lock:
            left = self._running.get(subject, 1) - 1
            if left:
                self._running[subject] = left
            else:
                self._running.pop(subject, None)


class _Gateway:
    """What routes share."""

    def __init__(self, mesh: Mesh, settings: GatewaySettings, *, dev_tokens: bool) -> None:
        self.mesh, self.settings, self.dev_tokens = mesh, settings, dev_tokens
        self.limits = _Limits(settings)
        # made before the first request: a broken policy file stops the start, and threads don't race to make them
        _ = mesh.federation, mesh.tokens

    def principal(self, request: Request) -> Principal:
        """The bearer token's subject, and nothing else: identity headers and parameters are ignored. Raises: `Problem` 400, 401, 403."""
        given = request.headers.getlist("authorization")
        if len(given) > 1:
            raise Problem(400, "two Authorization headers. Send one", code="gateway.two_tokens")
        scheme, _, token = (given[0] if given else "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "a bearer token is needed: Authorization: Bearer ...", code="gateway.no_token")
        try:
            if self.dev_tokens and token.startswith("dev:"):
                return self.mesh.tokens.dev(token.removeprefix("dev:"))
            found = self.mesh.tokens.verify(token)
        except MeshkitError as error:
            raise Problem(401, error.message, code=error.code) from None
        if not found.roles:
            raise Problem(403, "the token has no role that this mesh knows", code="gateway.no_roles")
        return found

    def product(self, request: Request, domain: str, name: str) -> Response:
        """`GET /products/{domain}/{name}`."""
        form = self._form(request)
        principal = self.principal(request)
        purpose = request.headers.get("meshkit-purpose")
        product = f"{domain}.{name}"
        manifest = self.mesh.manifests.get(product)
        if (
            manifest is None
            or not self.mesh.decider.decide(product, principal, purpose=purpose, now=datetime.now(UTC)).allow
        ):
            self._deny(
                f"SELECT * FROM {domain}.{name}" if manifest else "SELECT * FROM unknown.product", principal, purpose
            )
        assert manifest is not None
        query = read_query(manifest, self.mesh.table_name(manifest), request.query_params.multi_items())
        facts = {"product": manifest.id, "version": manifest.version}
        return self._answer(query.sql, query.parameters, query.limit, form, principal, purpose, facts)

    def _deny(self, sql: str, principal: Principal, purpose: str | None) -> None:
        """Let the gate refuse it, so that forbidden and unknown are recorded and answered alike."""
        try:
            self.mesh.federation.sql(sql, principal=principal, purpose=purpose, channel="http").close()
        except MeshkitError as error:
            if error.code.endswith(("purpose_required", "policy_unavailable", "audit_unavailable")):
                raise
        raise Problem(404, "there is no such product, or it is not yours to read", code="gateway.unknown_product")

    def sql(self, request: Request, body: bytes) -> Response:
        """`POST /sql`."""
        form = self._form(request)
        principal = self.principal(request)
        given = _body(body)
        limit = given.get("limit")
        if limit is not None and (
            not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= LARGEST_PAGE
        ):
            raise Problem(400, f"limit is a number up to {LARGEST_PAGE:,}", code="gateway.limit")
        return self._answer(
            given["sql"],
            given.get("parameters") or {},
            limit,
            form,
            principal,
            given.get("purpose"),
            {},
            dialect=given.get("dialect", "duckdb"),
        )

    def _form(self, request: Request) -> str:
        form = formats.choose(request.headers.get("accept"))
        if form is None:
            raise Problem(
                406,
                f"this gateway answers with {formats.JSON}, {formats.NDJSON} or {formats.ARROW}",
                code="gateway.not_acceptable",
            )
        return form

    def _answer(
        self, sql: str, parameters: dict[str, Any], limit: int | None, form: str, principal: Principal, purpose: str | None, facts: dict[str, Any],
        *, dialect: Any = "duckdb",
    ) -> Response:  # fmt: skip
        self.limits.enter(principal.subject)
        try:
            result = self.mesh.federation.sql(
                sql,
                principal=principal,
                purpose=purpose,
                parameters=parameters,
                dialect=dialect,
                timeout_seconds=self.settings.timeout_seconds,
                channel="http",
            )
        except BaseException:
            self.limits.leave(principal.subject)
            raise
        if form == formats.JSON:
            try:
                return _page(result, DEFAULT_PAGE if limit is None else limit, facts)
            finally:
                result.close()
                self.limits.leave(principal.subject)
        batches = self._checked(result, principal, purpose, limit)
        body = (
            formats.ndjson_stream(batches) if form == formats.NDJSON else formats.arrow_stream(result.schema, batches)
        )
        return StreamingResponse(body, 200, {**_HEADERS, **_fact_headers(result, facts)}, form)

    def _checked(
        self, result: QueryResult, principal: Principal, purpose: str | None, limit: int | None
    ) -> Iterator[Any]:
        """Batches while the decisions hold: each is made again before its batch leaves, another one breaks the transfer."""
        left = limit
        try:
            for batch in result.batches():
                for product, decision in result.decisions.items():
                    again = self.mesh.decider.decide(product, principal, purpose=purpose, now=datetime.now(UTC))
                    if again.decision_id != decision.decision_id:
                        raise Problem(403, "the policy changed while the rows were sent", code="gateway.policy_changed")
                yield batch if left is None else batch.slice(0, left)
                left = None if left is None else left - batch.num_rows
                if left is not None and left <= 0:
                    return
        finally:
            result.close()
            self.limits.leave(principal.subject)

    def health(self) -> Response:
        """200 while policies and audit are usable."""
        try:
            revision = self.mesh.decider.revision()
            _ = self.mesh.audit
        except (MeshkitError, OSError) as error:
            code = error.code if isinstance(error, MeshkitError) else "gateway.audit_unavailable"
            return Response(json.dumps({"status": "unusable", "code": code}), 503, media_type="application/json")
        return Response(json.dumps({"status": "ok", "policy_revision": revision}), media_type="application/json")


def _page(result: QueryResult, limit: int, facts: dict[str, Any]) -> Response:
    """A JSON body of at most `limit` rows; `truncated` says that there were more."""
    taken, rows, truncated = [], 0, False
    for batch in result.batches():
        if rows + batch.num_rows > limit:
            taken.append(batch.slice(0, limit - rows))
            rows, truncated = limit, True
            break
        taken.append(batch)
        rows += batch.num_rows
    head = {**facts, "query_id": result.query_id, "trust": result.trust, "masked": _masked(result)}
    if not facts:
        head["columns"] = [
            {"name": c.name, "type": c.type, "product": c.product, "mask": c.mask, "rule": c.rule}
            for c in result.columns
        ]
    tail = {"next": None, **({"truncated": True} if truncated else {}), **({} if facts else {"row_count": rows})}
    body = json.dumps(head)[:-1] + ', "rows": ' + formats.json_rows(iter(taken)) + ", " + json.dumps(tail)[1:]
    return Response(
        body, 200, {**_HEADERS, "Meshkit-Trust": result.trust, "Meshkit-Query-Id": result.query_id}, formats.JSON
    )


def _masked(result: QueryResult) -> list[dict[str, Any]]:
    return [{"column": c.name, "mask": c.mask, "rule": c.rule} for c in result.columns if c.mask not in {None, "clear"}]


def _fact_headers(result: QueryResult, facts: dict[str, Any]) -> dict[str, str]:
    masked = ",".join(f"{m['column']}={m['mask']}" for m in _masked(result)).encode("ascii", "replace").decode()
    found = {"Meshkit-Trust": result.trust, "Meshkit-Query-Id": result.query_id, "Meshkit-Masked": masked}
    return found | ({"Meshkit-Product": f"{facts['product']} {facts['version']}"} if facts else {})


def _body(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, 'the body is no JSON. Send {"sql": "SELECT ..."}', code="gateway.body") from None
    if not isinstance(given, dict) or not isinstance(given.get("sql"), str):
        raise Problem(400, 'the body needs "sql" with a text', code="gateway.body")
    unknown = set(given) - {"sql", "parameters", "dialect", "purpose", "limit"}
    if unknown:
        raise Problem(
            400,
            "the body has an unknown key. Known: sql, parameters, dialect, purpose, limit",
            code="gateway.unknown_parameter",
        )
    if not isinstance(given.get("parameters", {}), dict | None) or not isinstance(given.get("purpose", ""), str | None):
        raise Problem(400, '"parameters" is an object, "purpose" a text', code="gateway.body")
    return given


def create_app(mesh: Mesh, *, settings: GatewaySettings | None = None, dev_tokens: bool = False) -> FastAPI:
    """The application over a mesh opened with trust `enforced`.

    `dev_tokens`: `Bearer dev:NAME` is the dev principal NAME; for local meshes on loopback only.
    """
    gateway = _Gateway(mesh, settings or mesh.config.section("gateway"), dev_tokens=dev_tokens)
    app = FastAPI(title="meshkit gateway", docs_url=None, redoc_url=None)

    @app.exception_handler(MeshkitError)
    async def _problem(_: Request, error: MeshkitError) -> Response:
        return problem_response(error)

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> Response:
        # the process edge: the client learns that it failed and nothing else
        log.error("request.failed", error=type(error).__name__)
        return problem_response(Problem(500, "the gateway failed. The request was not answered", code="gateway.failed"))

    @app.get("/healthz")
    async def healthz() -> Response:
        """Whether policies and audit are usable."""
        return await run_in_threadpool(gateway.health)

    @app.get("/products/{domain}/{name}")
    async def product(request: Request, domain: str, name: str) -> Response:
        """Rows of a product as the caller may see them."""
        return await run_in_threadpool(gateway.product, request, domain, name)

    @app.post("/sql")
    async def sql(request: Request) -> Response:
        """Rows of a query as the caller may see them."""
        received = b""
        async for part in request.stream():
            received += part
            if len(received) > gateway.settings.body_bytes:
                raise Problem(
                    413, f"the body has more than {gateway.settings.body_bytes:,} bytes", code="gateway.too_large"
                )
        return await run_in_threadpool(gateway.sql, request, received)

    return app
