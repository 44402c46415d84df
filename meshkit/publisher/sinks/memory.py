"""A sink in memory with the behaviour of the real ones: all or nothing, fencing, positions. For tests of products and of publishers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshkit.ports import Chunk, DeadLetter, Event, Position, RunContext
from meshkit.publisher.errors import PublisherStop, SinkUnavailable

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemorySink", "MemoryStore"]


class MemoryStore:
    """What survives a crash of its sinks: events, dead letters, the position; shared by several `MemorySink`s to see them fence."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.dead_letters: list[DeadLetter] = []
        self.position: Position | None = None
        self.epoch = 0


class MemorySink:
    """Keeps chunks in a `MemoryStore`. `fail_next(n)` makes the next flushes fail as an unreachable broker does."""

    def __init__(self, store: MemoryStore | None = None, *, name: str = "memory") -> None:
        self.store = store or MemoryStore()
        self._name = name
        self._epoch = 0
        self._pending: list[Chunk] = []
        self._failures = 0
        self._run: RunContext | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def events(self) -> list[Event]:
        """Durable events, in order."""
        return self.store.events

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Durable dead letters, in order."""
        return self.store.dead_letters

    def fail_next(self, flushes: int = 1) -> None:
        """Let the next flushes fail."""
        self._failures = flushes

    def open(self, run: RunContext) -> Position | None:
        self.store.epoch += 1
        self._epoch, self._pending, self._run = self.store.epoch, [], run
        return self.store.position

    def peek(self, run: RunContext) -> Position | None:  # noqa: ARG002  # one store holds one product
        return self.store.position

    def write(self, chunk: Chunk) -> None:
        self._check()
        self._pending.append(chunk)

    def flush(self) -> None:
        self._check()
        if self._failures:
            self._failures -= 1
            raise SinkUnavailable(f"sink {self._name} was told to fail. Try again")
        for chunk in self._pending:
            self.store.events += chunk.events
            self.store.dead_letters += chunk.dead_letters
            self.store.position = chunk.position
        self._pending = []

    def durable(self) -> Position | None:
        return self.store.position

    def keys(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        last = {e.key: e for e in self.store.events}
        rows = [dict(e.key_values) for e in last.values() if e.value is not None]
        if rows:
            yield pa.RecordBatch.from_pylist(rows)

    def close(self, *, abort: bool) -> None:
        if not abort and self._pending:
            self.flush()
        self._pending = []

    def _check(self) -> None:
        if self._epoch != self.store.epoch:
            raise PublisherStop(
                f"another publisher writes to sink {self._name}. Stop one of them", code="publisher.fenced"
            )
