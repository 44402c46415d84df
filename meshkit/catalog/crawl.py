"""`crawl`: manifests of all sources into the store. One transaction per source; of a bad file the last good revision stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from meshkit._diagnostics import Diagnostic
from meshkit._sql import micros
from meshkit.catalog.settings import SourceSettings
from meshkit.catalog.sources import ManifestFile, read_source
from meshkit.catalog.store import CatalogTables
from meshkit.errors import EnvironmentProblem
from meshkit.manifest import Manifest
from meshkit.manifest.load import read_manifest

__all__ = ["CrawlReport", "SourceReport", "crawl", "record_published"]


@dataclass(slots=True)
class SourceReport:
    """What changed in one source, by path; `error` if it could not be read (then nothing changed)."""

    name: str
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0
    invalid: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CrawlReport:
    """All sources. `exit_code`: 3 if one is unreachable, 1 if a manifest is invalid or in conflict; the rest is committed anyway."""

    sources: tuple[SourceReport, ...]

    @property
    def exit_code(self) -> int:
        """0, 1 or 3."""
        if any(s.error for s in self.sources):
            return 3
        return int(any(s.invalid or s.conflicts for s in self.sources))

    def to_text(self) -> str:
        """A line per source, then its problems with places."""
        lines = []
        for s in self.sources:
            if s.error:
                lines.append(f"{s.name}: failed, {s.error}")
                continue
            facts = (("new", len(s.new)), ("changed", len(s.changed)), ("unchanged", s.unchanged), ("invalid", len(s.invalid)), ("gone", len(s.gone)),
                     ("moved", len(s.moved)), ("conflicts", len(s.conflicts)))  # fmt: skip
            lines.append(f"{s.name}: " + (", ".join(f"{n} {word}" for word, n in facts if n) or "empty"))
            lines += [f"  {d}" for d in s.problems]
            lines += [f"  conflict: {c}" for c in s.conflicts]
        return "\n".join(lines) or "There are no sources. Add `catalog.sources` to mesh.yaml"

    def to_json(self) -> dict[str, Any]:
        """`meshkit.catalog.crawl/1`."""
        keys = ("name", "new", "changed", "unchanged", "invalid", "gone", "moved", "conflicts", "error")
        sources = [
            {k: getattr(s, k) for k in keys} | {"problems": [d.to_json() for d in s.problems]} for s in self.sources
        ]
        return {"format": "meshkit.catalog.crawl/1", "sources": sources}


def crawl(tables: CatalogTables, sources: Iterable[SourceSettings], *, folder: Path, now: datetime) -> CrawlReport:
    """Read every source and record what changed. An unreachable source is reported; what it had stays."""
    return CrawlReport(tuple(_crawl_one(tables, s, folder, now) for s in sources))


def _crawl_one(tables: CatalogTables, settings: SourceSettings, folder: Path, now: datetime) -> SourceReport:
    report = SourceReport(settings.name)
    try:
        files = list(read_source(settings, folder=folder))
    except EnvironmentProblem as error:
        report.error = error.message
        _note_source(tables, settings, now, error.message)
        return report
    parsed = [(f, *_parsed(f, settings.name)) for f in files]
    _commit(tables, settings, parsed, report, now)
    return report


def _parsed(file: ManifestFile, source: str) -> tuple[Manifest | None, list[Diagnostic]]:
    path = file.folder / Path(file.path).name if file.folder is not None else None
    manifest, diagnostics = read_manifest(
        file.content, source=f"{source}:{file.path}" if path is None else str(path), path=path
    )
    errors = [d for d in diagnostics if d.severity == "error"]
    return (None, errors) if errors else (manifest, [])


def _note_source(tables: CatalogTables, settings: SourceSettings, now: datetime, error: str | None) -> None:
    row = {"name": settings.name, "place": settings.dir or settings.git or "", "last_try": micros(now), "error": error}
    if error is None:
        row["last_success"] = micros(now)
    with tables.store.write() as connection:
        tables.store.upsert(connection, tables.source, [row], key=["name"])


def _commit(
    tables: CatalogTables, settings: SourceSettings, parsed: Sequence[tuple[ManifestFile, Manifest | None, list[Diagnostic]]], report: SourceReport,
    now: datetime,
) -> None:  # fmt: skip
    import sqlalchemy as sa

    r, at = tables.revision, micros(now)
    with tables.store.write() as connection:
        current = connection.execute(sa.select(r).where(r.c.valid_to.is_(None), r.c.state == "active")).mappings().all()
        mine = {row["path"]: row for row in current if row["source"] == settings.name}
        owners = {row["urn"]: row for row in current}
        seen: set[str] = set()
        connection.execute(tables.problem.delete().where(tables.problem.c.source == settings.name))
        for file, manifest, problems in parsed:
            seen.add(file.path)
            if manifest is None:
                report.invalid.append(file.path)
                report.problems += problems
                continue
            _place(connection, tables, settings.name, file, manifest, mine, owners, report, at)
        for path, row in mine.items():
            if path not in seen and row["urn"] not in {m.versioned_urn for _, m, _ in parsed if m is not None}:
                connection.execute(r.update().where(r.c.id == row["id"]).values(valid_to=at))
                connection.execute(r.insert().values(_row(row, state="gone", at=at)))
                report.gone.append(path)
        rows = [_problem(settings.name, d, at) for d in report.problems]
        tables.store.upsert(connection, tables.problem, rows, key=["source", "path", "code", "line"])
        source = {
            "name": settings.name,
            "place": settings.dir or settings.git or "",
            "last_try": at,
            "last_success": at,
            "error": None,
        }
        tables.store.upsert(connection, tables.source, [source], key=["name"])


def _place(
    connection: Any, tables: CatalogTables, source: str, file: ManifestFile, manifest: Manifest, mine: dict[str, Any], owners: dict[str, Any],
    report: SourceReport, at: int,
) -> None:  # fmt: skip
    """One good file: new, changed, unchanged, moved, or in conflict with the place that has its URN."""
    r = tables.revision
    owner = owners.get(manifest.versioned_urn)
    if owner is not None and (owner["source"], owner["path"]) != (source, file.path):
        still_there = owner["source"] != source or (
            owner["path"] in {p for p in mine if p == owner["path"]} and owner["path"] not in report.gone
        )
        moved = owner["source"] == source and not _exists(file, owner["path"])
        if still_there and not moved:
            report.conflicts.append(
                f"{manifest.versioned_urn} stands in {owner['source']}:{owner['path']} and {source}:{file.path}; the first stays"
            )
            return
        report.moved.append(file.path)
        connection.execute(r.update().where(r.c.id == owner["id"]).values(valid_to=at))
    elif (known := mine.get(file.path)) is not None:
        if known["sha256"] == file.sha256:
            report.unchanged += 1
            return
        report.changed.append(file.path)
        connection.execute(r.update().where(r.c.id == known["id"]).values(valid_to=at))
    else:
        report.new.append(file.path)
    row = {
        "urn": manifest.versioned_urn, "source": source, "path": file.path, "version": manifest.version, "commit_id": file.commit, "sha256": file.sha256,
        "manifest": file.content.decode("utf-8-sig"), "state": "active", "valid_from": at, "valid_to": None,
    }  # fmt: skip
    done = connection.execute(r.insert().values(row))
    owners[manifest.versioned_urn] = row | {"id": done.inserted_primary_key[0]}


def _exists(file: ManifestFile, other: str) -> bool:
    """Whether the old path is still a file of the same source; for git the listing decides, which has one file per URN."""
    if file.folder is None:
        return False
    root = file.folder
    for _ in Path(file.path).parent.parts:
        root = root.parent
    return (root / other).is_file()


def _row(row: Any, *, state: str, at: int) -> dict[str, Any]:
    return {k: row[k] for k in ("urn", "source", "path", "version", "commit_id", "sha256", "manifest")} | {
        "state": state,
        "valid_from": at,
        "valid_to": None,
    }


def _problem(source: str, diagnostic: Diagnostic, at: int) -> dict[str, Any]:
    message = f"{diagnostic.message}. {diagnostic.hint}"
    return {"source": source, "path": diagnostic.file, "code": diagnostic.code, "line": diagnostic.line, "column_no": diagnostic.column, "message": message,
            "first_seen": at, "last_seen": at}  # fmt: skip


def record_published(tables: CatalogTables, manifest: Manifest, *, now: datetime) -> bool:
    """A product that was published without a crawl gets a revision from source `publish`; True if one was written."""
    import hashlib

    import sqlalchemy as sa

    r, text = tables.revision, manifest.dump()
    with tables.store.write() as connection:
        known = (
            connection.execute(
                sa.select(r).where(r.c.urn == manifest.versioned_urn, r.c.valid_to.is_(None), r.c.state == "active")
            )
            .mappings()
            .first()
        )
        digest = hashlib.sha256(text.encode()).hexdigest()
        if known is not None and (known["source"] != "publish" or known["sha256"] == digest):
            return False
        if known is not None:
            connection.execute(r.update().where(r.c.id == known["id"]).values(valid_to=micros(now)))
        connection.execute(
            r.insert().values(
                urn=manifest.versioned_urn,
                source="publish",
                path=manifest.source_name,
                version=manifest.version,
                sha256=digest,
                manifest=text,
                state="active",
                valid_from=micros(now),
            )
        )
    return True
