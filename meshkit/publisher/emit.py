"""For applications: give the changes of the current transaction a trace. Any DB-API connection to PostgreSQL."""

from __future__ import annotations

from typing import Any

from meshkit.errors import UsageError
from meshkit.publisher.rows import TRACEPARENT

__all__ = ["set_trace"]


def set_trace(connection: Any, traceparent: str) -> None:
    """Events of later changes of this transaction carry this W3C trace. Raises: `UsageError` if it is malformed."""
    if TRACEPARENT.match(traceparent) is None:
        raise UsageError("no W3C traceparent. It looks like 00-<32 hex>-<16 hex>-01")
    cursor = connection.cursor()
    cursor.execute("SELECT pg_logical_emit_message(true, 'mesh.traceparent', %s::text)", (traceparent,))
    cursor.close()
