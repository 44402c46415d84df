"""Frames of the stream put together to committed transactions. Those streamed while in progress wait in unlinked files.

A committed transaction is `Begin`, any number of `Change`, `Commit`; streamed and plain ones look alike. Relation messages always come
through, also those of subtransactions that were rolled back: the server believes that they were read.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from meshkit.publisher.decoders import pgoutput as p
from meshkit.publisher.errors import ProtocolError, SourceUnavailable
from meshkit.publisher.position import format_lsn

__all__ = ["Change", "SpoolFull", "Transactions"]

_ENTRY = struct.Struct(">QII")


class SpoolFull(SourceUnavailable):
    """Transactions in progress are larger than `max_spool_bytes`: the run reconnects with streaming off."""

    code = "publisher.spool_full"


@dataclass(frozen=True, slots=True)
class Change:
    """One message of a committed transaction and its LSN."""

    lsn: int
    message: Any
    size: int = 0


@dataclass(slots=True)
class _Spool:
    file: IO[bytes]
    aborted: set[int] = field(default_factory=set)


class Transactions:
    """Feeds on frames, gives steps of committed transactions in commit order."""

    def __init__(self, *, spool_dir: Path | None = None, max_spool_bytes: int = 10 << 30) -> None:
        self.spool_dir, self.max_spool_bytes = spool_dir, max_spool_bytes
        self.spooled_bytes = 0
        self._spools: dict[int, _Spool] = {}
        self._streaming: int | None = None

    def close(self) -> None:
        """Drop everything in progress."""
        for spool in self._spools.values():
            spool.file.close()
        self._spools.clear()

    def feed(self, lsn: int, frame: bytes) -> Iterator[p.Begin | Change | p.Commit]:
        """Steps that a frame completes. Raises: `ProtocolError`, `SpoolFull`."""
        if self._streaming is not None and frame[:1] != b"E":
            self._keep(lsn, frame)
            return
        message = p.parse(frame, lsn)
        match message:
            case p.Begin() | p.Commit():
                yield message
            case p.StreamStart(xid=xid):
                self._streaming = xid
                if xid not in self._spools:
                    self._spools[xid] = _Spool(tempfile.TemporaryFile(dir=self.spool_dir))  # noqa: SIM115  # lives until commit or abort
            case p.StreamStop():
                self._streaming = None
            case p.StreamAbort(xid=xid, subxid=subxid):
                self._abort(xid, subxid)
            case p.StreamCommit():
                yield from self._replay(message, lsn)
            case _:
                yield Change(lsn, message, len(frame))

    def _keep(self, lsn: int, frame: bytes) -> None:
        assert self._streaming is not None
        if frame[:1] not in b"IUDTMRYO":
            raise ProtocolError(
                f"a frame inside a streamed transaction at {format_lsn(lsn)} is not understood. Report this"
            )
        (xid,) = struct.unpack_from(">I", frame, 1) if frame[:1] != b"O" else (self._streaming,)
        self.spooled_bytes += len(frame) + _ENTRY.size
        if self.spooled_bytes > self.max_spool_bytes:
            raise SpoolFull(
                "transactions in progress are larger than max_spool_bytes. The run goes on with streaming off"
            )
        self._spools[self._streaming].file.write(_ENTRY.pack(lsn, xid, len(frame)) + frame)

    def _abort(self, xid: int, subxid: int) -> None:
        spool = self._spools.get(xid)
        if spool is None:
            return
        if subxid != xid:
            spool.aborted.add(subxid)
            return
        self._drop(xid)

    def _drop(self, xid: int) -> None:
        spool = self._spools.pop(xid)
        self.spooled_bytes -= spool.file.tell()
        spool.file.close()

    def _replay(self, commit: p.StreamCommit, lsn: int) -> Iterator[p.Begin | Change | p.Commit]:
        yield p.Begin(commit.commit_lsn, commit.commit_us, commit.xid)
        spool = self._spools.get(commit.xid)
        if spool is None:
            raise ProtocolError(
                f"a commit at {format_lsn(lsn)} is of a transaction that was never streamed. Report this"
            )
        spool.file.flush()
        size = spool.file.tell()
        spool.file.seek(0)
        while spool.file.tell() < size:
            at, xid, length = _ENTRY.unpack(spool.file.read(_ENTRY.size))
            frame = spool.file.read(length)
            if xid not in spool.aborted or frame[:1] in b"RY":
                yield Change(at, p.parse(frame, at, in_stream=frame[:1] != b"O"), length)
        self._drop(commit.xid)
        yield p.Commit(commit.commit_lsn, commit.end_lsn, commit.commit_us)
