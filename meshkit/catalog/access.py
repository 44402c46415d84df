"""Access: request -> approval -> grant -> expiry. Events are append-only; requests and grants are folds of them.

A grant's end is compared with the clock at each decision, never by a job: nothing outlives `until`. Source: section 2 `Access`.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from meshkit._sql import from_micros, micros
from meshkit.catalog.errors import AccessRefused
from meshkit.catalog.settings import AccessSettings
from meshkit.catalog.store import CatalogTables
from meshkit.manifest import CLASSES
from meshkit.ports import Grant, Principal

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["AccessDesk", "AccessRequest", "Status"]

Status = Literal["requested", "approved", "rejected", "cancelled", "lapsed", "revoked", "expired"]
LAPSES_AFTER = timedelta(days=30)
_PURPOSE = re.compile(r"([a-z][a-z0-9_]*)(?::\s*(\S.*))?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """One request as it stands at `at`. `columns=None` asks for all; `until` is set once approved."""

    id: str
    product: str
    principal: str
    purpose: str
    duration: timedelta
    by: str
    at: datetime
    columns: tuple[str, ...] | None = None
    port: str | None = None
    status: Status = "requested"
    decided_by: str | None = None
    decided_at: datetime | None = None
    until: datetime | None = None
    note: str = ""

    @property
    def purpose_word(self) -> str:
        """The word that a query must state."""
        return self.purpose.partition(":")[0]

    def to_text(self) -> str:
        """One line for people."""
        columns = ", ".join(self.columns) if self.columns is not None else "all columns"
        until = f" until {self.until:%Y-%m-%d}" if self.until and self.status == "approved" else ""
        return f"{self.id}  {self.product}  {self.principal}  {self.status}{until}  ({self.purpose}; {columns})"

    def to_json(self) -> dict[str, Any]:
        """`meshkit.catalog.request/1`."""
        return {
            "format": "meshkit.catalog.request/1", "id": self.id, "product": self.product, "principal": self.principal, "purpose": self.purpose,
            "duration_seconds": self.duration.total_seconds(), "columns": list(self.columns) if self.columns is not None else None, "port": self.port,
            "by": self.by, "at": self.at.isoformat(), "status": self.status, "decided_by": self.decided_by,
            "decided_at": self.decided_at.isoformat() if self.decided_at else None, "until": self.until.isoformat() if self.until else None, "note": self.note,
        }  # fmt: skip


class AccessDesk:
    """Requests, decisions and grants of a mesh. Implements `ports.Grants`. `manifests` gives the current manifest of a product id."""

    def __init__(
        self,
        tables: CatalogTables,
        manifests: Callable[[], Mapping[str, Manifest]],
        settings: AccessSettings | None = None,
    ) -> None:
        self.tables, self._manifests = tables, manifests
        self.settings = settings or AccessSettings()
        self._lock = threading.Lock()
        self._folded: tuple[int, dict[str, AccessRequest]] = (-1, {})

    # Asking and deciding

    def request(
        self, product: str, *, purpose: str, duration: timedelta, principal: Principal, columns: Sequence[str] | None = None, port: str | None = None,
        grantee: str | None = None, now: datetime | None = None,
    ) -> AccessRequest:  # fmt: skip
        """Ask for access. `purpose` is `word` or `word: text`. Raises: `AccessRefused` with what to change; nothing is written then."""
        moment = now or datetime.now(UTC)
        manifest = self._product(product)
        if manifest.status == "retired":
            raise AccessRefused(f"{product} is retired. Ask for its replacement", code="access.gone")
        if not _PURPOSE.match(purpose.strip()):
            raise AccessRefused(
                "the purpose is `word` or `word: text`, for example reporting: Q4 revenue", code="access.purpose"
            )
        if not timedelta(hours=1) <= duration <= timedelta(days=self.settings.longest_days):
            raise AccessRefused(
                f"the duration is an hour to {self.settings.longest_days} days. Choose a shorter one",
                code="access.duration",
            )
        if port is not None and port not in manifest.ports:
            raise AccessRefused(
                f"{product} has no port {port!r}. Known: {', '.join(manifest.ports)}", code="access.unknown_port"
            )
        self._check_columns(manifest, columns)
        made = AccessRequest(
            f"ar-{moment:%Y%m%d}-{secrets.token_hex(4)}", manifest.id, grantee or f"user:{principal.subject}", purpose.strip(), duration,
            principal.subject, moment, tuple(columns) if columns is not None else None, port,
        )  # fmt: skip
        facts = {"purpose": made.purpose, "duration": duration.total_seconds(), "columns": made.columns, "port": port}
        self._append(made.id, "requested", made.product, made.principal, principal.subject, moment, facts)
        return made

    def approve(
        self,
        request_id: str,
        *,
        by: Principal,
        columns: Sequence[str] | None = None,
        until: datetime | None = None,
        note: str = "",
        now: datetime | None = None,
    ) -> AccessRequest:
        """Grant it; may narrow columns and end, never widen. Raises: `AccessRefused`."""
        moment = now or datetime.now(UTC)
        request = self._decidable(request_id, by, moment)
        manifest = self._product(request.product)
        asked = set(request.columns) if request.columns is not None else None
        if columns is not None:
            self._check_columns(manifest, columns)
            if asked is not None and not set(columns) <= asked:
                raise AccessRefused(
                    "an approval can't name columns that were not asked for. Leave them out", code="access.widened"
                )
        end = moment + request.duration
        if until is not None and until > end:
            raise AccessRefused(
                f"an approval can't last longer than was asked for ({end:%Y-%m-%d}). Choose an earlier end",
                code="access.widened",
            )
        granted = tuple(columns) if columns is not None else request.columns
        if granted is None:  # all columns as they are now; later ones only if not classified higher
            granted = tuple(_columns(manifest))
        facts = {"columns": granted, "until": micros(until or end), "note": note}
        self._append(request_id, "approved", request.product, request.principal, by.subject, moment, facts)
        return self.find(request_id, now=moment)

    def reject(self, request_id: str, *, by: Principal, reason: str, now: datetime | None = None) -> AccessRequest:
        """Refuse it, with a reason that the requester reads. Raises: `AccessRefused`."""
        moment = now or datetime.now(UTC)
        request = self._decidable(request_id, by, moment)
        self._append(request_id, "rejected", request.product, request.principal, by.subject, moment, {"note": reason})
        return self.find(request_id, now=moment)

    def cancel(self, request_id: str, *, by: Principal, now: datetime | None = None) -> AccessRequest:
        """Take one's own request back. Raises: `AccessRefused`."""
        moment = now or datetime.now(UTC)
        request = self.find(request_id, now=moment)
        if request.by != by.subject:
            raise AccessRefused("only who made a request can cancel it", code="access.not_allowed")
        if request.status != "requested":
            raise AccessRefused(f"request {request_id} is {request.status} already", code="access.already_decided")
        self._append(request_id, "cancelled", request.product, request.principal, by.subject, moment, {})
        return self.find(request_id, now=moment)

    def revoke(self, grant_id: str, *, by: Principal, reason: str, now: datetime | None = None) -> AccessRequest:
        """End a grant: the next query, page or batch is denied. Raises: `AccessRefused`."""
        moment = now or datetime.now(UTC)
        request = self.find(grant_id, now=moment)
        if request.status != "approved":
            raise AccessRefused(f"grant {grant_id} is {request.status}, not active", code="access.already_decided")
        self._require_decider(request, by)
        self._append(grant_id, "revoked", request.product, request.principal, by.subject, moment, {"note": reason})
        return self.find(grant_id, now=moment)

    # Reading

    def requests(
        self, *, mine: Principal | None = None, waiting_for: Principal | None = None, product: str | None = None, status: Status | None = None,
        now: datetime | None = None,
    ) -> tuple[AccessRequest, ...]:  # fmt: skip
        """Requests, newest first: of one person, those one may decide, of a product, in a status."""
        moment = now or datetime.now(UTC)
        found = [_at(r, moment) for r in self._fold().values()]
        if mine is not None:
            found = [r for r in found if r.by == mine.subject]
        if waiting_for is not None:
            found = [r for r in found if r.status == "requested" and self.may_decide(r, waiting_for)]
        if product is not None:
            found = [r for r in found if r.product == product]
        if status is not None:
            found = [r for r in found if r.status == status]
        return tuple(sorted(found, key=lambda r: (r.at, r.id), reverse=True))

    def find(self, request_id: str, *, now: datetime | None = None) -> AccessRequest:
        """One request. Raises: `AccessRefused` if there is none of that id."""
        found = self._fold().get(request_id)
        if found is None:
            raise AccessRefused(
                f"there is no request {request_id}. See: meshkit catalog requests", code="access.unknown_request"
            )
        return _at(found, now or datetime.now(UTC))

    def may_decide(self, request: AccessRequest, by: Principal) -> bool:
        """The owning team (attribute `team`), or a role that `access.approvals` names for what is asked; nobody decides their own."""
        manifest = self._manifests().get(request.product)
        if manifest is None or request.by == by.subject or request.principal == f"user:{by.subject}":
            return False
        listed = self.settings.approvals.get(
            _highest(manifest, request.columns), self.settings.approvals.get("default", ["owner"])
        )
        team = by.attributes.get("team")
        is_owner = team == manifest.owner.team or (isinstance(team, list | tuple) and manifest.owner.team in team)
        return any(is_owner if who == "owner" else who in by.roles for who in listed)

    # ports.Grants

    def revision(self) -> int:
        """Rises with every event."""
        import sqlalchemy as sa

        with self.tables.store.read() as connection:
            return int(
                connection.execute(sa.select(sa.func.coalesce(sa.func.max(self.tables.access.c.seq), 0))).scalar_one()
            )

    def grants_for(self, principal: Principal, product: str, *, at: datetime) -> tuple[Grant, ...]:
        """Grants of the principal (as user, by role or group) that are live at `at`."""
        groups = principal.attributes.get("groups", ())
        names = {f"user:{principal.subject}", *(f"role:{r}" for r in principal.roles)}
        names |= {f"group:{g}" for g in groups if isinstance(groups, list | tuple)}
        return tuple(g for g in self.active(product, at=at) if g.principal in names)

    def active(self, product: str, *, at: datetime) -> tuple[Grant, ...]:
        """Everybody's grants on the product that are live at `at` (`ports.GrantSource`)."""
        approved = [r for r in self._fold().values() if r.product == product and _at(r, at).status == "approved"]
        return tuple(_grant(r, since=r.decided_at) for r in approved if r.decided_at is not None and r.decided_at <= at)

    # Inside

    def _product(self, product: str) -> Manifest:
        manifest = self._manifests().get(product)
        if manifest is None:
            raise AccessRefused(
                f"there is no product {product!r}. Search: meshkit catalog search WORD", code="access.unknown_product"
            )
        return manifest

    def _check_columns(self, manifest: Manifest, columns: Sequence[str] | None) -> None:
        known = _columns(manifest)
        unknown = [c for c in columns or () if c not in known]
        if unknown:
            raise AccessRefused(
                f"{manifest.id} has no column {unknown[0]!r}. Known: {', '.join(known[:20])}",
                code="access.unknown_column",
            )
        if columns is not None and not columns:
            raise AccessRefused("name at least one column, or none for all", code="access.unknown_column")

    def _decidable(self, request_id: str, by: Principal, now: datetime) -> AccessRequest:
        request = self.find(request_id, now=now)
        self._require_decider(request, by)
        if request.status != "requested":
            raise AccessRefused(f"request {request_id} is {request.status} already", code="access.already_decided")
        return request

    def _require_decider(self, request: AccessRequest, by: Principal) -> None:
        if not self.may_decide(request, by):
            raise AccessRefused(
                "only the owning team, or a role named in access.approvals, decides; and nobody their own",
                code="access.not_allowed",
            )

    def _append(
        self, request_id: str, kind: str, product: str, principal: str, by: str, at: datetime, facts: Mapping[str, Any]
    ) -> None:
        import sqlalchemy as sa

        table = self.tables.access
        row = {
            "request_id": request_id,
            "kind": kind,
            "product": product,
            "principal": principal,
            "by": by,
            "at": micros(at),
            "facts": json.dumps(facts),
        }
        with self.tables.store.write() as connection:
            if kind != "requested":  # of two deciders at once the first wins
                last = connection.execute(
                    sa.select(table.c.kind)
                    .where(table.c.request_id == request_id)
                    .order_by(table.c.seq.desc())
                    .limit(1)
                ).scalar()
                expected = "approved" if kind == "revoked" else "requested"
                if last != expected:
                    raise AccessRefused(f"request {request_id} is {last} already", code="access.already_decided")
            connection.execute(table.insert().values(row))

    def _fold(self) -> dict[str, AccessRequest]:
        """All requests as their events make them; read again only after a new event."""
        revision = self.revision()
        with self._lock:
            if self._folded[0] == revision:
                return self._folded[1]
        import sqlalchemy as sa

        table = self.tables.access
        folded: dict[str, AccessRequest] = {}
        with self.tables.store.read() as connection:
            for row in connection.execute(sa.select(table).order_by(table.c.seq)).mappings():
                _apply(folded, row)
        with self._lock:
            self._folded = (revision, folded)
        return folded


