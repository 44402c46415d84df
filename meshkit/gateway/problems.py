"""Errors as RFC 9457 problems: a status, a stable code, what to do; never an input value."""

from __future__ import annotations

import json
import uuid
from typing import Any

from starlette.responses import Response

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = ["Problem", "problem_response", "status_of"]


class Problem(MeshkitError):
    """A request that is refused before a query runs."""

    code = "gateway.bad_request"

    def __init__(self, status: int, message: str, *, code: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.headers = status, headers or {}
        super().__init__(message, code=code)


_BY_CODE = {
    "federation.unparsable_sql": 400, "federation.unknown_table": 404, "federation.purpose_required": 403, "federation.audit_unavailable": 503,
    "federation.policy_unavailable": 503, "masking.policy_unavailable": 503, "federation.source_unavailable": 502, "federation.unknown_column": 400,
    "federation.schema_drift": 502, "federation.contract_violation": 502, "federation.no_queryable_port": 404, "federation.result_consumed": 500,
    "masking.token_rejected": 401,
}  # fmt: skip


def status_of(error: MeshkitError) -> int:
    """HTTP status of an error."""
    if isinstance(error, Problem):
        return error.status
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if getattr(error, "kind", None) == "timeout":
        return 504
    if isinstance(error, EnvironmentProblem):
        return 503
    if isinstance(error, UsageError):
        return 400
    return 403 if error.code.startswith("federation.") else 400


def problem_response(error: MeshkitError) -> Response:
    """The problem as `application/problem+json`."""
    status = status_of(error)
    position = getattr(error, "position", None)
    body: dict[str, Any] = {
        "type": "about:blank",
        "status": status,
        "code": error.code,
        "detail": error.message,
        "request_id": f"r-{uuid.uuid4().hex}",
    }
    if position is not None:
        body["position"] = {"line": position.line, "column": position.column}
    headers = {**getattr(error, "headers", {}), "Cache-Control": "private, no-store", "Vary": "Authorization, Accept"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(body), status, headers, "application/problem+json")
