"""Checks of server, slot, publication and tables before and beside a run. Each is a finding with its repair. Source: publisher section 5."""

from __future__ import annotations

from typing import Any

from meshkit.errors import EnvironmentProblem
from meshkit.publisher.mapping import CompiledMapping
from meshkit.publisher.reports import Check, DoctorReport
from meshkit.publisher.sources.catalog import quoted

__all__ = ["examine"]


def examine(source: Any, mapping: CompiledMapping, slot: str, publication: str) -> DoctorReport:
    """All checks that this release has; the mapping compiled, or there would be no publisher."""
    checks = [Check("mapping.compiles", "ok", f"{len(mapping.tables)} tables, {mapping.fingerprint[:19]}")]
    try:
        server = source.connect()
    except EnvironmentProblem as problem:
        return DoctorReport((*checks, Check("pg.version", "fail", problem.message)))
    try:
        checks += [_version(server.version), _wal_level(source), _limits(source), _privileges(source, mapping)]
        checks += [_publication(source, mapping, publication), *_identities(source, mapping), *_slot(source, slot)]
    except EnvironmentProblem as problem:
        checks.append(Check("pg.version", "fail", problem.message))
    finally:
        source.close()
    return DoctorReport(tuple(checks))


def _value(source: Any, sql: str, *arguments: Any) -> Any:
    return source.query(lambda c: c.execute(sql, arguments).fetchone()[0])


def _version(version: int) -> Check:
    good = 140000 <= version < 190000
    return Check(
        "pg.version",
        "ok" if good else "fail",
        f"PostgreSQL {version // 10000}" + ("" if good else "; 14 to 18 are supported"),
    )


def _wal_level(source: Any) -> Check:
    level = _value(source, "SHOW wal_level")
    if level == "logical":
        return Check("pg.wal_level", "ok", "logical")
    return Check(
        "pg.wal_level",
        "fail",
        f"{level}; logical is needed, after a restart",
        ("ALTER SYSTEM SET wal_level = 'logical'",),
    )


def _limits(source: Any) -> Check:
    free = _value(
        source,
        "SELECT current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots)::int",
    )
    senders = _value(
        source, "SELECT current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication)::int"
    )
    kept = _value(source, "SELECT setting::int8 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
    notes = [f"{free} free slots, {senders} free walsenders"]
    notes += ["max_slot_wal_keep_size is unlimited: a stopped publisher can fill the disk"] if kept < 0 else []
    return Check("pg.limits", "ok" if free >= 2 and senders >= 2 and kept >= 0 else "warn", "; ".join(notes))


def _privileges(source: Any, mapping: CompiledMapping) -> Check:
    may = _value(source, "SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user")
    if not may:
        return Check("pg.privileges", "fail", "the role may not replicate", ("ALTER ROLE CURRENT_USER REPLICATION",))
    for plan in mapping.tables:
        name = f"{quoted(plan.schema)}.{quoted(plan.table)}"
        if source.table(plan.schema, plan.table) is not None and not _value(
            source, "SELECT has_any_column_privilege(%s::regclass, 'SELECT')", name
        ):
            return Check(
                "pg.privileges",
                "fail",
                f"the role may not read {plan.name}",
                (f"GRANT SELECT ON {name} TO CURRENT_USER",),
            )
    return Check("pg.privileges", "ok", "REPLICATION and SELECT")


def _publication(source: Any, mapping: CompiledMapping, name: str) -> Check:
    state = source.publication_state(name)
    if state is None:
        return Check("pg.publication", "warn", f"publication {name} is not there yet; the first run makes it")
    missing = [t.name for t in mapping.tables if t.name not in state[1]]
    if missing:
        repair = tuple(f"ALTER PUBLICATION {quoted(name)} ADD TABLE {t}" for t in missing)
        return Check("pg.publication", "fail", f"{', '.join(missing)} is not in publication {name}", repair)
    return Check("pg.publication", "ok", f"publication {name} has all tables")


def _identities(source: Any, mapping: CompiledMapping) -> list[Check]:
    checks = []
    for plan in mapping.tables:
        info = source.table(plan.schema, plan.table)
        if info is None:
            checks.append(Check("pg.replica_identity", "fail", f"table {plan.name} is not there"))
        elif not info.identity and plan.outbox is None:
            repair = (f"ALTER TABLE {quoted(plan.schema)}.{quoted(plan.table)} ADD PRIMARY KEY (...)",)
            checks.append(
                Check(
                    "pg.replica_identity",
                    "fail",
                    f"{plan.name} has no replica identity: its UPDATEs would fail",
                    repair,
                )
            )
        else:
            checks.append(
                Check("pg.replica_identity", "ok", f"{plan.name}: {', '.join(sorted(info.identity)) or 'inserts only'}")
            )
    return checks


def _slot(source: Any, name: str) -> list[Check]:
    slot = source.slot_info(name)
    if slot is None:
        return [Check("pg.slot", "warn", f"slot {name} is not there yet; the first run makes it")]
    if slot.plugin != "pgoutput" or slot.wal_status == "lost" or slot.temporary:
        return [
            Check(
                "pg.slot",
                "fail",
                f"slot {name} is lost, temporary or of another plugin",
                (f"SELECT pg_drop_replication_slot('{name}')",),
            )
        ]
    return [
        Check("pg.slot", "ok", f"slot {name}, {slot.retained_bytes} bytes of WAL kept"),
        _headroom(source, slot.safe_wal_bytes),
    ]


def _headroom(source: Any, safe: int | None) -> Check:
    if safe is None:
        return Check("pg.headroom", "warn", "no limit on the WAL that a slot keeps")
    limit = _value(source, "SELECT setting::int8 << 20 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
    share = safe / limit if limit else 1.0
    result = "fail" if share < 0.1 else "warn" if share < 0.25 or safe < 2 << 30 else "ok"
    return Check("pg.headroom", result, f"{safe} bytes until the slot is lost ({share:.0%})")  # type: ignore[arg-type]
