"""`Publisher`: plan, run, status, doctor of one product's stream. One publisher = one major version = one slot."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from meshkit.errors import EnvironmentProblem, MeshkitError
from meshkit.log import get_logger
from meshkit.manifest import Manifest
from meshkit.ports import BatchGuard, Position, RunContext, Sink, SnapshotProgress
from meshkit.publisher.binding import MissingColumn, bind_table
from meshkit.publisher.chunks import ChunkBuilder
from meshkit.publisher.doctor import examine
from meshkit.publisher.envelope import Envelope, topic_of
from meshkit.publisher.errors import NotInThisRelease, PublisherStop, SlotInUse
from meshkit.publisher.mapping import CompiledMapping, Problems, TableMapping, TablePlan, compile_mapping
from meshkit.publisher.position import format_lsn
from meshkit.publisher.reports import DoctorReport, PublisherPlan, PublisherStatus, RunReport
from meshkit.publisher.rows import RowPath
from meshkit.publisher.session import Counters, Session
from meshkit.publisher.settings import PublisherSettings
from meshkit.publisher.snapshot import Snapshots, TableReader, new_id
from meshkit.publisher.sources.catalog import TableInfo
from meshkit.publisher.sources.postgres import PostgresSource, ServerInfo, SourceSpec
from meshkit.publisher.transactions import SpoolFull

if TYPE_CHECKING:
    from meshkit.config import MeshConfig

__all__ = ["Publisher"]

log = get_logger(__name__)


class Publisher:
    """Publishes committed changes of one PostgreSQL database as one data product. Source: publisher section 1.

    Raises at once: `MappingInvalid` with every problem of the mapping.
    """

    def __init__(
        self,
        product: Any,
        *,
        source: PostgresSource,
        sinks: Sequence[Sink],
        mapping: TableMapping | Sequence[TableMapping] | None = None,
        guards: Sequence[BatchGuard] = (),
        settings: PublisherSettings = PublisherSettings(),
    ) -> None:
        self.manifest = _manifest(product)
        tables = [mapping] if isinstance(mapping, TableMapping) else mapping
        self.mapping: CompiledMapping = compile_mapping(self.manifest, tables, guards=guards)
        self.source, self.sinks, self.guards, self.settings = source, tuple(sinks), tuple(guards), settings
        name = (
            f"{self.manifest.domain}_{self.manifest.name}_v{self.manifest.major}".replace(".", "_")
            .replace("-", "_")
            .lower()
        )
        self.slot, self.publication = source.slot or name, source.publication or name
        self.topic = topic_of(self.manifest.domain, self.manifest.name, self.manifest.major)
        self._counters = Counters()
        self._state = "stopped"
        self._first: Position | None = None
        self._last: Position | None = None
        self._target: int | None = None

    @classmethod
    def from_config(
        cls,
        manifest: Manifest | str | Path,
        config: MeshConfig,
        *,
        guards: Sequence[BatchGuard] = (),
        source_dsn: str | None = None,
    ) -> Publisher:
        """The publisher that a mesh.yaml describes: source by `source.database`, sinks from the product's kafka and file ports."""
        from meshkit.publisher.wiring import publisher_parts

        parts = publisher_parts(_manifest(manifest), config, source_dsn)
        return cls(parts.manifest, source=parts.source, sinks=parts.sinks, guards=guards, settings=parts.settings)

    # Looking

    def plan(self) -> PublisherPlan:
        """SQL statements, topics, slot and columns of a run. Changes nothing. Raises: `MappingInvalid`, `SourceUnavailable`."""
        self.source.connect()
        try:
            infos, readers = self._bind(None)
            spec = self._spec(infos, None)
            warnings = [
                f"{t.name} has REPLICA IDENTITY FULL: whole rows reach the publisher, unmapped columns are skipped undecoded"
                for t in self.mapping.tables if infos[t.name].identity_kind == "f"
            ]  # fmt: skip
            columns = {t.name: readers[t.name].bound.names for t in self.mapping.tables}
            return PublisherPlan(
                self.manifest.id, self.topic, self.slot, self.publication, tuple(self.source.statements(spec)), columns,
                self.mapping.fingerprint, tuple(warnings),
            )  # fmt: skip
        finally:
            self.source.close()

    def status(self, *, max_lag_seconds: float | None = None) -> PublisherStatus:
        """Slot and sink positions, from any process. Raises: `EnvironmentProblem` if source or a sink can't be reached."""
        source = PostgresSource(self.source._dsn, slot=self.slot)  # noqa: SLF001  # a second connection beside a running one
        server = source.connect()
        try:
            slot, flushed = source.slot_info(self.slot), source.flush_lsn()
        finally:
            source.close()
        run = self._context(server)
        positions = [(s.name, s.peek(run)) for s in self.sinks]
        known = [p for _, p in positions if p is not None]
        lowest = min(known, key=lambda p: p.order, default=None)
        lag = None if lowest is None else max(0, flushed - lowest.commit_end_lsn)
        state = self._state if self._state != "stopped" else ("streaming" if slot and slot.active else "stopped")
        return PublisherStatus(
            self.manifest.id, self.topic, "failed" if slot and slot.wal_status == "lost" else state, lag, _age(lowest, lag),
            None if slot is None else slot.to_json(format_lsn(slot.confirmed_flush_lsn)),
            [_sink_json(n, p) for n, p in positions], [_progress_json(s) for s in (lowest.snapshots if lowest else ())],
            self.mapping.fingerprint, self._counters.dead_letters, asdict(self._counters), max_lag_seconds,
        )  # fmt: skip

    def doctor(self) -> DoctorReport:
        """Check server, slot, publication and tables. Failed checks are findings, not errors."""
        return examine(self.source, self.mapping, self.slot, self.publication)

    def snapshot(self, table: str, *, sweep: bool = False, wait: bool = False) -> None:
        """Not in this release: only the initial snapshot is. Raises: `NotInThisRelease`."""
        del table, sweep, wait
        raise NotInThisRelease(
            "snapshots on demand are not in this release. The first run publishes the rows that are there"
        )

    def replay_dead_letters(
        self, ids: Sequence[str] | None = None, *, mode: Literal["current", "stored"] = "current"
    ) -> None:
        """Not in this release. Raises: `NotInThisRelease`."""
        del ids, mode
        raise NotInThisRelease("replaying dead letters is not in this release. Change the row again to publish it")

    # Running

    def run(
        self,
        *,
        stop: threading.Event | None = None,
        until: Literal["stopped", "caught_up"] = "stopped",
        adopt_slot: bool = False,
        resync: bool = False,
        take_over: bool = False,
    ) -> RunReport:
        """Stream until `stop` is set, or until everything committed before now and all snapshots are published.

        Returns a report for every stop; raises only for what prevents a start (`MappingInvalid`, missing packages).
        """
        if resync or take_over:
            raise NotInThisRelease(
                "`resync` and `take_over` are not in this release. Stop the other publisher, or publish under a new slot"
            )
        stop = stop or threading.Event()
        self._counters, self._first, self._last, self._target = Counters(), None, None, None
        failures, failing_since = 0, 0.0
        while not stop.is_set():
            chunks = self._counters.chunks
            try:
                return self._report(self._session(stop, until, adopt_slot=adopt_slot))
            except SlotInUse as error:
                return self._report(error.code, error.message)
            except EnvironmentProblem as error:
                if type(error).code == "meshkit.missing_extra":
                    raise
                failures, failing_since = (
                    (1, time.monotonic())
                    if self._counters.chunks > chunks or not failures
                    else (failures + 1, failing_since)
                )
                spent = self.settings.retry_for_seconds
                if spent is not None and time.monotonic() - failing_since >= spent:
                    return self._report("publisher.retries_spent", f"{error.message} (tried for {spent:g} s)")
                self._pause(error, failures, stop)
            except MeshkitError as error:
                if not self._counters.chunks and error.code == "publisher.mapping_invalid":
                    raise
                self._state = "failed"
                return self._report(error.code, error.message)
        return self._report("stopped")

    def _pause(self, error: EnvironmentProblem, failures: int, stop: threading.Event) -> None:
        self._state = "retrying"
        self._counters.restarts += 1
        if isinstance(error, SpoolFull):
            self.source.streaming = False
        seconds = min(30.0, 0.1 * 2 ** min(failures - 1, 9)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret
        log.warning("run.retried", product=self.manifest.id, code=error.code, seconds=round(seconds, 2))
        stop.wait(seconds)

    def _report(self, reason: str, message: str = "") -> RunReport:
        if reason in {"stopped", "caught_up"}:
            self._state = "stopped"
        c = self._counters
        return RunReport(
            self.manifest.id, reason, message, c.events, c.dead_letters, c.chunks, c.restarts, c.suppressed, c.superseded,
            self._first, self._last,
        )  # fmt: skip

    def _session(self, stop: threading.Event, until: str, *, adopt_slot: bool) -> str:
        session: Session | None = None
        finished = False
        try:
            self._state = "starting"
            session = self._opened(stop, adopt_slot=adopt_slot)
            if until == "caught_up" and self._target is None:
                self._target = self.source.flush_lsn()
            self._state = "snapshotting" if session.snapshots.is_open else "streaming"
            reason = session.run(stop, self._target)
            finished = True
        finally:
            self._ended(session, abort=not finished)
        return reason

    def _ended(self, session: Session | None, *, abort: bool) -> None:
        """Let go of everything, the slot last, so that the next holder finds sinks that are closed."""
        try:
            for sink in self.sinks:
                sink.close(abort=abort)
            if session is not None:
                durable = [d for d in (s.durable() for s in self.sinks) if d is not None]
                self._last = min(durable, key=lambda d: d.order) if durable else self._last
                if not abort:
                    session.confirm()
        except EnvironmentProblem as error:
            if not abort:
                raise
            log.warning("sink.not_closed", code=error.code)
        finally:
            if session is not None:
                session.close()
            self.source.close()

    # Steps 1 to 3 of section 6.1

    def _opened(self, stop: threading.Event, *, adopt_slot: bool) -> Session:
        server = self.source.connect()
        run = self._context(server)
        known = [p for p in (s.peek(run) for s in self.sinks) if p is not None]
        kept = min(known, key=lambda p: p.order, default=None)
        infos, readers = self._bind(kept)
        prepared = self.source.prepare(self._spec(infos, kept), has_position=kept is not None, adopt_slot=adopt_slot)
        if kept is None and self.settings.snapshot == "initial":
            self._wait_for_running(stop)
        self.source.start()  # holding the slot, this process is the only one that may fence the sinks
        opened = [s.open(run) for s in self.sinks]
        first = self._first_position(server, prepared, infos)
        positions = self._aligned(opened, first)
        self._check(positions, server, prepared, infos)
        position = min(positions, key=lambda p: p.order)
        position = replace(position, mapping=self.mapping.fingerprint, columns={**first.columns, **dict(_renamed(position, first))},
                           timeline=server.timeline)  # fmt: skip
        self._first = self._first or position
        envelope = Envelope(run, self.manifest.urn)
        halt = self.settings.on_poison == "halt"
        snapshots = Snapshots(self.source, readers, envelope, server.system_id, self.settings.snapshot_rows, list(position.snapshots),
                              set(position.unseen_xids))  # fmt: skip
        return Session(
            self.source, self.sinks, positions, position, self.mapping,
            RowPath(envelope, self.source, server.system_id, self.mapping.emit == "state_changes"), snapshots,
            ChunkBuilder(envelope, self.guards, halt, self.settings.max_dead_letter_ratio), self.settings, self._counters, self.publication,
        )  # fmt: skip

    def _aligned(self, opened: Sequence[Position | None], first: Position) -> list[Position]:
        """A position for every sink: the first thing written to one that has none."""
        from meshkit.ports import Chunk

        started = [p for p in opened if p is not None]
        if started and any(p.sequence > 1 for p in started) and len(started) < len(opened):
            missing = ", ".join(s.name for s, p in zip(self.sinks, opened, strict=True) if p is None)
            raise PublisherStop(
                f"sink {missing} has no position, others do: adding a sink to a running product is not in this release. "
                "Publish it from a product of its own", code="publisher.position_missing",
            )  # fmt: skip
        start = started[0] if started else first
        for sink, position in zip(self.sinks, opened, strict=True):
            if position is None:
                sink.write(Chunk((), (), start))
                sink.flush()
        return [p if p is not None else start for p in opened]

    def _first_position(self, server: ServerInfo, prepared: Any, infos: Mapping[str, TableInfo]) -> Position:
        snapshots = tuple(
            SnapshotProgress(new_id(), t.name)
            for t in self.mapping.tables
            if t.outbox is None and self.settings.snapshot == "initial"
        )
        columns = {
            t.name: {
                n: infos[t.name].columns[n][0] for names in t.columns() for n in names if n in infos[t.name].columns
            }
            for t in self.mapping.tables
        }
        publication = {"oid": prepared.publication_oid, "relations": {name: info.oid for name, info in infos.items()}}
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
        return Position(
            server.system_id, self.slot, self.manifest.id, 1, server.timeline, prepared.confirmed_flush_lsn, now,
            mapping=self.mapping.fingerprint, publication=publication, columns=columns, snapshots=snapshots,
        )  # fmt: skip

    def _check(
        self, positions: Sequence[Position], server: ServerInfo, prepared: Any, infos: Mapping[str, TableInfo]
    ) -> None:
        """Nothing was lost between what is published and what the slot will send. Raises: `PublisherStop`."""
        for position in positions:
            at = format_lsn(position.commit_end_lsn)
            if position.system_id != server.system_id:
                raise PublisherStop(
                    f"events were published from another database (system id {position.system_id})",
                    code="publisher.system_changed",
                )
            if position.timeline != server.timeline:
                raise PublisherStop(
                    f"the server is on timeline {server.timeline}, events up to {at} were published from {position.timeline}: "
                    "going on after a failover is not in this release", code="publisher.phantom_range",
                )  # fmt: skip
            if position.commit_end_lsn > self.source.flush_lsn():
                raise PublisherStop(
                    f"events up to {at} are published, but the database lost them", code="publisher.phantom_range"
                )
            if prepared.confirmed_flush_lsn > position.commit_end_lsn:
                raise PublisherStop(
                    f"slot {self.slot} was moved to {format_lsn(prepared.confirmed_flush_lsn)}, beyond the published {at}: changes between are lost. "
                    "Publish again under a new slot", code="publisher.gap",
                )  # fmt: skip
            relations = position.publication.get("relations", {})
            changed = [n for n, info in infos.items() if relations.get(n, info.oid) != info.oid]
            if changed:
                raise PublisherStop(
                    f"{', '.join(changed)} was made anew since events were published",
                    code="publisher.publication_changed",
                )

    def _wait_for_running(self, stop: threading.Event) -> None:
        """Transactions that ran while the slot was made may be older than its start and not visible yet: snapshots wait for them."""
        first = self.source.current_snapshot()
        while not stop.is_set() and self.source.current_snapshot().xmin < first.xmax and first.running:
            stop.wait(0.02)

    # Binding

    def _bind(self, kept: Position | None) -> tuple[dict[str, TableInfo], dict[str, TableReader]]:
        """Every table against the catalog, all problems at once. A column that a position knows may be gone: the WAL will tell."""
        problems, infos, readers = Problems(self.manifest), dict[str, TableInfo](), dict[str, TableReader]()
        for plan in self.mapping.tables:
            info = self.source.table(plan.schema, plan.table)
            if info is None:
                problems.add(
                    (*plan.path, "table"),
                    "mapping_invalid",
                    f"table {plan.name} is not there",
                    "Check its name and the database.",
                )
                continue
            infos[plan.name] = info
            reader = self._bind_one(plan, info, kept, problems)
            if reader is not None:
                readers[plan.name] = reader
        problems.raise_if_any()
        return infos, readers

    def _bind_one(
        self, plan: TablePlan, info: TableInfo, kept: Position | None, problems: Problems
    ) -> TableReader | None:
        columns = {
            n: (place, self.source.pg_type(oid, modifier))
            for place, (n, (_, oid, modifier)) in enumerate(info.columns.items())
        }
        try:
            bound, found = bind_table(self.mapping, plan, columns, info.identity)
        except MissingColumn as missing:
            if kept is not None and any(n in kept.columns.get(plan.name, {}) for n in missing.names):
                return None
            path = missing.field.path if missing.field else (*plan.path, "where")
            problems.add(
                path,
                "mapping_invalid",
                f"{plan.name} has no column `{missing.names[-1]}`",
                f"Columns are {', '.join(columns)}.",
            )
            return None
        for problem in found:
            problems.add(
                problem.field.path if problem.field else plan.path, problem.code, problem.message, problem.hint
            )
        if self.mapping.emit == "state_changes" and info.identity_kind != "f":
            problems.add(("source", "emit"), "mapping_invalid", f"`state_changes` needs REPLICA IDENTITY FULL on {plan.name}",
                         "Set it, or use every_update.")  # fmt: skip
        if plan.outbox is None and self.settings.snapshot == "initial" and not info.primary_key:
            problems.add((*plan.path, "table"), "mapping_invalid", f"{plan.name} has no primary key for the initial snapshot",
                         "Add one, or set snapshot: never.")  # fmt: skip
        if bound is None:
            return None
        return TableReader(bound, tuple((n, columns[n][1]) for n in info.primary_key if n in columns))

    def _spec(self, infos: Mapping[str, TableInfo], kept: Position | None) -> SourceSpec:
        tables: dict[tuple[str, str], tuple[str, ...]] = {}
        for plan in self.mapping.tables:
            info, names = infos[plan.name], list[str]()
            recorded = kept.columns.get(plan.name, {}) if kept is not None else {}
            for alternatives in plan.columns():
                name = next((n for n in alternatives if n in info.columns), None)
                number = next((recorded[n] for n in alternatives if n in recorded), None)
                # renamed and not yet known to the mapping: it stays published, so that no value is missing in the WAL meanwhile
                name = name or next((n for n, (at, _, _) in info.columns.items() if at == number), None)
                if name is not None:
                    names.append(name)
            tables[plan.schema, plan.table] = tuple(dict.fromkeys(names))
        return SourceSpec(self.slot, self.publication, tables)

    def _context(self, server: ServerInfo) -> RunContext:
        m = self.manifest
        return RunContext(m.domain, m.id, m.version, m.major, self.topic, self.slot, server.system_id, self.mapping.key,
                          self.mapping.row_type, self.mapping.fingerprint)  # fmt: skip


def _renamed(position: Position, first: Position) -> list[tuple[str, dict[str, int]]]:
    """Columns the position knows under names that are gone now, beside the present ones."""
    return [(t, {**dict(known), **dict(first.columns.get(t, {}))}) for t, known in position.columns.items()]


def _manifest(product: Any) -> Manifest:
    if isinstance(product, Manifest):
        return product
    if isinstance(product, str | Path):
        return Manifest.load(product)
    manifest: Manifest = product.manifest
    return manifest


def _age(position: Position | None, lag: int | None) -> float | None:
    if position is None or lag is None:
        return None
    if lag == 0:
        return 0.0
    return max(0.0, round((datetime.now(UTC) - datetime.fromisoformat(position.commit_time)).total_seconds(), 3))


def _sink_json(name: str, position: Position | None) -> dict[str, Any]:
    inner = position.inner if position else None
    return {
        "name": name, "commit_end_lsn": format_lsn(position.commit_end_lsn) if position else None,
        "inner": None if inner is None else {"commit_lsn": format_lsn(inner.commit_lsn), "change_lsn": format_lsn(inner.change_lsn), "index": inner.index},
    }  # fmt: skip


def _progress_json(progress: SnapshotProgress) -> dict[str, Any]:
    return {
        "id": progress.id,
        "table": progress.table,
        "kind": progress.kind,
        "phase": progress.phase,
        "chunks": progress.chunks,
    }
