"""DuckDB twice: a privileged engine that has the sources, and a sandbox per query that has masked rows only.

DuckDB has no privilege boundary inside one database: all that is attached is readable by name. So the user's query never runs where the
sources are. Trust: `advisory` in the caller's process, `enforced` when a gateway hosts it. Source: federation-and-masking section 4.2.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from meshkit.errors import MeshkitError, MissingExtra
from meshkit.federation.errors import ContractBroken, PolicyUnavailable, QueryFailed, SourceUnavailable
from meshkit.federation.fragment_sql import ArrowMask, FragmentSql
from meshkit.ports import ColumnDecision

if TYPE_CHECKING:
    import pyarrow as pa

    from meshkit.federation.plan import Fragment, FragmentReport
    from meshkit.federation.settings import EngineSettings
    from meshkit.ports import MaskCompiler

__all__ = ["FragmentStream", "Privileged", "Sandbox", "classify", "engine_errors"]

BATCH_ROWS = 65_536


class SpillFolder:
    """A private folder for spilled rows, removed when the process ends. DuckDB's default is `.tmp` in the working directory."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="meshkit-spill-")  # 0700 by contract of mkdtemp
        atexit.register(self.close)

    def close(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        atexit.unregister(self.close)


def _connect(settings: EngineSettings, spill: str, **config: Any) -> Any:
    try:
        import duckdb
    except ImportError:
        raise MissingExtra("sql", package="duckdb", purpose="querying products") from None
    common: dict[str, Any] = {
        "threads": settings.threads,
        "temp_directory": spill,
        "max_temp_directory_size": settings.spill,
        "python_enable_replacements": False,
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "allow_community_extensions": False,
        "secret_directory": f"{spill}/secrets",  # not the user's own: its secrets would open more than the sources
        "preserve_insertion_order": True,
    }
    return duckdb.connect(":memory:", config=common | config)


def classify(error: BaseException) -> str:
    """The class of an engine error. Its text is never looked at by people: it can hold values."""
    name = type(error).__name__
    known = {
        "ConversionException": "cast", "OutOfRangeException": "range", "OutOfMemoryException": "memory", "InterruptException": "cancelled",
        "BinderException": "bind", "CatalogException": "bind", "ParserException": "bind", "TypeMismatchException": "bind", "SyntaxException": "bind",
    }  # fmt: skip
    if name in known:
        return known[name]
    text = str(error)[:200].lower()
    if "out of memory" in text or "max_temp_directory_size" in text:
        return "memory"
    return "range" if "overflow" in text else "division" if "division by zero" in text else "other"


def engine_errors() -> tuple[type[Exception], ...]:
    """What DuckDB and its Arrow streams raise."""
    import duckdb
    import pyarrow as pa

    return duckdb.Error, pa.ArrowException, OSError, RuntimeError


class Privileged:
    """The engine that has the sources: attached read-only, once per login. Runs only SQL that meshkit generates."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._attached: dict[tuple[str, str], str] = {}
        self._loaded: set[str] = set()
        self._lock = threading.RLock()
        self._spill: SpillFolder | None = None
        self._number = 0

    @cached_property
    def _root(self) -> Any:
        self._spill = SpillFolder()
        connection = _connect(self.settings, self._spill.path, memory_limit=self.settings.memory)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET arrow_lossless_conversion = true")
        return connection

    def cursor(self) -> Any:
        """A connection of its own: one open result at a time."""
        with self._lock:
            cursor = self._root.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute("SET arrow_lossless_conversion = true")
        return cursor

    def new_name(self, prefix: str) -> str:
        """A name that no other query uses."""
        with self._lock:
            self._number += 1
            return f"{prefix}_{self._number}"

    def load(self, extension: str) -> None:
        """Load an extension from its wheel: nothing is downloaded or installed. Raises: `MissingExtra`."""
        with self._lock:
            if extension in self._loaded:
                return
            import duckdb

            try:
                package = resources.files(f"duckdb_extension_{extension}")
            except ModuleNotFoundError:
                name = f"duckdb-extension-{extension.replace('_', '-')}"
                raise MissingExtra("sql", package=name, purpose="reading this source") from None
            path = package.joinpath("extensions", f"v{duckdb.__version__}", f"{extension}.duckdb_extension")
            self._root.execute(f"LOAD {literal(str(path))}")
            self._loaded.add(extension)

    def attach_postgres(self, source: str, login: str, dsn: str, *, product: str, port: str) -> str:
        """The catalog name of a Postgres database, read-only under one login. Raises: `SourceUnavailable`."""
        import duckdb

        with self._lock:
            key = (source, login)
            if key in self._attached:
                return self._attached[key]
            self.load("postgres_scanner")
            name = f"pg_{len(self._attached)}"
            try:
                self._root.execute(f"ATTACH {literal(_with_options(dsn))} AS {name} (TYPE postgres, READ_ONLY)")
                # pushing text comparisons follows the server's collation: citext would show more rows than the filter says
                self._root.execute("SET GLOBAL pg_experimental_filter_pushdown = false")
            except duckdb.Error:
                raise SourceUnavailable(product=product, port=port, source=source) from None
            self._attached[key] = name
            return name

    def attach_s3(self, source: str, config: Any) -> None:
        """Credentials of an S3 source, scoped to what it serves."""
        with self._lock:
            key = (source, "")
            if key in self._attached:
                return
            self.load("httpfs")
            parts = [
                "TYPE s3",
                "PROVIDER config",
                f"REGION {literal(config.region)}",
                f"SCOPE [{', '.join(literal(p) for p in config.prefixes())}]",
            ]
            if config.key and config.secret:
                parts += [f"KEY_ID {literal(config.key.reveal())}", f"SECRET {literal(config.secret.reveal())}"]
            if config.endpoint:
                url = urlsplit(config.endpoint if "://" in config.endpoint else f"https://{config.endpoint}")
                parts += [
                    f"ENDPOINT {literal(url.netloc)}",
                    "URL_STYLE 'path'",
                    f"USE_SSL {'false' if url.scheme == 'http' else 'true'}",
                ]
            name = f"s3_{len(self._attached)}"
            self._root.execute(f"CREATE SECRET {name} ({', '.join(parts)})")
            self._attached[key] = name

    def cancel_on_servers(self, query_id: str) -> None:
        """Stop statements of a query in Postgres, found by the id in their text: an interrupt waits for the server's next rows."""
        text = (
            "SELECT pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity "
            f"WHERE pid <> pg_backend_pid() AND query LIKE {literal(f'%meshkit:{query_id} %')}"
        )
        for (_, login), name in tuple(self._attached.items()):
            if login:
                with contextlib.suppress(*engine_errors()):  # a server that is away has nothing to stop
                    self.cursor().execute(f"SELECT * FROM postgres_query({literal(name)}, {literal(text)})").fetchall()

    def describe(self, relation_sql: str) -> dict[str, str]:
        """Columns and DuckDB types of a relation. Raises: `duckdb.Error`, for the caller to name the port."""
        rows = self.cursor().execute(f"DESCRIBE SELECT * FROM {relation_sql}").fetchall()
        return {str(r[0]): str(r[1]) for r in rows}

    def close(self) -> None:
        """Detach all and forget the credentials."""
        with self._lock:
            if "_root" in self.__dict__:
                self._root.close()
                del self.__dict__["_root"]
            self._attached.clear()
            self._loaded.clear()
            if self._spill is not None:
                self._spill.close()


def _with_options(dsn: str) -> str:
    """Read-only by default and named in the server's list of connections, whatever the login may do."""
    if "://" not in dsn:
        return (
            dsn
            + " application_name=meshkit options='-c default_transaction_read_only=on -c standard_conforming_strings=on'"
        )
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    query.setdefault("application_name", "meshkit")
    query.setdefault("connect_timeout", "10")
    query["options"] = (
        f"{query.get('options', '')} -c default_transaction_read_only=on -c standard_conforming_strings=on".strip()
    )
    return parts._replace(query=urlencode(query).replace("+", "%20")).geturl()


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


@dataclass
class FragmentStream:
    """One fragment as the sandbox reads it: every `__arrow_c_stream__` call is a new scan over the same snapshot.

    A registered reader would be empty on its second scan, and a self-join would silently give no rows.
    """

    fragment: Fragment
    statement: FragmentSql
    engine: Privileged
    compiler: MaskCompiler
    report: FragmentReport
    once: bool = (
        False  # a second scan would see another snapshot: refuse it, the service loads the fragment and runs again
    )
    diagnose: Any = None  # () -> ContractBroken for text formats
    loaded: pa.Table | None = None
    failure: MeshkitError | None = None
    rescanned: bool = False
    _cursors: list[Any] = field(default_factory=list)
    _first: Any = None

    def open(self) -> pa.RecordBatchReader:
        """Start a scan. Raises: `MeshkitError` with the class of the failure."""
        if self.loaded is not None:
            return self.loaded.to_reader(BATCH_ROWS)
        if self.once and self.report.scans:
            self.rescanned = True
            self.failure = QueryFailed("other")
            raise self.failure
        cursor = self.engine.cursor()
        self._cursors.append(cursor)
        self.report.scans += 1
        try:
            reader = cursor.execute(self.statement.sql).to_arrow_reader(BATCH_ROWS)
        except engine_errors() as error:  # translated: none of its text leaves
            raise self._failed(error) from None
        return self._masked(reader)

    def _masked(self, reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
        import pyarrow as pa

        kept = [f for f in reader.schema if f.name not in self.statement.helpers]
        schema = pa.schema([pa.field(f.name, f.type, metadata=f.metadata) for f in kept])
        return pa.RecordBatchReader.from_batches(schema, self._batches(reader, schema, first=self.report.scans == 1))

    def _batches(self, reader: pa.RecordBatchReader, schema: pa.Schema, *, first: bool) -> Iterator[pa.RecordBatch]:
        try:
            for batch in reader:
                masked = _apply(batch, schema, self.statement.arrow, self.compiler)
                if first:
                    self.report.rows = (self.report.rows or 0) + masked.num_rows
                    self.report.bytes = (self.report.bytes or 0) + masked.nbytes
                yield masked
        except GeneratorExit:
            raise
        except MeshkitError as error:
            self.failure = error
            raise
        except engine_errors() as error:
            raise self._failed(error) from None

    def _failed(self, error: BaseException) -> MeshkitError:
        kind = classify(error)
        fragment = self.fragment
        if kind in {"memory", "cancelled"}:
            failure: MeshkitError = QueryFailed(kind)
        elif self.diagnose is not None:
            failure = self.diagnose()
        elif kind in {"cast", "range"}:
            failure = ContractBroken(product=fragment.ref.table.product, port=fragment.port.name)
        elif kind == "bind" and fragment.row_filters:
            failure = PolicyUnavailable()  # the policies' SQL does not fit the contract
        else:
            failure = SourceUnavailable(
                product=fragment.ref.table.product, port=fragment.port.name, source=fragment.source
            )
        self.failure = failure
        return failure

    def prepare(self) -> None:
        """Open the first scan: its schema is the fragment's, and a source that is away shows before any row leaves."""
        if self._first is None:
            self._first = self.open()
            self.schema = self._first.schema

    def __arrow_c_schema__(self) -> Any:
        self.prepare()
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        self.prepare()
        reader, self._first = (self._first, _USED) if self._first is not _USED else (self.open(), _USED)
        return reader.__arrow_c_stream__(requested_schema)

    def take_first(self) -> pa.RecordBatchReader:
        """The first scan, to be read here instead of by the sandbox."""
        self.prepare()
        reader, self._first = self._first, _USED
        return reader

    def restart(self) -> None:
        """Give up a scan that was begun and let the next be the first again."""
        self.close()
        self._first, self.report.scans, self.report.rows, self.report.bytes = None, 0, None, None

    def interrupt(self) -> None:
        """Stop scans that run."""
        for cursor in self._cursors:
            with contextlib.suppress(Exception):  # a closed cursor has nothing to stop
                cursor.interrupt()

    def close(self) -> None:
        """Release the scans."""
        self._first = _USED
        for cursor in self._cursors:
            with contextlib.suppress(Exception):  # closing twice is fine
                cursor.close()
        self._cursors.clear()


_USED: Any = object()


def _apply(
    batch: pa.RecordBatch, schema: pa.Schema, masks: Sequence[ArrowMask], compiler: MaskCompiler
) -> pa.RecordBatch:
    """Masks whose keys must not stand in SQL; the result has the contract's type and length, or the query fails."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not masks and batch.num_columns == len(schema):
        return batch
    columns = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    for mask in masks:
        raw = pa.chunked_array([columns[mask.column]])
        shown = _masked_array(raw, mask, replace(mask.decision, only_rows=None), compiler)
        if mask.condition is not None:
            other = _masked_array(raw, mask, ColumnDecision(mask=mask.decision.otherwise), compiler)
            shown = pc.if_else(pc.equal(pa.chunked_array([columns[mask.condition]]), 1), shown, other)
        if len(shown) != batch.num_rows or shown.type != raw.type:
            raise QueryFailed("other")
        columns[mask.column] = shown.combine_chunks() if isinstance(shown, pa.ChunkedArray) else shown
    return pa.RecordBatch.from_arrays([_flat(columns[f.name]) for f in schema], schema=schema)


def _flat(array: Any) -> Any:
    import pyarrow as pa

    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _masked_array(raw: Any, mask: ArrowMask, decision: ColumnDecision, compiler: MaskCompiler) -> Any:
    import pyarrow as pa

    if decision.mask == "null":
        return pa.chunked_array([pa.nulls(len(raw), raw.type)])
    return raw if decision.mask == "clear" else compiler.arrow(raw, mask.type, decision)


class Sandbox:
    """A fresh in-memory database for one query: no files, no network, no settings, no extensions; masked rows are all there is."""

    def __init__(self, settings: EngineSettings) -> None:
        self.spill = SpillFolder()
        self.connection = _connect(settings, self.spill.path, memory_limit=settings.memory)
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute(
            "SET enable_external_access = false"
        )  # after the spill folder: it may not be set any more then
        self._closed = False

    def run(self, sql: str, streams: Mapping[str, Any], parameters: Mapping[str, Any]) -> pa.RecordBatchReader:
        """Lock the database, then run the user's query over the fragments. Raises: engine errors, for the service to classify."""
        for name, stream in streams.items():
            self.connection.register(name, stream)
        self.connection.execute("SET lock_configuration = true")
        result = self.connection.execute(sql, dict(parameters)) if parameters else self.connection.execute(sql)
        reader: pa.RecordBatchReader = result.to_arrow_reader(BATCH_ROWS)
        return reader

    def interrupt(self) -> None:
        """Stop the query."""
        with contextlib.suppress(Exception):  # a closed connection has nothing to stop
            self.connection.interrupt()

    def close(self) -> None:
        """Drop the database and its spilled rows."""
        if not self._closed:
            self._closed = True
            self.connection.close()
            self.spill.close()
