"""Positions as JSON (`meshkit.publisher.position/1`) and LSNs as PostgreSQL writes them. Source: publisher section 4."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from meshkit.errors import MeshkitError
from meshkit.ports import InnerPosition, Position, SnapshotProgress

__all__ = ["format_lsn", "parse_lsn", "position_from_json", "position_key", "position_to_json"]

FORMAT = "meshkit.publisher.position/1"
_LSN = re.compile(r"^([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})$")


@lru_cache(maxsize=4096)
def format_lsn(lsn: int) -> str:
    """`0/1A2B3C8`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Inverse of `format_lsn`. Raises: `ValueError`."""
    found = _LSN.match(text)
    if found is None:
        raise ValueError("no LSN")
    return (int(found[1], 16) << 32) | int(found[2], 16)


def position_key(position: Position) -> bytes:
    """Key on the positions topic."""
    key = {"system_id": position.system_id, "slot": position.slot, "product": position.product}
    return json.dumps(key, separators=(",", ":")).encode()


def position_to_json(position: Position) -> dict[str, Any]:
    """The documented record, without the parts that stand in the key."""
    inner = position.inner
    return {
        "format": FORMAT, "sequence": position.sequence, "timeline": position.timeline,
        "commit_end_lsn": format_lsn(position.commit_end_lsn), "commit_time": position.commit_time,
        "inner": None if inner is None else {
            "commit_lsn": format_lsn(inner.commit_lsn), "change_lsn": format_lsn(inner.change_lsn), "index": inner.index,
        },
        "unseen_xids": list(position.unseen_xids), "topic_partitions": position.topic_partitions, "mapping": position.mapping,
        "publication": dict(position.publication), "columns": {t: dict(c) for t, c in position.columns.items()},
        "signals": list(position.signals),
        "snapshots": [
            {"id": s.id, "table": s.table, "kind": s.kind, "phase": s.phase, "cursor": _listed(s.cursor), "upto": _listed(s.upto),
             "chunks": s.chunks} for s in position.snapshots
        ],
    }  # fmt: skip


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def position_from_json(value: Any, *, system_id: str, slot: str, product: str) -> Position:
    """Inverse of `position_to_json`. Raises: `MeshkitError` for another format or damage."""
    try:
        if value["format"] != FORMAT:
            raise ValueError
        inner = value["inner"]
        return Position(
            system_id, slot, product, int(value["sequence"]), int(value["timeline"]), parse_lsn(value["commit_end_lsn"]), value["commit_time"],
            None if inner is None else InnerPosition(parse_lsn(inner["commit_lsn"]), parse_lsn(inner["change_lsn"]), int(inner["index"])),
            tuple(value["unseen_xids"]), value["topic_partitions"], value["mapping"], value["publication"], value["columns"],
            tuple(value["signals"]), tuple(_snapshot(s) for s in value["snapshots"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise MeshkitError(
            f"the stored position of {product} is damaged or of another release. Restore it, or start with a new slot",
            code="publisher.position_damaged",
        ) from None


def _snapshot(value: dict[str, Any]) -> SnapshotProgress:
    cursor, upto = value["cursor"], value.get("upto")
    return SnapshotProgress(
        value["id"], value["table"], value["kind"], value["phase"],
        None if cursor is None else tuple(cursor), None if upto is None else tuple(upto), int(value["chunks"]),
    )  # fmt: skip
