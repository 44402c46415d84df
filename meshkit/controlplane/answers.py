"""Responses: JSON, problems (RFC 9457) and conditional answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = ["conditional", "json_bytes", "problem", "status_of"]

_STATUS = {
    "catalog.not_found": 404, "controlplane.not_found": 404, "access.unknown_product": 404, "access.unknown_request": 404, "access.not_allowed": 403,
    "access.already_decided": 409, "controlplane.sign_in": 401, "controlplane.form_refused": 403, "controlplane.host": 421, "access.gone": 410,
    "lineage.unknown_node": 404,
}  # fmt: skip
_TITLES = {400: "Bad request", 401: "Sign in", 403: "Not allowed", 404: "Not found", 405: "Not allowed here", 409: "Already decided", 410: "Gone", 421: "Wrong host",
           422: "Refused", 500: "Server error", 503: "Not available"}  # fmt: skip


def status_of(error: MeshkitError) -> int:
    """HTTP status of an error."""
    from meshkit.lineage import UnknownNode
    from meshkit.masking import TokenRejected

    if error.code in _STATUS:
        return _STATUS[error.code]
    if isinstance(error, TokenRejected):
        return 401
    if isinstance(error, UnknownNode):
        return 404
    if isinstance(error, UsageError):
        return 400
    return 503 if isinstance(error, EnvironmentProblem) else 422


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """JSON as documented: UTF-8, times RFC 3339 UTC."""

    def plain(item: Any) -> Any:
        if isinstance(item, datetime):
            return item.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return str(item)

    return json.dumps(value, ensure_ascii=False, default=plain).encode()


def problem(status: int, code: str, detail: str) -> Response:
    """`application/problem+json` with `code`."""
    body = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response(json_bytes(body), status, headers, "application/problem+json")


def conditional(request: Request, body: bytes, media_type: str, *, status: int = 200) -> Response:
    """The body with its ETag, or 304 if the client has it."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization, Accept"}
    known = {t.strip().removeprefix("W/") for t in request.headers.get("if-none-match", "").split(",")}
    if status == 200 and request.method in {"GET", "HEAD"} and tag in known:
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type)
