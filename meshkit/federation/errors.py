"""Errors of the SQL path. A message names tables, columns, functions and positions in the user's text; never a data value.

Source of the codes: federation-and-masking sections 9 and 14. Forbidden and unknown products give the same `unknown_table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = [
    "AuditUnavailable",
    "ContractBroken",
    "MissingPrincipal",
    "NoQueryablePort",
    "PolicyUnavailable",
    "Position",
    "QueryDenied",
    "QueryFailed",
    "ResultConsumed",
    "SchemaDrift",
    "SourceUnavailable",
    "UnparsableSql",
]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the user's SQL text: line and column from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"<sql>:{self.line}:{self.column}"


class QueryDenied(MeshkitError):
    """The gate refuses the statement; no source was touched. `code` says why, `position` where in the text."""

    code = "federation.not_allowed"

    def __init__(self, what: str, *, reason: str, hint: str, position: Position | None = None) -> None:
        self.position = position
        where = f" ({position})" if position else ""
        super().__init__(f"{what}{where}. {hint}", code=f"federation.{reason}")


class UnparsableSql(UsageError):
    """The text is no SQL that the parser understands."""

    code = "federation.unparsable_sql"

    def __init__(self, position: Position | None = None) -> None:
        self.position = position
        where = f" ({position})" if position else ""
        super().__init__(f"the SQL text does not parse{where}. Check quotes, brackets and keywords near there")


class MissingPrincipal(UsageError):
    """A read without principal, and the mesh has no default."""

    code = "federation.missing_principal"

    def __init__(self) -> None:
        super().__init__(
            "nobody is named who reads. Pass principal=, --as ROLE, or set `default_principal` in mesh.yaml"
        )


class ResultConsumed(UsageError):
    """`batches()` streams once; it was used already."""

    code = "federation.result_consumed"

    def __init__(self) -> None:
        super().__init__(
            "the rows of this result were streamed already. Use to_arrow(), which repeats, or run the query again"
        )


class QueryFailed(MeshkitError):
    """The engine could not finish the query. `kind` is the class of the failure; the engine's own text is never shown."""

    code = "federation.query_failed"

    _HINTS: ClassVar[dict[str, str]] = {
        "bind": "A function or operator gets types it does not take, or a name is ambiguous: add casts, qualify columns",
        "cast": "A value does not convert to the wanted type: use TRY_CAST",
        "division": "A divisor is zero: use NULLIF",
        "range": "A number leaves the range of its type: cast to a wider one",
        "memory": "The query needs more memory than `engine.memory` allows: filter more, or raise it",
        "timeout": "It ran longer than its timeout: filter more, or pass timeout_seconds",
        "cancelled": "It was closed before its end",
        "other": "Simplify it step by step to find the part that fails",
    }

    def __init__(self, kind: str, *, query_id: str = "") -> None:
        self.kind, self.query_id = kind, query_id
        limit = kind in {"memory", "timeout"}
        code = "federation.engine_limit" if limit else "federation.query_failed"
        about = f" {query_id}" if query_id else ""
        super().__init__(f"query{about} failed: {kind}. {self._HINTS.get(kind, self._HINTS['other'])}", code=code)


class SourceUnavailable(EnvironmentProblem):
    """A source of a port does not answer, or a file is missing. Names product, port and source; no location, no DSN."""

    code = "federation.source_unavailable"

    def __init__(self, *, product: str, port: str, source: str | None = None, what: str = "does not answer") -> None:
        self.product, self.port, self.source = product, port, source
        name = f" (source {source})" if source else ""
        super().__init__(
            f"{product}: port {port}{name} {what}. Check that the source runs and that its credentials may read the port"
        )


class NoQueryablePort(MeshkitError):
    """A product has no port that SQL can read."""

    code = "federation.no_queryable_port"

    def __init__(self, product: str, *, detail: str) -> None:
        self.product = product
        super().__init__(
            f"{product} has no port that SQL can read: {detail}. Add a file port (parquet, csv, json, ndjson) or a postgres port"
        )


class SchemaDrift(MeshkitError):
    """The source no longer has what the contract promises; the read is denied."""

    code = "federation.schema_drift"

    def __init__(self, *, product: str, port: str, columns: tuple[str, ...], what: str) -> None:
        self.product, self.port, self.columns = product, port, columns
        super().__init__(
            f"{product}: port {port} {what}: {', '.join(columns)}. Publish the product again, or release a version without them"
        )


class ContractBroken(MeshkitError):
    """A value in a file does not have its contract type. Names file, row and column, not the value."""

    code = "federation.contract_violation"

    def __init__(
        self, *, product: str, port: str, column: str | None = None, file: str | None = None, row: int | None = None
    ) -> None:
        self.product, self.port, self.column, self.file, self.row = product, port, column, file, row
        at = "".join(
            [
                f", column {column}" if column else "",
                f", file {file}" if file else "",
                f", row {row}" if row is not None else "",
            ]
        )
        super().__init__(
            f"{product}: port {port} holds a value against its contract{at}. Correct the data or the contract"
        )


class AuditUnavailable(EnvironmentProblem):
    """The audit chain could not take the record, so no row may leave."""

    code = "federation.audit_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "the query could not be recorded in the audit chain, so it is denied. Check `audit` in mesh.yaml and disk space"
        )


class PolicyUnavailable(EnvironmentProblem):
    """The policy engine or the grants gave no decision."""

    code = "federation.policy_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "the policies gave no decision, so the query is denied. Check `policies` in mesh.yaml and the policy engine"
        )
