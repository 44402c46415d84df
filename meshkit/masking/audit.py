"""The audit chain: one record per query, each holding the hash of the one before. Source: federation-and-masking section 7.

A record is durable before `append` returns; several threads share one write and one fsync. One chain per process, rotated by size; a
rotated file starts with the last hash. What is cut off at the end of the last file does not show: ship files elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meshkit.masking.canonical import canonical
from meshkit.masking.errors import AuditUnavailable
from meshkit.masking.settings import AuditSettings
from meshkit.ports import AuditRecord

__all__ = ["GENESIS", "AuditChain", "record_json"]

GENESIS = "0" * 64  # `prev` of a chain's first record


@dataclass(slots=True)
class _Entry:
    """A chained record on its way to the disk; `number` counts from 1."""

    number: int
    digest: str
    line: bytes
    settled: bool = False
    failed: bool = False


class AuditChain:
    """Writes a chain below a folder (0700; files 0600). Implements `ports.AuditSink`. Thread-safe; a forked process starts its own."""

    def __init__(self, folder: str | os.PathLike[str], *, rotate_bytes: int = 64 << 20) -> None:
        self.folder, self.rotate_bytes = Path(folder), rotate_bytes
        self._state = threading.Lock()  # guards the chain's end and the queue
        self._writing = threading.Lock()  # held by the thread that writes for all
        self._start_chain()

    @classmethod
    def from_settings(cls, settings: AuditSettings, *, root: Path) -> AuditChain:
        """The chain of a mesh; a relative path starts at `root`, the folder of mesh.yaml."""
        return cls(root / settings.path, rotate_bytes=settings.rotate_bytes)

    def _start_chain(self) -> None:
        self._pid = os.getpid()
        self._name = f"audit-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{self._pid}-{secrets.token_hex(3)}"
        self._file, self._part, self._size = -1, 0, 0
        self._seq, self._prev = 0, GENESIS
        self._queue: list[_Entry] = []
        self._durable, self._durable_hash = 0, GENESIS  # records on disk, hash of the last one

    def append(self, record: AuditRecord) -> None:
        """Chain and store one record; returns when it is on disk. Raises: `AuditUnavailable`, and then nothing of it counts."""
        if os.getpid() != self._pid:
            self._state, self._writing = threading.Lock(), threading.Lock()
            self._start_chain()
        entry = self._chained(record)
        with self._writing:
            if not entry.settled:  # else another thread wrote it along with its own
                self._write_queue()
            if entry.failed:
                raise AuditUnavailable(
                    "the audit chain can't be written. The query is denied; check the disk of `audit.path`"
                )

    def _chained(self, record: AuditRecord) -> _Entry:
        with self._state:
            content = {"seq": self._seq, "prev": self._prev, **record_json(record)}
            try:
                digest = hashlib.sha256(canonical(content)).hexdigest()
                line = canonical({**content, "hash": digest}) + b"\n"
            except ValueError as error:
                raise AuditUnavailable(f"a query can't be recorded: {error}. It is denied") from None
            self._seq += 1
            self._prev = digest
            entry = _Entry(self._seq, digest, line)
            self._queue.append(entry)
            return entry

    def close(self) -> None:
        """Close the file; records are on disk already."""
        with self._writing:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _write_queue(self) -> None:
        """Write what all waiting threads queued, with one fsync."""
        with self._state:
            batch, self._queue = self._queue, []
        data = b"".join(entry.line for entry in batch)
        try:
            if self._file < 0 or self._size + len(data) > self.rotate_bytes:
                self._open_next()
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            self._roll_back(batch)
            return
        self._size += len(data)
        self._durable, self._durable_hash = batch[-1].number, batch[-1].digest
        for entry in batch:
            entry.settled = True

    def _open_next(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._part += 1
        path = self.folder / f"{self._name}.{self._part:04}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._size = 0
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # else the file's name can be lost with the power
        finally:
            os.close(folder)

    def _roll_back(self, batch: list[_Entry]) -> None:
        """Back to the last record on disk: threads that wait see the failure, and the next record opens a new file."""
        file, self._file = self._file, -1
        if file >= 0:
            with suppress(OSError):  # a torn last line is no record either: `verify_audit` says so
                os.ftruncate(file, self._size)
            with suppress(OSError):
                os.close(file)
        with self._state:
            for entry in (*batch, *self._queue):  # those in the queue were chained to the failed ones
                entry.settled = entry.failed = True
            self._queue.clear()
            self._seq, self._prev = self._durable, self._durable_hash


def record_json(record: AuditRecord) -> dict[str, Any]:
    """A record's facts as in the file, without its place in the chain."""
    if record.time.tzinfo is None:
        raise AuditUnavailable("an audit record has a time without zone. The query is denied")
    return {
        "time": record.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "query_id": record.query_id,
        "principal": {
            "subject": record.principal.subject,
            "issuer": record.principal.issuer,
            "roles": list(record.principal.roles),
        },
        "purpose": record.purpose,
        "trust": record.trust,
        "channel": record.channel,
        "sql": record.sql,
        "outcome": record.outcome,
        "code": record.code,
        "policy_revision": record.policy_revision,
        "products": [dict(product) for product in record.products],
    }
