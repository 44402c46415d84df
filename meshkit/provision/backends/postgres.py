"""Postgres sources of mesh.yaml: schemas, views by the `source` mapping, roles with exactly their grants. Markers are comments, in the same transaction."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from meshkit.errors import MeshkitError, MissingExtra
from meshkit.provision.backend import Kind, Problem, by_source
from meshkit.provision.credentials import SecretSink, new_password
from meshkit.provision.errors import AlreadyExists, BackendRefused, PermissionMissing, Retryable
from meshkit.provision.plan import Change
from meshkit.provision.resources import Marker, Node, Observed, ResourceGraph, digest

if TYPE_CHECKING:
    from meshkit.provision.target import Target

__all__ = ["PostgresBackend", "open_backend", "password_matches"]

_PREFIX = "meshkit "
_ATTRIBUTES = ("login", "replication", "superuser", "createrole", "createdb", "bypassrls")


def open_backend(target: Target, sink: SecretSink) -> PostgresBackend:
    """The backend of all Postgres sources of a mesh."""
    return PostgresBackend(target, sink)


class PostgresBackend:
    """All Postgres sources of mesh.yaml; satisfies `Backend`. One connection per source, used by one thread at a time."""

    name = "postgres"

    def __init__(self, target: Target, sink: SecretSink) -> None:
        self.target, self.sink = target, sink
        self.calls = 0
        self._connections: dict[str, Any] = {}
        self._locks = {name: threading.RLock() for name, s in target.config.sources.items() if s.kind == "postgres"}
        self.kinds: Mapping[str, Kind] = {
            "postgres.schema": Schemas(self),
            "postgres.view": Views(self),
            "postgres.role": Roles(self),
        }

    def dsn(self, source: str) -> str:
        """Data source name of a source."""
        found = self.target.config.sources[source]
        assert found.kind == "postgres"
        return found.dsn.reveal()

    def marker(self, node: Node) -> Marker:
        """The marker a node carries."""
        return Marker(node.owner, self.target.mesh, self.target.environment)

    @contextmanager
    def transaction(self, node: Node, action: str) -> Iterator[Any]:
        """A connection in one transaction, its errors translated."""
        import psycopg

        with self._locks[node.source]:
            try:
                connection = self._connection(node.source)
                with connection.transaction():
                    yield connection
            except psycopg.Error as error:
                raise _translated(error, action, node) from error

    def _connection(self, source: str) -> Any:
        found = self._connections.get(source)
        if found is not None and not found.closed and not found.broken:
            return found
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("postgres", package="psycopg", purpose="deploying to Postgres") from None
        made = psycopg.connect(self.dsn(source), autocommit=True, connect_timeout=10)
        self._connections[source] = made
        return made

    def run(self, connection: Any, statement: Any, values: Any = None) -> Any:
        """Execute and count."""
        self.calls += 1
        return connection.execute(statement, values)

    def check(self, nodes: Sequence[Node]) -> Sequence[Problem]:
        """Whether each database answers."""
        problems = []
        for source, group in by_source(nodes).items():
            try:
                with self.transaction(group[0], "connect") as connection:
                    self.run(connection, "SELECT 1")
            except MeshkitError as error:
                problems.append(Problem(self.name, f"source {source}: {error.message}"))
        return problems

    def owned(self, graph: ResourceGraph) -> Iterator[tuple[Node, Observed]]:
        """Roles of the products that no manifest asks for any more. Roles belong to the server, so sources that share one agree by name."""
        wanted = [n for n in graph.nodes if n.kind == "postgres.role"]
        known = {n.context["role_name"] for n in wanted}
        for source, group in by_source(wanted).items():
            statement = "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname LIKE 'mk\\_%' ORDER BY 1"
            with self.transaction(group[0], "list roles") as connection:
                rows = self.run(connection, statement).fetchall()
            for name, comment in rows:
                marker = Marker.from_json(_parsed(comment))
                for product in (
                    p for p in graph.products if marker is not None and p.urn == marker.owner and name not in known
                ):
                    node = Node("postgres.role", f"{source}/{name}", product.urn, product.id, source)
                    if marker == graph.marker(node):
                        known.add(name)
                        yield node, Observed({}, marker)

    def close(self) -> None:
        """Close connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def _translated(error: Any, action: str, node: Node) -> MeshkitError:
    import psycopg

    name = type(error).__name__
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return PermissionMissing(action=action, resource=node.id)
    duplicates = ("DuplicateObject", "DuplicateSchema", "DuplicateTable", "UniqueViolation")
    if isinstance(error, tuple(getattr(psycopg.errors, d) for d in duplicates)):
        return AlreadyExists(f"{node.id} exists already")
    if error.sqlstate in {"XX000", "40001", "40P01"} or (
        error.sqlstate is None and isinstance(error, psycopg.OperationalError)
    ):
        return Retryable(f"{action} on {node.id} failed in passing ({name})")
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        hint = "Check the table and columns in `source` of the manifest"
        return BackendRefused(f"{action} on {node.id}: a table or column is not there ({name}). {hint}")
    if isinstance(error, psycopg.errors.DependentObjectsStillExist):
        return BackendRefused(f"{action} on {node.id}: other objects depend on it. Drop or move them first")
    return BackendRefused(f"{action} on {node.id} was refused ({name})")


