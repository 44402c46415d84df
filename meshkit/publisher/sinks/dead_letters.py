"""Dead letters as JSON (`meshkit.publisher.dead_letter/1`). Source: publisher section 4."""

from __future__ import annotations

import json
from typing import Any

from meshkit.ports import DeadLetter, RunContext
from meshkit.publisher.position import format_lsn

__all__ = ["dead_letter_json"]


def dead_letter_json(letter: DeadLetter, run: RunContext) -> bytes:
    """The record on `<topic>.dlq` and in `_dead_letters/`; `row` is private to the domain."""
    at = letter.at
    place: dict[str, Any] = (
        {"commit_lsn": format_lsn(at[0]), "change_lsn": format_lsn(at[1]), "index": at[2]}
        if isinstance(at[0], int)
        else {"snapshot": at[0], "chunk": at[1], "index": at[2]}
    )
    value = {
        "format": "meshkit.publisher.dead_letter/1", "id": letter.id, "version": run.version, "stage": letter.stage, "code": letter.code,
        "fields": list(letter.fields), "columns": list(letter.columns), "message": letter.message, "position": place,
        "mapping": run.mapping, "row": dict(letter.row),
    }  # fmt: skip
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
