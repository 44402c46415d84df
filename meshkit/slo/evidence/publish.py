"""Evidence from a publish: the rows were in hand, so it costs nothing and is exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from meshkit.slo.models import Evidence, Promise

__all__ = ["from_publish"]


def from_publish(
    promises: Sequence[Promise], *, at: datetime, rows_read: int, rows_published: int, run_id: str
) -> Iterator[Evidence]:
    """Availability (the port took a commit) and completeness (published / read, where no columns are promised).

    Event times and null counts come from the footers of what was written, see `footers.py`.
    """
    for promise in promises:
        if promise.sli == "availability":
            yield Evidence(promise.product, promise.port, "availability", at, "publish", n=1, bad=0, run_id=run_id)
        elif promise.sli == "completeness" and not promise.not_null and rows_read:
            bad = rows_read - rows_published
            yield Evidence(
                promise.product, promise.port, "completeness", at, "publish", n=rows_read, bad=bad, run_id=run_id
            )
        elif promise.sli == "quality" and rows_read:
            yield Evidence(
                promise.product,
                promise.port,
                "quality",
                at,
                "publish",
                n=rows_read,
                bad=rows_read - rows_published,
                run_id=run_id,
            )