def _comment(marker: Marker, **more: str) -> str:
    return _PREFIX + json.dumps({**marker.to_json(), **more}, sort_keys=True)


def _parsed(comment: str | None) -> dict[str, Any]:
    if not comment or not comment.startswith(_PREFIX):
        return {}
    try:
        data = json.loads(comment.removeprefix(_PREFIX))
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


class Schemas:
    """Schemas that products share: made where missing, never changed."""

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend

    def read(self, node: Node) -> Observed | None:
        with self._backend.transaction(node, "read schema") as connection:
            found = self._backend.run(
                connection, "SELECT 1 FROM pg_namespace WHERE nspname = %s", [node.context["schema"]]
            )
            return Observed() if found.fetchone() else None

    def create(self, node: Node) -> None:
        from psycopg import sql

        name = sql.Identifier(node.context["schema"])
        with self._backend.transaction(node, "CREATE SCHEMA") as connection:
            self._backend.run(connection, sql.SQL("CREATE SCHEMA {}").format(name))
            text = sql.Literal(_comment(self._backend.marker(node)))
            self._backend.run(connection, sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name, text))

    def update(self, node: Node, changes: Sequence[Change]) -> None:  # noqa: ARG002  # of the port
        raise BackendRefused(f"{node.id} is shared and never changed")


class Views:
    """The public face of a private table: contract names over mapped columns."""

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend

    _READ = (
        "SELECT c.relkind = 'v', obj_description(c.oid, 'pg_class'), CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
    )

    def read(self, node: Node) -> Observed | None:
        with self._backend.transaction(node, "read view") as connection:
            row = self._backend.run(connection, self._READ, [node.context["schema"], node.context["view"]]).fetchone()
        if row is None:
            return None
        is_view, comment, text = row
        data = _parsed(comment)
        marker = Marker.from_json(data)
        if not is_view:
            return Observed({}, None, foreign=None if marker is None else "is no view any more")
        # the server's own text tells a change by hand; the digest of the mapping tells a change of the manifest
        same = data.get("text") == digest(text) and data.get("definition") == digest(node.fields["definition"])
        return Observed({"definition": node.fields["definition"] if same else {"digest": str(data.get("definition")), "text": digest(text)}}, marker)  # fmt: skip

    def create(self, node: Node) -> None:
        with self._backend.transaction(node, "CREATE VIEW") as connection:
            self._define(connection, node, "CREATE VIEW")

    def update(self, node: Node, changes: Sequence[Change]) -> None:  # noqa: ARG002  # one field
        """Replace in place where Postgres can, so that grants stay; else drop and make again, in one transaction."""
        import psycopg
        from psycopg import sql

        with self._backend.transaction(node, "CREATE OR REPLACE VIEW") as connection:
            try:
                with connection.transaction():
                    self._define(connection, node, "CREATE OR REPLACE VIEW")
            except psycopg.errors.InvalidTableDefinition:
                name = sql.Identifier(node.context["schema"], node.context["view"])
                self._backend.run(connection, sql.SQL("DROP VIEW {}").format(name))
                self._define(connection, node, "CREATE VIEW")

    def _define(self, connection: Any, node: Node, verb: str) -> None:
        from psycopg import sql

        definition = node.fields["definition"]
        name = sql.Identifier(node.context["schema"], node.context["view"])
        columns = [
            sql.SQL("{} AS {}").format(sql.Identifier(c), sql.Identifier(n)) for n, c in definition["columns"].items()
        ]
        table = sql.Identifier(*definition["table"].split(".", 1))
        statement = sql.SQL(verb + " {} AS SELECT {} FROM {}").format(name, sql.SQL(", ").join(columns), table)
        self._backend.run(connection, statement)
        row = self._backend.run(connection, self._READ, [node.context["schema"], node.context["view"]]).fetchone()
        text = _comment(self._backend.marker(node), definition=digest(definition), text=digest(row[2]))
        self._backend.run(connection, sql.SQL("COMMENT ON VIEW {} IS {}").format(name, sql.Literal(text)))


