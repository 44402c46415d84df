"""`Mesh`: many products, plus where they run. The composition root: the only place where the modules meet; each method is one call.

mesh = Mesh.open("mesh.yaml")                 # Mesh.local() needs no file
mesh.publish("sales.orders").raise_for_violations()
mesh.sql("select state, sum(total) from sales.orders group by 1", principal="analyst").to_polars()
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from meshkit.config import MeshConfig, Settings, find_config, load_config, parse_config
from meshkit.discovery import Found, find_products, load_code
from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError
from meshkit.log import get_logger
from meshkit.manifest import Manifest
from meshkit.ports import Principal
from meshkit.product import DataProduct, ProductChecks, PublishReport, as_argument, as_batches, by_object
from meshkit.types.duckdb import quote, readable

if TYPE_CHECKING:
    from meshkit._sql import Store
    from meshkit._storage import CommitLog
    from meshkit.catalog import AccessDesk, Catalog, CatalogEntry, SearchResult, Signals
    from meshkit.federation import Federation, QueryPlan, QueryResult
    from meshkit.identity import Side
    from meshkit.lineage import Impact, IngestReport, LineageGraph, LineageStore
    from meshkit.masking import AuditChain, Explanation, Masks, PolicyDecider, Tokens
    from meshkit.ports import ConsumerLookup, QueryLog, QueryLogRecord
    from meshkit.provision import ApplyReport, Provisioner
    from meshkit.publisher.batch import BatchOutcome
    from meshkit.slo import Evaluation, EvidenceStore, SloReport, TrustScore

__all__ = ["Mesh"]

At = date | datetime | str | None

log = get_logger(__name__)


class Mesh:
    """A mesh of products with its engine, policies, principals and state. Use `Mesh.open` or `Mesh.local`; `with` closes it."""

    def __init__(
        self, config: MeshConfig, *, products: Iterable[Any] = (), trust: Literal["advisory", "enforced"] = "advisory"
    ) -> None:
        self.config, self.trust_mode = config, trust
        self._objects = tuple(products)

    @classmethod
    def open(cls, path: str | PathLike[str] | None = None, *, products: Iterable[Any] = ()) -> Self:
        """Open the mesh of a `mesh.yaml`; without path the one that applies here (see surface section 1), else `Mesh.local()`.

        Raises: `ConfigError` with every problem; `EnvironmentProblem` if the file can't be read.
        """
        if path is not None and str(path).startswith(("http://", "https://")):
            raise UsageError(
                "a mesh behind a gateway can't be opened yet. Use the gateway's HTTP interface, or a mesh.yaml",
                code="mesh.remote",
            )
        found = Path(path) if path is not None else Settings.from_env().config or find_config()
        if found is None:
            return cls.local(products=products)
        config = load_config(found)
        config.check_sections()
        return cls(config, products=products)

    @classmethod
    def local(cls, dir: str | PathLike[str] = ".mesh", *, products: Iterable[Any] = ()) -> Self:  # noqa: A002  # documented name
        """A mesh on files alone, with its state in `dir`; attaches to the local stack that runs there, if one does."""
        folder = Path(dir).absolute()
        generated = folder / "mesh.yaml"
        if generated.is_file() and find_config(folder.parent) == generated:
            return cls(load_config(generated), products=products)
        text = f'name: local\nstate: "sqlite:///{folder / "state.db"}"\naudit: {{path: "{folder / "audit"}"}}\n'
        text += f'policies: {{paths: ["{folder.parent / "policies"}"]}}\n'
        entries = [str(folder.parent / "products")] if not products and (folder.parent / "products").is_dir() else []
        text += f"products: [{', '.join(map(repr, entries))}]\n"
        return cls(parse_config(text, source=str(generated), folder=folder.parent), products=products)

    def close(self) -> None:
        """Release engines, connections and the state store."""
        for name in ("federation", "store"):
            made = self.__dict__.pop(name, None)
            if made is not None:
                made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Parts, each made at first use

    @cached_property
    def found(self) -> Mapping[str, Found]:
        """Products by id with where their code is."""
        return find_products(self.config.products, self._objects, folder=self.config.folder)

    @cached_property
    def manifests(self) -> Mapping[str, Manifest]:
        """Manifests by product id."""
        return {name: item.manifest for name, item in self.found.items()}

    @cached_property
    def store(self) -> Store:
        """The state store."""
        from meshkit._sql import Store

        return Store.open(self.config.state_url)

    @cached_property
    def decider(self) -> PolicyDecider:
        """Policies and approved requests, as one decision."""
        from meshkit.masking import PolicyDecider, load_policies

        settings = self.config.section("policies")
        paths = [self.config.folder / path for path in settings.paths]
        policies = load_policies(*paths, manifests=tuple(self.manifests.values()))
        return PolicyDecider(self.manifests.values(), policies, self.grants, settings)

    @cached_property
    def masks(self) -> Masks:
        """Masks with this mesh's keys."""
        from meshkit.masking import Masks

        return Masks(self.config.section("masking").key_ring())

    @cached_property
    def tokens(self) -> Tokens:
        """Who somebody is: dev principals and JWTs."""
        from meshkit.masking import Tokens

        return Tokens(self.config.section("auth"), is_local=self.config.is_local)

    @property
    def grants(self) -> AccessDesk:
        """Approved access requests."""
        return self.catalog.desk

    @cached_property
    def catalog(self) -> Catalog:
        """Crawl, search, access."""
        from meshkit.catalog import Catalog

        return Catalog(
            self.store,
            own=self.manifests,
            settings=self.config.section("catalog"),
            access=self.config.section("access"),
            folder=self.config.folder,
            signals=self._signals,
        )

    @cached_property
    def evidence(self) -> EvidenceStore:
        """SLO evidence, in the state store."""
        from meshkit.slo import EvidenceStore

        return EvidenceStore(self.store)

    @cached_property
    def audit(self) -> AuditChain:
        """The audit chain of this process."""
        from meshkit.masking import AuditChain

        return AuditChain.from_settings(self.config.section("audit"), root=self.config.folder)

    @cached_property
    def query_log(self) -> QueryLog:
        """What was read, in the state store."""
        from meshkit.federation import StoreQueryLog

        return StoreQueryLog(self.store)

    @cached_property
    def federation(self) -> Federation:
        """SQL over all products."""
        from meshkit.federation import Federation

        return Federation(
            self.manifests,
            decider=self.decider,
            masks=self.masks,
            sources=self.config,
            audit=self.audit,
            query_log=self.query_log,
            settings=self.config.section("engine"),
            trust=self.trust_mode,
        )

    # Products

    def products(self) -> tuple[DataProduct | Manifest, ...]:
        """Everything this mesh has, by id: the object where it was given as one, else its manifest."""
        return tuple(item.object or item.manifest for _, item in sorted(self.found.items()))

    def find(self, ref: Any) -> Found:
        """A product by id, URN, manifest, function or class. Raises: `MeshkitError` `mesh.unknown_product` with the nearest name."""
        if isinstance(ref, type | DataProduct | Manifest):
            return next(iter(find_products((), (ref,), folder=self.config.folder).values()))
        name = str(ref).removeprefix("urn:mesh:").replace(":", ".") if str(ref).startswith("urn:mesh:") else str(ref)
        name = name.partition("/")[0]
        head, _, last = name.rpartition(".")
        if last.startswith("v") and last[1:].isdigit():
            name = head
        if name not in self.found:
            from difflib import get_close_matches

            near = get_close_matches(name, list(self.found), n=1)
            hint = f"Did you mean {near[0]}?" if near else "See: meshkit catalog search"
            raise MeshkitError(f"there is no product {name!r} in this mesh. {hint}", code="mesh.unknown_product")
        return self.found[name]

    def publish(self, ref: Any, *, principal: Principal | str | None = None, until: Any = None) -> PublishReport:  # noqa: ARG002  # streams
        """Run a product: read its inputs as the product itself, transform, check, stage, commit, record.

        Consumers see nothing before the commit. A refused publish is a report with `committed=False`; it raises for what prevents a
        start: `MeshkitError` (no code, no file port), `EnvironmentProblem` (a source), `QueryDenied` (an input).
        """
        started = time.monotonic()
        product = load_code(self.find(ref))
        manifest = product.manifest
        outcome = self._run(product)
        report = PublishReport(
            manifest.id, manifest.version, outcome.run_id, outcome.committed, outcome.rows_in, outcome.rows_good, outcome.rows_quarantined,
            outcome.report, len(outcome.files), outcome.bytes, outcome.positions, time.monotonic() - started,
            tuple(s.product for s in manifest.inputs.values() if s.product), notes=tuple(self._unserved(manifest)),
        )  # fmt: skip
        return replace(report, evidence=tuple(self._record(manifest, report)))

    def _run(self, product: DataProduct) -> BatchOutcome:
        from meshkit.publisher.batch import ObjectRows, publish_batch

        manifest = product.manifest
        ports = dict(self._file_ports(manifest))
        if not ports:
            raise MeshkitError(
                f"{manifest.id} has no file port with format parquet, so there is nowhere to publish rows to. Add one to `ports`",
                code="mesh.no_file_port",
            )
        arguments = {
            name: as_argument(self._input(manifest, name), wanted) for name, wanted in product.wanted().items()
        }
        made = by_object(product, product.transform(**arguments))
        rows = [ObjectRows(name, as_batches(part), ProductChecks(product, name)) for name, part in made.items()]
        return publish_batch(manifest.id, manifest.version, rows, ports, now=datetime.now(UTC))

    def _file_ports(self, manifest: Manifest) -> Iterator[tuple[str, tuple[CommitLog, frozenset[str]]]]:
        """Parquet file ports with the commit log each one writes to."""
        from meshkit._storage import CommitLog, fixed_part

        for name, port in manifest.ports.items():
            if port.kind != "file" or port.format != "parquet":
                continue
            location = manifest.location(name)
            served = self.config.source_for(location, port=f"{manifest.id}/{name}")
            url = location if "://" in location else str(manifest.folder / location)
            options = served[1].storage_options() if served else None
            yield name, (CommitLog(fixed_part(url), options), frozenset(port.objects))

    def _unserved(self, manifest: Manifest) -> Iterator[str]:
        """Ports that a publish does not write, said in the report."""
        for name, port in manifest.ports.items():
            if port.kind != "file" or port.format != "parquet":
                yield f"port {name} ({port.title_text}) is not written by a batch publish"

    def _input(self, manifest: Manifest, name: str) -> Any:
        """Rows of one input as the product itself may see them: a RecordBatchReader."""
        import pyarrow as pa

        source = manifest.inputs[name]
        assert source.product is not None
        target = self.find(source.product).manifest
        if source.version is not None and not source.version.contains(target.version):
            raise MeshkitError(
                f"{manifest.id}: input {name} wants {target.id} {source.version}, the mesh has {target.version}",
                code="mesh.input_version",
            )
        table = self.table_name(target, source.object)
        columns = ", ".join(quote(c) for c in source.columns) if source.columns else "*"
        result = self.federation.sql(
            f"SELECT {columns} FROM {table}",
            principal=self.principal(f"product:{manifest.id}"),
            purpose=source.purpose,
            ports={target.id: source.port} if source.port else None,
        )
        return pa.RecordBatchReader.from_batches(result.schema, result.batches())

    def table_name(self, manifest: Manifest, object_name: str | None = None) -> str:
        """How an object is called in SQL: `sales.orders`, `"sales.emea".orders`, `sales.orders__lines`."""
        name = manifest.name if object_name in {None, manifest.main_object} else f"{manifest.name}__{object_name}"
        return f"{readable(manifest.domain)}.{readable(name)}"

    def _record(self, manifest: Manifest, report: PublishReport) -> Iterator[Any]:
        """Evidence and catalog revision of a publish. The rows are committed, so a store that is away is reported, not raised."""
        from meshkit.catalog import record_published
        from meshkit.slo import collect, from_publish, promises_of

        if not report.committed:
            return
        now = datetime.now(UTC)
        found = [
            *from_publish(
                promises_of(manifest),
                at=now,
                rows_read=report.rows_in,
                rows_published=report.rows_good,
                run_id=report.run_id,
            )
        ]
        known = {(e.port, e.sli) for e in found}
        found += [
            e for e in collect(manifest, self.config, now=now, run_id=report.run_id) if (e.port, e.sli) not in known
        ]
        try:
            self.evidence.append(found)
            record_published(self.catalog.tables, manifest, now=now)
        except MeshkitError as error:
            log.warning("publish.not_recorded", product=manifest.id, code=error.code)
            return
        yield from found

    # Making

    def provisioner(self, *, target: str | None = None) -> Provisioner:
        """What plans and applies resources of products on a target of mesh.yaml (default: its `default_target`)."""
        from meshkit.provision import Provisioner

        return Provisioner.from_config(self.config, target=target, grants=self.grants)

    def deploy(self, refs: Sequence[str] | str, *, target: str | None = None) -> ApplyReport:
        """Make the resources of products: plan, then apply. Idempotent: a second call changes nothing.

        Raises: `CompileFailed` with every problem; `EnvironmentProblem` if a service can't be reached.
        """
        wanted = [refs] if isinstance(refs, str) else refs
        with self.provisioner(target=target) as maker:
            return maker.apply(maker.plan([self.find(ref).manifest for ref in wanted]))

    # Reading

    def principal(self, name: str | None = None, *, token: Any = None) -> Principal:
        """A dev principal of mesh.yaml by name, a product's own identity (`product:sales.orders`), or the subject of a JWT.

        Raises: `TokenRejected`; `MeshkitError` for an unknown name; `MissingPrincipal` without name, token and default.
        """
        from meshkit.federation import MissingPrincipal

        if token is not None:
            return self.tokens.verify(token)
        name = name or self.config.default_principal
        if name is None:
            raise MissingPrincipal
        if name.startswith("product:"):
            product = self.find(name.removeprefix("product:")).manifest
            return Principal(name, ("product", f"product:{product.id}"), issuer="mesh")
        return self.tokens.dev(name)

    def _reader(self, principal: Principal | str | None) -> Principal:
        return principal if isinstance(principal, Principal) else self.principal(principal)

    def sql(self, query: str, *, principal: Principal | str | None = None, **options: Any) -> QueryResult:
        """Run SQL over products under the principal's policies. Trust `advisory`: masking runs in this process.

        Options: `purpose parameters dialect ports timeout_seconds channel`. Raises: see `Federation.sql`.
        """
        return self.federation.sql(query, principal=self._reader(principal), **options)

    def plan_sql(self, query: str, *, principal: Principal | str | None = None, **options: Any) -> QueryPlan:
        """How a query would run; reads no row."""
        return self.federation.plan_sql(query, principal=self._reader(principal), **options)

    def why(self, column: str, *, principal: Principal | str | None = None, purpose: str | None = None) -> Explanation:
        """Why a column looks as it does for a principal: tag, rules, winner. `column` is `sales.orders.email`."""
        return self.decider.why(column, principal=self._reader(principal), purpose=purpose)

    def side(
        self,
        ref: str,
        *,
        port: str | None = None,
        principal: Principal | str | None = None,
        purpose: str = "entity_resolution",
    ) -> Side:
        """A product as one side of a linkage: its rows as `principal` may see them under `purpose`, its key as id, its tags.

        Raises: `MeshkitError` `identity.masked_input` naming column, mask and rule if a column is masked: masked values link nobody.
        """
        from meshkit.identity import Side

        manifest = self.find(ref).manifest
        item = manifest.objects[manifest.main_object]
        if len(item.key) != 1:
            raise MeshkitError(
                f"{manifest.id} has no key of one column, so its rows can't be linked. Declare `key: 1`",
                code="identity.no_id",
            )
        result = self.sql(
            f"SELECT * FROM {self.table_name(manifest)}",
            principal=principal,
            purpose=purpose,
            ports={manifest.id: port} if port else None,
        )
        masked = [c for c in result.columns if c.mask not in {None, "clear"}]
        if masked:
            result.close()
            c = masked[0]
            hint = "Have a policy give it clear under this purpose, or leave the column out"
            raise MeshkitError(
                f"column {c.name} of {manifest.id} is masked by {c.mask} (rule {c.rule}). {hint}",
                code="identity.masked_input",
            )
        tags = {name: field.tags for name, field in item.fields.items() if field.tags}
        return Side.of(result.to_polars(), name=manifest.id, id=item.key[0], tags=tags)

    # Seeing

    def search(
        self, query: str = "", *, limit: int = 20, cursor: str | None = None, principal: Principal | None = None
    ) -> SearchResult:
        """Ranked products. Raises: `QuerySyntax`."""
        return self.catalog.search(query, limit=limit, cursor=cursor, principal=principal)

    def product(self, ref: str, *, principal: Principal | None = None) -> CatalogEntry:
        """A product as the catalog shows it to `principal`. Raises: `NotInCatalog`."""
        from meshkit.catalog import CatalogEntry, Signals, snippets

        manifest = self.catalog.find(ref, principal=principal)
        consumers = self.consumers.consumers(manifest.id).consumers
        return CatalogEntry(
            manifest,
            self._signals([manifest.id]).get(manifest.id, Signals()),
            self.access_state(manifest.id, principal),
            tuple(s.product for s in manifest.inputs.values() if s.product),
            tuple(sorted({c.product for c in consumers if c.product})),
            tuple(sorted({c.name for c in consumers})),
            self.catalog.history(manifest.id),
            sql=snippets(manifest, self.table_name(manifest)),
        )

    @cached_property
    def consumers(self) -> ConsumerLookup:
        """Who reads a product: what manifests declare and the query log saw."""
        from meshkit.lineage import LineageConsumers

        return LineageConsumers(self.graph)

    @cached_property
    def lineage_store(self) -> LineageStore:
        """Declared and observed edges over time, in the state store."""
        from meshkit.lineage import LineageStore

        return LineageStore(self.store, observe_days=self.config.section("lineage").observe_days)

    def graph(self, *, at: At = None) -> LineageGraph:
        """The whole lineage graph at an instant (default now): manifests, and what the query log has seen since the last call."""
        from meshkit.lineage import instant

        manifests = tuple(self.catalog.manifests().values())
        now = datetime.now(UTC)
        self.lineage_store.declare(manifests, at=now)
        self._learn(manifests)
        return self.lineage_store.graph(manifests, at=instant(at, now=now) if at is not None else now)

    def _learn(self, manifests: Sequence[Manifest]) -> None:
        """Read the query log on from where lineage last stopped."""
        last = self.store.cursor("lineage.query_log")
        fresh = list(self.query_log.read(after=last))
        if fresh:
            self.ingest_query_log((record for _, record in fresh), manifests=manifests)
            self.store.advance("lineage.query_log", fresh[-1][0])

    def ingest_query_log(
        self, records: Iterable[QueryLogRecord], *, manifests: Sequence[Manifest] | None = None
    ) -> IngestReport:
        """Learn lineage from query records; any order, doubling or batching gives the same graph."""
        known = tuple(self.catalog.manifests().values()) if manifests is None else manifests
        return self.lineage_store.ingest_query_log(records, known, aliases=self.config.section("lineage").aliases)

    def lineage(
        self, focus: str | None = None, *, hops: int | None = None, direction: Any = "both", level: str = "product", at: At = None, diff: At = None,
        column: str | None = None, include_stale: bool = False,
    ) -> LineageGraph:  # fmt: skip
        """Lineage around `focus` (a product, URN or consumer), or of the whole mesh; `diff` compares with another instant."""
        from meshkit.lineage.focus import lineage_view

        found = self.graph(at=at)
        if diff is not None:
            found = found.compared_with(self.graph(at=diff))
        return lineage_view(
            found, focus, hops=hops, direction=direction, level=level, column=column, include_stale=include_stale
        )

    def impact(self, ref: str, column: str | None = None, *, change: Any = "remove") -> Impact:
        """Who is affected if a product or column is removed, retyped or stops."""
        from meshkit.lineage import impact

        found = self.graph()
        return impact(found, found.find(ref), column, change=change)

    def access_state(self, product: str, principal: Principal | None) -> str:
        """`granted`, `asked` or `not_granted`, as the policies and requests have it now."""
        if principal is None:
            return "not_granted"
        if (
            product in self.manifests
            and self.decider.decide(product, principal, purpose=None, now=datetime.now(UTC)).allow
        ):
            return "granted"
        if self.grants.grants_for(principal, product, at=datetime.now(UTC)):
            return "granted"
        asked = any(r.product == product and r.status == "requested" for r in self.grants.requests(mine=principal))
        return "asked" if asked else "not_granted"

    def reader_or_none(self, name: str | None) -> Principal | None:
        """The named or default principal, None where a mesh has neither: then only what everybody sees."""
        return self.principal(name) if name or self.config.default_principal else None

    def evaluate(self, ref: Any, *, at: datetime | None = None) -> Evaluation:
        """Promises of a product against stored evidence at `at` (default now)."""
        return self._evaluated([self._manifest(ref)], at or datetime.now(UTC))[0]

    def evaluate_all(self, *, at: datetime | None = None) -> tuple[Evaluation, ...]:
        """Every product against stored evidence, by id."""
        return self._evaluated([m for _, m in sorted(self.catalog.manifests().items())], at or datetime.now(UTC))

    def trust(self, ref: Any) -> TrustScore:
        """Trust of a product with its breakdown; `score=None` where too little is measured."""
        found = self.evaluate(ref).trust
        assert found is not None
        return found

    def check_slos(
        self, refs: Sequence[str] | None = None, *, allow_unmeasured: bool = False, store: bool = True
    ) -> SloReport:
        """Measure now and compare with the promises; without refs all products, worst first."""
        from meshkit.slo import SloReport, collect, evaluate

        now = datetime.now(UTC)
        window = self.config.section("slo").window
        found = []
        for name in resolve_all(self, refs or ()):
            manifest = self.manifests[name]
            measured = collect(manifest, self.config, now=now)
            if store:
                self.evidence.append(measured)
            kept = self.evidence.read([name], since=now - window).get(name, [])
            found.append(evaluate(manifest, evidence=kept if store else [*kept, *measured], at=now, window=window))
        report = SloReport(tuple(found), allow_unmeasured)
        return report if refs else report.worst_first()

    def _manifest(self, ref: Any) -> Manifest:
        """The current manifest of a product of this mesh or of its catalog."""
        try:
            return self.find(ref).manifest
        except MeshkitError:
            if not isinstance(ref, str):
                raise
            return self.catalog.find(ref)

    def _evaluated(self, manifests: Sequence[Manifest], at: datetime) -> tuple[Evaluation, ...]:
        """Judged together, so that a late source puts what reads it at risk."""
        from meshkit.slo import evaluate

        window = self.config.section("slo").window
        kept = self.evidence.read([m.id for m in manifests], since=at - window, until=at)
        alone = {m.id: evaluate(m, evidence=kept.get(m.id, ()), at=at, window=window) for m in manifests}
        late = {name for name, found in alone.items() if found.state == "breaching"}
        by_id = {m.id: m for m in manifests}
        return tuple(
            evaluate(m, evidence=kept.get(m.id, ()), at=at, window=window, upstream_bad=True)
            if late & _upstream(m, by_id)
            else alone[m.id]
            for m in manifests
        )

    def _signals(self, products: Iterable[str]) -> Mapping[str, Signals]:
        """Measured facts that search and entries show."""
        from meshkit.catalog import Signals

        known = self.catalog.manifests()
        found = {}
        for evaluation in self._evaluated([known[p] for p in products if p in known], datetime.now(UTC)):
            fresh = evaluation.indicator("freshness")
            age = fresh.judged.actual if fresh is not None else None
            found[evaluation.product] = Signals(
                evaluation.state, evaluation.trust.score if evaluation.trust else None, age
            )
        return found


def _upstream(manifest: Manifest, by_id: Mapping[str, Manifest]) -> set[str]:
    """Everything a product reads, at any distance."""
    found: set[str] = set()
    queue = [manifest]
    while queue:
        for source in queue.pop().inputs.values():
            if source.product is not None and source.product in by_id and source.product not in found:
                found.add(source.product)
                queue.append(by_id[source.product])
    return found - {manifest.id}


def resolve_all(mesh: Mesh, refs: Sequence[str]) -> list[str]:
    """Ids of references, all of the mesh for none. Raises: `EnvironmentProblem` where the mesh has no products."""
    if refs:
        return [mesh.find(ref).manifest.id for ref in refs]
    if not mesh.found:
        raise EnvironmentProblem(
            "this mesh has no products. Name folders in `products` of mesh.yaml", code="mesh.empty"
        )
    return sorted(mesh.found)