def _apply(folded: dict[str, AccessRequest], row: Any) -> None:
    facts, at = json.loads(row["facts"]), from_micros(row["at"])
    columns = tuple(facts["columns"]) if facts.get("columns") is not None else None
    if row["kind"] == "requested":
        duration = timedelta(seconds=facts["duration"])
        folded[row["request_id"]] = AccessRequest(
            row["request_id"],
            row["product"],
            row["principal"],
            facts["purpose"],
            duration,
            row["by"],
            at,
            columns,
            facts.get("port"),
        )
        return
    known = folded[row["request_id"]]
    changes: dict[str, Any] = {
        "status": row["kind"],
        "decided_by": row["by"],
        "decided_at": at,
        "note": facts.get("note", ""),
    }
    if row["kind"] == "approved":
        changes |= {"columns": columns, "until": from_micros(facts["until"])}
    folded[row["request_id"]] = replace(known, **changes)


def _grant(request: AccessRequest, *, since: datetime) -> Grant:
    columns = frozenset(request.columns) if request.columns is not None else None
    return Grant(request.id, request.product, request.principal, since, request.until, columns, request.purpose_word, request.port)  # fmt: skip


def _at(request: AccessRequest, now: datetime) -> AccessRequest:
    """The request as the clock makes it: approvals expire, requests lapse."""
    if request.status == "approved" and request.until is not None and now >= request.until:
        return replace(request, status="expired")
    if request.status == "requested" and now >= request.at + LAPSES_AFTER:
        return replace(request, status="lapsed")
    return request


def _columns(manifest: Manifest) -> list[str]:
    return list(dict.fromkeys(name for item in manifest.objects.values() for name in item.fields))


def _highest(manifest: Manifest, columns: Sequence[str] | None) -> str:
    """The highest classification among what is asked for."""
    found = [
        f.classification
        for item in manifest.objects.values()
        for name, f in item.fields.items()
        if f.classification and (columns is None or name in columns)
    ]
    return max(found, key=CLASSES.index, default="default")
