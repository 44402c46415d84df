"""Errors of the publisher. What `run()` can meet on the way becomes its `stop_reason`; what prevents a start is raised."""

from __future__ import annotations

from collections.abc import Sequence

from meshkit._diagnostics import Diagnostic
from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = [
    "MappedColumnMissing",
    "MappingInvalid",
    "NotInThisRelease",
    "ProtocolError",
    "PublisherStop",
    "RowFailure",
    "SinkUnavailable",
    "SlotInUse",
    "SourceUnavailable",
]


class MappingInvalid(MeshkitError):
    """The mapping can't be compiled; `diagnostics` has every problem with its place."""

    code = "publisher.mapping_invalid"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        count = len(self.diagnostics)
        lines = "\n".join(f"  {d.code}: {d}" for d in self.diagnostics)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the mapping; nothing was started\n{lines}")


class NotInThisRelease(UsageError):
    """An option of the design that this release does not have yet."""

    code = "publisher.not_in_this_release"


class PublisherStop(MeshkitError):
    """The run can't go on safely; all before it is published. The code says why (`publisher.truncated`, `publisher.slot_lost`)."""

    code = "publisher.stopped"


class MappedColumnMissing(PublisherStop):
    """A column that the mapping needs is renamed, dropped or left the publication."""

    code = "publisher.mapped_column_missing"

    def __init__(self, *, field: str, place: str, column: str, fate: str, lsn: str, advice: str) -> None:
        self.field, self.column = field, column
        super().__init__(
            f"product field {field} ({place}) is mapped from {column}, {fate} at commit {lsn}; "
            f"all before it is published. {advice}"
        )


class ProtocolError(PublisherStop):
    """The server sent bytes that don't follow the protocol; none are skipped."""

    code = "publisher.protocol_error"


class SourceUnavailable(EnvironmentProblem):
    """The database can't be reached or closed the connection: retried."""

    code = "publisher.source_unavailable"


class SinkUnavailable(EnvironmentProblem):
    """A broker or store can't be reached: retried."""

    code = "publisher.sink_unavailable"


class SlotInUse(EnvironmentProblem):
    """Another process reads the slot."""

    code = "publisher.slot_in_use"


class RowFailure(Exception):  # a signal inside the row path; becomes a dead letter, never reaches a caller
    """One row can't be published: `code`, the field and columns concerned, no data value."""

    def __init__(self, code: str, message: str, *, field: str = "", columns: tuple[str, ...] = ()) -> None:
        self.code, self.message, self.field, self.columns = code, message, field, columns
        super().__init__(message)
