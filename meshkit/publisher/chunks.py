"""A chunk while it fills: drafts pass the guards, are encoded, and leave together with a position. Source: publisher section 6.1.5."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meshkit.ports import BatchGuard, Chunk, DeadLetter, Event, Position
from meshkit.publisher.envelope import Envelope
from meshkit.publisher.errors import PublisherStop
from meshkit.publisher.rows import Draft

__all__ = ["ChunkBuilder"]

MIN_COUNTED = 100


@dataclass(slots=True)
class ChunkBuilder:
    """Collects what the next chunk publishes; `cut` empties it."""

    envelope: Envelope
    guards: Sequence[BatchGuard]
    halt: bool
    max_ratio: float
    drafts: list[Draft] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    poison: DeadLetter | None = None
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=1_000))

    def __len__(self) -> int:
        return len(self.drafts) + len(self.letters)

    def add(self, drafts: Sequence[Draft], letters: Sequence[DeadLetter]) -> None:
        """Take what one change gave. Under `halt` a dead letter becomes the poison that stops the run, after what came before it."""
        self.drafts += drafts
        if letters and self.halt:
            self.poison = letters[0]
            return
        self.letters += letters
        self._recent.extend([False] * len(drafts))
        self._recent.extend([True] * len(letters))

    def check_ratio(self) -> None:
        """Raises: `PublisherStop` (`dead_letter_limit`) if too many of the last events were dead letters: the mapping is wrong."""
        if len(self._recent) >= MIN_COUNTED and sum(self._recent) / len(self._recent) > self.max_ratio:
            codes = ", ".join(sorted({d.code for d in self.letters})) or "see the dead letters"
            raise PublisherStop(
                f"{sum(self._recent)} of the last {len(self._recent)} events are dead letters ({codes}): the mapping is wrong, not the rows. "
                "Repair it and start again", code="publisher.dead_letter_limit",
            )  # fmt: skip

    def cut(self, position: Position) -> Chunk:
        """Everything collected, with `position` after it."""
        drafts = self._guarded(self.drafts) if self.guards else self.drafts
        events = tuple(self._encoded(drafts))
        letters = tuple(self.letters)
        self.drafts, self.letters = [], []
        return Chunk(events, letters, position)

    def _encoded(self, drafts: Sequence[Draft]) -> list[Event]:
        events = []
        for d in drafts:
            try:
                events.append(
                    self.envelope.encode(d.op, d.event_id, d.at, d.moment, d.key, d.payload, key_bytes=d.key_bytes)
                )
            except (TypeError, ValueError):  # orjson refuses a value, such as text that is no UTF-8
                self._reject(d, "encode", "encode_failed", "the record can't be encoded")
        return events

    def _reject(self, draft: Draft, stage: Any, code: str, message: str) -> None:
        letter = DeadLetter(
            draft.event_id,
            draft.at,
            draft.key_bytes,
            stage,
            code,
            (),
            (),
            message,
            draft.moment.timestamp_us,
            dict(draft.row),
        )
        if self.halt:  # nothing of this chunk is written; the chunks before it are
            self.drafts, self.letters = [], []
            raise PublisherStop(
                f"a record can't be published ({stage}, {code}); the chunks before it are. Repair the mapping or the guard",
                code="publisher.poison_row",
            )
        self.letters.append(letter)
        self._recent.append(True)

    def _guarded(self, drafts: list[Draft]) -> list[Draft]:
        import pyarrow as pa

        from meshkit.types.arrow import schema_of

        with_record = [d for d in drafts if d.payload is not None]
        if not with_record:
            return drafts
        batch = pa.RecordBatch.from_pylist(
            [d.payload for d in with_record], schema=schema_of(self.envelope.run.row_type)
        )
        rejected: dict[int, str] = {}
        for guard in self.guards:
            result = guard.apply(batch)
            if result.rows.num_rows != batch.num_rows or result.rows.schema.names != batch.schema.names:
                raise PublisherStop(
                    "a guard changed the shape of its rows. Repair the guard", code="publisher.guard_broken"
                )
            batch, rejected = result.rows, {**result.rejected, **rejected}
        masked = {
            id(d): (number, row) for number, (d, row) in enumerate(zip(with_record, batch.to_pylist(), strict=True))
        }
        kept = []
        for draft in drafts:
            number, row = masked.get(id(draft), (-1, None))
            if number in rejected:
                self._reject(draft, "guard", rejected[number], "a guard rejected the record")
            else:
                kept.append(draft if row is None else replace(draft, payload={n: row[n] for n in draft.payload or ()}))
        return kept
