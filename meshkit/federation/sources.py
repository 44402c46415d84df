"""Where the rows of a port lie: the files of its last commit, or the table behind its Postgres location."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from meshkit._storage import CommitLog, fixed_part, open_filesystem
from meshkit.errors import EnvironmentProblem, MeshkitError
from meshkit.federation.errors import SourceUnavailable
from meshkit.federation.products import QueryablePort

__all__ = ["PostgresTable", "SourceFinder", "list_files", "postgres_table"]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class SourceFinder(Protocol):
    """Says which source serves a location. `MeshConfig` is one."""

    def source_for(self, location: str, *, port: str = "") -> tuple[str, Any] | None:
        """Name and configuration, None for local files. Raises: `MeshkitError` (`mesh.no_source`, `mesh.ambiguous_source`)."""


def located(port: QueryablePort) -> str:
    """The location with `${VAR}` filled in and relative paths made absolute. Raises: `EnvironmentProblem` for a missing variable."""

    def fill(found: re.Match[str]) -> str:
        value = os.environ.get(found[1], found[2])
        if value is None:
            raise EnvironmentProblem(
                f"environment variable {found[1]} is not set. The location of port {port.name} names it",
                code="federation.missing_variable",
            )
        return value

    location = _VARIABLE.sub(fill, port.location)
    if location.startswith("file://"):
        location = location.removeprefix("file://")
    return location if "://" in location else str(Path(port.base, location).absolute())


def list_files(
    port: QueryablePort, *, product: str, object_name: str, source: tuple[str, Any] | None
) -> tuple[str, ...]:
    """Files of the port now: the last commit's list where there is one, else what matches. Fixed for the query: its snapshot.

    Raises: `SourceUnavailable` where nothing was published yet, or the store does not answer.
    """
    location = located(port)
    options = source[1].storage_options() if source is not None and hasattr(source[1], "storage_options") else None
    name = source[0] if source is not None else None
    try:
        log = CommitLog(fixed_part(location), options)
        if log.sequences():
            files = [f for f in log.current_files() if f.object in {None, object_name}]
            return tuple(_below(log.url, f.path, product, port.name) for f in files)
        filesystem, path = open_filesystem(location, options)
        found = filesystem.glob(path) if re.search(r"[*?\[{]", path) else ([path] if filesystem.exists(path) else [])
    except (OSError, EnvironmentProblem):
        raise SourceUnavailable(product=product, port=port.name, source=name) from None
    prefix = location.partition("://")[0] + "://" if "://" in location else ""
    # a folder's owner file (`.meshkit-owner.json`, provision) lies among the data of a JSON port and is none
    names = sorted(f"{prefix}{f}" for f in found if not f.rpartition("/")[2].startswith("."))
    if not names:
        raise SourceUnavailable(product=product, port=port.name, source=name, what="has no files yet")
    return tuple(_plain(n, product, port.name) for n in names)


def _below(root: str, relative: str, product: str, port: str) -> str:
    """A committed path stays below its root."""
    if relative.startswith("/") or "://" in relative or ".." in relative.split("/"):
        raise MeshkitError(
            f"{product}: the commit list of port {port} names a file outside its location. Publish again",
            code="federation.commit_damaged",
        )
    return _plain(f"{root}/{relative}", product, port)


def _plain(path: str, product: str, port: str) -> str:
    if re.search(r"[*?\[\]{}]", path):
        raise MeshkitError(
            f"{product}: a file of port {port} has a glob character in its name. Rename it", code="federation.file_name"
        )
    return path


@dataclass(frozen=True, slots=True)
class PostgresTable:
    """Schema and table behind a `postgresql://host/db/schema.table` location."""

    schema: str
    table: str


def postgres_table(port: QueryablePort) -> PostgresTable:
    """The table of a Postgres port. Raises: `MeshkitError` if the location names none."""
    path = located(port).partition("://")[2].partition("?")[0].split("/")
    if len(path) < 3 or not path[-1]:
        raise MeshkitError(
            f"port {port.name} names no table. Write postgresql://host/database/schema.table",
            code="federation.location",
        )
    schema, dot, table = path[-1].rpartition(".")
    return PostgresTable(schema if dot else "public", table)


def login_key(source: tuple[str, Any], roles: tuple[str, ...]) -> str:
    """Which login of the source these roles use, by name: engines are attached once per login."""
    logins: Mapping[str, Any] = getattr(source[1], "logins", {})
    return next((r for r in logins if r in roles), "default")