class Roles:
    """Logins with exactly the attributes, grants and password that the node says."""

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend

    _ROLE = (
        "SELECT oid, rolcanlogin, rolreplication, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, shobj_description(oid, 'pg_authid') "
        "FROM pg_roles WHERE rolname = %s"
    )
    _GRANTS = """
        SELECT lower(a.privilege_type), a.is_grantable, n.nspname, NULL, NULL
        FROM pg_namespace n, aclexplode(n.nspacl) a WHERE a.grantee = %(oid)s
        UNION ALL SELECT lower(a.privilege_type), a.is_grantable, n.nspname, c.relname, NULL
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a WHERE a.grantee = %(oid)s
        UNION ALL SELECT lower(a.privilege_type), a.is_grantable, n.nspname, c.relname, t.attname
        FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(t.attacl) a
        WHERE a.grantee = %(oid)s ORDER BY 1, 2, 3, 4, 5"""

    def read(self, node: Node) -> Observed | None:
        run = self._backend.run
        with self._backend.transaction(node, "read role") as connection:
            missing = self._missing(connection, node)
            row = run(connection, self._ROLE, [node.context["role_name"]]).fetchone()
            if row is None and not missing:
                return None
            if row is None:
                return Observed({}, self._backend.marker(node), manual=missing)
            grants = self._granted(connection, row[0])
            groups = "SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE member = %s"
            members = sorted(r[0] for r in run(connection, groups, [row[0]]))
            credential = self._credential(connection, node)
        fields = {
            "attributes": [a for a, on in zip(_ATTRIBUTES, row[1:7], strict=True) if on],
            "member_of": members, "grants": grants, "credential": credential,
        }  # fmt: skip
        return Observed(fields, Marker.from_json(_parsed(row[7])), manual=missing)

    def _granted(self, connection: Any, oid: int) -> list[list[str]]:
        rows = self._backend.run(connection, self._GRANTS, {"oid": oid}).fetchall()
        return [
            [p + (" with grant option" if g else ""), *(str(x) for x in path if x is not None)] for p, g, *path in rows
        ]

    def _missing(self, connection: Any, node: Node) -> str | None:
        """A relation that a grant needs and that no node of the plan makes."""
        made = set(node.context["made_here"])
        for name in sorted({(g[1], g[2]) for g in node.fields["grants"] if len(g) > 2}):
            known = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
            if ".".join(name) not in made and self._backend.run(connection, known, name).fetchone() is None:
                return f"{'.'.join(name)} is not there, and no `source` mapping makes it. Create it, then deploy again"
        return None

    def _stored(self, node: Node) -> str | None:
        values = self._backend.sink.read(node.context["product"], node.context["role"], "postgres")
        return values.get("password") if values and values.get("user") == node.context["role_name"] else None

    def _credential(self, connection: Any, node: Node) -> str:
        """Whether the server's password is the stored one: by its verifier where we may see it, else by logging in."""
        import psycopg

        stored = self._stored(node)
        if stored is None:
            return "missing"
        statement = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
        try:
            with connection.transaction():
                verifier = self._backend.run(connection, statement, [node.context["role_name"]]).fetchone()[0]
            return "stored" if password_matches(stored, verifier) else "unknown"
        except psycopg.errors.InsufficientPrivilege:
            pass
        parts = urlsplit(self._backend.dsn(node.source))
        login = (
            f"{quote(node.context['role_name'], safe='')}:{quote(stored, safe='')}@{parts.netloc.rpartition('@')[2]}"
        )
        try:
            psycopg.connect(parts._replace(netloc=login).geturl(), connect_timeout=10).close()
        except psycopg.OperationalError:
            return "unknown"
        return "stored"

    def create(self, node: Node) -> None:
        from psycopg import sql

        password = self._password(node)
        role = sql.Identifier(node.context["role_name"])
        with self._backend.transaction(node, "CREATE ROLE") as connection:
            self._backend.run(connection, sql.SQL("CREATE ROLE {}").format(role))
            text = sql.Literal(_comment(self._backend.marker(node)))
            self._backend.run(connection, sql.SQL("COMMENT ON ROLE {} IS {}").format(role, text))
            self._alter(connection, node, role, password)
            self._grant(connection, node, role, [])

    def update(self, node: Node, changes: Sequence[Change]) -> None:
        from psycopg import sql

        paths = {c.path for c in changes}
        password = self._password(node) if "credential" in paths else None
        role = sql.Identifier(node.context["role_name"])
        with self._backend.transaction(node, "ALTER ROLE") as connection:
            if paths & {"attributes", "credential"}:
                self._alter(connection, node, role, password)
            if "member_of" in paths:
                oid = self._backend.run(connection, self._ROLE, [node.context["role_name"]]).fetchone()[0]
                groups = "SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE member = %s"
                for (group,) in self._backend.run(connection, groups, [oid]).fetchall():
                    self._backend.run(connection, sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), role))
            if "grants" in paths:
                oid = self._backend.run(connection, self._ROLE, [node.context["role_name"]]).fetchone()[0]
                self._grant(connection, node, role, self._granted(connection, oid))

    def _password(self, node: Node) -> str:
        """The stored password; a new one is stored before the server learns it."""
        stored = self._stored(node)
        if stored is not None:
            return stored
        made = new_password()
        values = {"user": node.context["role_name"], "password": made}
        self._backend.sink.write(node.context["product"], node.context["role"], "postgres", values)
        return made

    def _alter(self, connection: Any, node: Node, role: Any, password: str | None) -> None:
        from psycopg import sql

        wanted = set(node.fields["attributes"])
        may = self._backend.run(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()[0]
        # only a superuser may name these two at all; for others a new role has neither
        names = [a for a in _ATTRIBUTES if may or a not in {"superuser", "bypassrls"}]
        words = " ".join((a if a in wanted else f"no{a}").upper() for a in names)
        self._backend.run(connection, sql.SQL("ALTER ROLE {} " + words).format(role))
        if password is not None:
            # the verifier, not the password, so that no statement log of the server learns it
            verifier = connection.pgconn.encrypt_password(
                password.encode(), node.context["role_name"].encode(), b"scram-sha-256"
            )
            self._backend.run(
                connection, sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(verifier.decode()))
            )

    def _grant(self, connection: Any, node: Node, role: Any, granted: list[list[str]]) -> None:
        from psycopg import sql

        wanted = node.fields["grants"]
        for grant in (g for g in granted if g not in wanted):
            word = grant[0].removesuffix(" with grant option")
            self._backend.run(connection, sql.SQL("REVOKE {} FROM {}").format(_right([word, *grant[1:]]), role))
        for grant in (g for g in wanted if g not in granted):
            self._backend.run(connection, sql.SQL("GRANT {} TO {}").format(_right(grant), role))


def _right(grant: list[str]) -> Any:
    """`select (id) on public.orders` of `["select", "public", "orders", "id"]`, quoted."""
    from psycopg import sql

    word = sql.SQL(grant[0].upper())  # a privilege's name, from our own table or the server's catalog
    if len(grant) == 2:
        return sql.SQL("{} ON SCHEMA {}").format(word, sql.Identifier(grant[1]))
    if len(grant) == 3:
        return sql.SQL("{} ON {}").format(word, sql.Identifier(grant[1], grant[2]))
    return sql.SQL("{} ({}) ON {}").format(word, sql.Identifier(grant[3]), sql.Identifier(grant[1], grant[2]))


def password_matches(password: str, verifier: str | None) -> bool:
    """Whether a SCRAM-SHA-256 verifier (RFC 5803, as pg_authid holds it) belongs to a password of ASCII letters."""
    try:
        scheme, rounds_salt, keys = (verifier or "").split("$")
        rounds, salt = rounds_salt.split(":")
        stored = base64.b64decode(keys.split(":")[0])
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    except ValueError:
        return False
    client = hmac.digest(salted, b"Client Key", "sha256")
    return scheme == "SCRAM-SHA-256" and hmac.compare_digest(hashlib.sha256(client).digest(), stored)
