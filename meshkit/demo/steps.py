"""The steps of `meshkit demo`. Each does one thing through the public API, checks what came of it, and returns facts and lines to show."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshkit.config import PostgresSource, S3Source
from meshkit.demo.people import People, make_people
from meshkit.demo.report import StepFailed
from meshkit.demo.world import fill_lake, fill_sales

if TYPE_CHECKING:
    from meshkit.config import MeshConfig
    from meshkit.local import Stack
    from meshkit.mesh import Mesh
    from meshkit.slo import Judged

__all__ = ["STEPS", "Shown", "Step", "World"]


@dataclass(slots=True)
class World:
    """What the steps share: the folder, the servers, the mesh, the people with the truth about them."""

    folder: Path
    stack: Stack
    seed: int
    now: datetime
    people: People
    mesh: Mesh | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def opened(self) -> Mesh:
        """The mesh, once `start` has opened it."""
        assert self.mesh is not None
        return self.mesh


@dataclass(frozen=True, slots=True)
class Shown:
    """What one step leaves: facts for programs, lines for people."""

    facts: Mapping[str, Any]
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A named step and the call that a user would make for it."""

    name: str
    run: Callable[[World], Shown]
    call: str


def expect(condition: bool, what: str) -> None:
    """Fail the step, saying what was promised."""
    if not condition:
        raise StepFailed(f"expected {what}")


def make_world(folder: Path, stack: Stack, *, seed: int) -> World:
    """A world before its first step."""
    return World(folder, stack, seed, datetime.now(UTC), make_people(seed))


def start(world: World) -> Shown:
    """Servers, then the systems that the domains bring along."""
    from meshkit.config import load_config
    from meshkit.mesh import Mesh

    status = world.stack.up()
    status.raise_for_failures(world.stack.log_path)
    endpoints = world.stack.endpoints
    assert endpoints.postgres_dsn is not None
    fill_sales(endpoints.postgres_dsn, world.folder, world.people, seed=world.seed, now=world.now)
    config = load_config(world.folder / ".mesh" / "mesh.yaml")
    fill_lake(_lake(config), world.people, now=world.now)
    world.mesh = Mesh.open(world.folder / ".mesh" / "mesh.yaml")
    services = {s.name: s.url for s in status.services}
    return Shown({"services": sorted(services)}, tuple(f"{name:<9} {url}" for name, url in services.items()))


def validate_manifests(world: World) -> Shown:
    """All manifests, with their inputs resolved."""
    from meshkit.manifest import validate

    report = validate([world.folder / "products"], resolve=True)
    expect(report.ok and len(report.manifests) == 13, "13 valid manifests")
    world.opened.catalog.crawl()
    return Shown({"manifests": len(report.manifests)}, (", ".join(m.id for m in report.manifests),))


def deploy(world: World) -> Shown:
    """Resources of all products, twice; then a stranger tries to write."""
    products = sorted(world.opened.manifests)
    first = world.opened.deploy(products)
    expect(first.ok, f"a deploy without failures, not: {first.to_text()}")
    second = world.opened.deploy(products)
    expect(second.ok and second.changes == 0, "no change at the second deploy")
    refused = _foreign_write(world)
    expect(refused == "AccessDenied", "AccessDenied for a stranger's write")
    facts = {"created": first.count("created"), "changes_second_deploy": second.changes, "foreign_write": refused}
    return Shown(
        facts,
        (
            f"{facts['created']} resources made; a second deploy changes {facts['changes_second_deploy']}; a stranger's write: {refused}",
        ),
    )


def _lake(config: MeshConfig) -> dict[str, Any]:
    """Storage options of the local object store."""
    source = config.sources["lake"]
    assert isinstance(source, S3Source)
    return source.storage_options()


def _foreign_write(world: World) -> str:
    """The publisher key of operations.flights writes below weather.observations."""
    from meshkit._storage import open_filesystem

    text = (world.folder / ".mesh" / "credentials" / "operations.flights.publisher.json").read_text()
    keys = json.loads(text)["s3"]
    options = _lake(world.opened.config) | {
        "key": keys["access_key"],
        "secret": keys["secret_key"],
    }
    filesystem, _ = open_filesystem("s3://acme-lake/", options | {"skip_instance_cache": True})
    try:
        filesystem.pipe_file("acme-lake/weather/observations/v1/intruder.parquet", b"x")
    except PermissionError:
        return "AccessDenied"
    return "written"


def stream(world: World) -> Shown:
    """A row of the shop's private table becomes an event of the product."""
    import psycopg

    event = _streamed(world, lambda dsn: psycopg.connect(dsn, autocommit=True))
    expect(
        event["payload"]["order_id"] == 1
        and event["payload"]["total"] == 99.99
        and event["payload"]["state"] == "completed",
        "order 1 of 99.99, completed",
    )
    return Shown(
        {"event": event},
        ("INSERT INTO orders (id, amount, status) VALUES (1, 99.99, 'completed')", json.dumps(event["payload"])),
    )


def _streamed(world: World, connect: Callable[[str], Any]) -> dict[str, Any]:
    from meshkit.demo.events import read_events
    from meshkit.publisher import Publisher

    mesh = world.opened
    manifest = mesh.find("sales.orders").manifest
    source = mesh.config.sources["sales_pg"]
    assert isinstance(source, PostgresSource)
    dsn = source.dsn.reveal()
    first = Publisher.from_config(manifest, mesh.config).run(until="caught_up")
    expect(first.exit_code == 0, f"a publisher that catches up, not: {first.to_text()}")
    with connect(dsn) as connection:
        connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 99.99, 'completed')")
    second = Publisher.from_config(manifest, mesh.config).run(until="caught_up")
    expect(second.exit_code == 0, f"a publisher that catches up, not: {second.to_text()}")
    assert world.stack.endpoints.kafka_bootstrap is not None
    events = read_events(world.stack.endpoints.kafka_bootstrap, "mesh.sales.orders.v1")
    found: dict[str, Any] = next(e for e in events if e["payload"]["order_id"] == 1)
    return found


_DATA = ("operations.flights", "weather.observations", "reference.planes", "reference.airports", "reference.airlines")
_ROWS = {
    "operations.flights": 336_776,
    "weather.observations": 26_114,
    "reference.planes": 3_322,
    "reference.airports": 1_458,
    "reference.airlines": 16,
}


def publish(world: World) -> Shown:
    """Real data through its contract: one wind of 1,048 mph is set aside; nothing is seen before the commit."""
    from meshkit.errors import MeshkitError

    mesh = world.opened
    before = True
    try:
        mesh.sql("SELECT count(*) FROM weather.observations", principal="analyst").to_arrow()
    except MeshkitError:
        before = False
    rows, aside, lines = {}, 0, []
    for name in (*_DATA, "marketing.campaign_revenue", "finance.order_audit", "operations.delays"):
        report = mesh.publish(name)
        report.raise_for_violations()
        rows[name] = report.rows_good
        aside += report.rows_quarantined
        lines.append(report.to_text())
    expect(all(rows[n] == count for n, count in _ROWS.items()), f"the rows {_ROWS}")
    expect(aside == 1 and not before, "one row set aside, nothing seen before the commit")
    return Shown(
        {"rows": rows, "quarantined": aside, "visible_before_commit": before},
        tuple(line for text in lines for line in text.splitlines()),
    )


_REVENUE = """\
SELECT c.name, sum(s.total) AS revenue FROM marketing.campaigns c JOIN sales.orders s ON s.campaign_id = c.campaign_id
GROUP BY c.name ORDER BY revenue DESC"""
_DELAY = """\
SELECT w.precip > 0 AS rain, avg(f.dep_delay) AS delay FROM operations.flights f
JOIN weather.observations w ON f.origin = w.origin AND f.time_hour = w.time_hour WHERE w.precip IS NOT NULL GROUP BY 1"""


def query(world: World) -> Shown:
    """CSV in S3 joined with Postgres, and a question to the flights."""
    mesh = world.opened
    revenue = {name: f"{total:.2f}" for name, total in mesh.sql(_REVENUE, principal="analyst").to_polars().rows()}
    expect(revenue == {"Black Friday": "14500.50", "Summer Sale": "8200.00"}, "14500.50 and 8200.00")
    delay = {
        ("rain" if rain else "dry"): round(value, 1)
        for rain, value in mesh.sql(_DELAY, principal="analyst").to_polars().rows()
    }
    expect(delay == {"rain": 30.9, "dry": 11.4}, "30.9 and 11.4 minutes")
    lines = (
        *_REVENUE.splitlines(),
        *(f"{n}  {r}" for n, r in revenue.items()),
        f"delay with rain {delay['rain']} min, without {delay['dry']} min",
    )
    return Shown({"revenue": revenue, "delay_by_rain": delay}, lines)


def mask(world: World) -> Shown:
    """One URL and one SQL, two readers; the audit says why."""
    from meshkit.demo.servers import gateway_of
    from meshkit.masking import find_audit_files

    mesh = world.opened
    sql = "SELECT email FROM sales.orders WHERE order_id = 1001"
    by_sql = {who: mesh.sql(sql, principal=who).to_polars()["email"][0] for who in ("analyst", "admin")}
    with gateway_of(world.folder / ".mesh" / "mesh.yaml") as url:
        path = f"{url}/products/sales/orders?columns=order_id,email&where=order_id:eq:1001"
        bodies = {who: _get(path, who) for who in ("analyst", "admin")}
    by_url = {who: json.loads(body)["rows"][0]["email"] for who, body in bodies.items()}
    expect(
        by_sql == by_url == {"analyst": "j***@gmail.com", "admin": "john.doe@gmail.com"},
        "j***@gmail.com and john.doe@gmail.com",
    )
    expect("john.doe" not in bodies["analyst"], "no raw byte for the analyst")
    records = [
        json.loads(line)
        for f in find_audit_files([world.folder / ".mesh" / "audit"])
        for line in f.read_text().splitlines()
    ]
    rules = [
        c["rule"]
        for r in records
        for p in r.get("products", [])
        for c in p["columns"]
        if c["column"] == "email" and c["mask"] == "email.partial"
    ]
    expect("r-mail" in rules, "rule r-mail in the audit")
    lines = (
        sql,
        f"analyst  {by_sql['analyst']}",
        f"admin    {by_sql['admin']}",
        "audit: rule r-mail, mask email.partial",
    )
    return Shown({"analyst": by_url["analyst"], "admin": by_url["admin"], "audit_rule": "r-mail"}, lines)


def _get(url: str, who: str) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer dev:{who}"})  # noqa: S310  # our own gateway on loopback
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        body: bytes = answer.read()
    return body.decode()


def identity(world: World) -> Shown:
    """Who is who in shop and CRM, against the known truth."""
    mesh = world.opened
    mesh.publish("identity.user_map").raise_for_violations()
    table = mesh.sql(
        "SELECT sales_user_id, marketing_customer_id, confidence_score FROM identity.user_map", principal="analyst"
    ).to_polars()
    links = set(zip(table["sales_user_id"], table["marketing_customer_id"], strict=True))
    right = len(links & world.people.truth)
    precision, recall = right / len(links), right / len(world.people.truth)
    expect(precision >= 0.95 and recall >= 0.95, "precision and recall of at least 0.95")
    facts = {"links": len(links), "precision": round(precision, 3), "recall": round(recall, 3)}
    return Shown(facts, (f"{facts['links']} links, precision {facts['precision']}, recall {facts['recall']}",))


_PROMISED = {
    ("sales.orders", "freshness"): "pass",
    ("marketing.campaigns", "freshness"): "fail",
    ("operations.flights", "completeness"): "fail",
}


def trust(world: World) -> Shown:
    """Promises against evidence; 30 days of history are made by the seed, method `demo`."""
    mesh = world.opened
    mesh.evidence.append(_history(mesh, world))
    report = mesh.check_slos([product for product, _ in _PROMISED])
    found: dict[tuple[str, str], Judged] = {(i.promise.product, i.promise.sli): i.judged for i in report.indicators}
    expect(
        all(found[key].verdict == verdict for key, verdict in _PROMISED.items()),
        f"the verdicts {sorted(_PROMISED.values())}",
    )
    blocks = report.to_text().split("\n\n")
    shown = [b for b in blocks if any(f"PRODUCT: {p}\nSLA: {sli.capitalize()}" in b for p, sli in _PROMISED)]
    expect("ACTUAL: 12 mins" in shown[0] or "ACTUAL: 13 mins" in shown[0], "orders of 12 minutes")
    verdicts = {
        p: dict(zip(("promise", "actual", "verdict"), _parts(b), strict=True))
        for (p, _), b in zip(_PROMISED, shown, strict=True)
    }
    return Shown({"verdicts": verdicts}, tuple(line for b in shown for line in (*b.splitlines(), "")))


def _parts(block: str) -> tuple[str, str, str]:
    _, sla, actual, status = block.splitlines()
    return sla.removeprefix("SLA: "), actual.removeprefix("ACTUAL: "), status.removeprefix("STATUS: ")


def _history(mesh: Mesh, world: World) -> list[Any]:
    """A month of measurements: mostly kept, with a few late loads."""
    from meshkit.slo import Evidence, promises_of

    rng = random.Random(world.seed)  # noqa: S311  # made-up history
    found = []
    for manifest in mesh.manifests.values():
        for promise in promises_of(manifest):
            # loads come twice as often as promised, at most every six hours apart
            gap = min(timedelta(hours=6), (promise.within or timedelta(hours=12)) / 2)
            steps = int(timedelta(days=30) / gap)
            for number in range(steps, 0, -1):
                at = world.now - timedelta(days=30) * number / steps
                if promise.sli == "freshness" and at > world.now - timedelta(hours=3):
                    continue  # from here on the real data speaks
                if promise.sli == "freshness":
                    late = rng.random() < 0.004
                    age = timedelta(0) if not late else (promise.within or timedelta()) * 1.5
                    found.append(
                        Evidence(
                            manifest.id,
                            promise.port,
                            "freshness",
                            at,
                            "demo",
                            (at - age).timestamp(),
                            field=promise.field,
                        )
                    )
                else:
                    found.append(
                        Evidence(
                            manifest.id, promise.port, promise.sli, at, "demo", n=200, bad=int(rng.random() < 0.05)
                        )
                    )
    return found


def lineage(world: World) -> Shown:
    """What manifests declare and queries show; one read that nobody declared."""
    mesh = world.opened
    mesh.sql("SELECT count(*) FROM marketing.campaigns", principal="product:finance.order_audit").to_arrow()
    graph = mesh.lineage()
    undeclared = [e for e in graph.product_edges if e.agreement == "observed_not_declared"]
    expect(len(undeclared) == 1, "one read that is observed, not declared")
    around = mesh.lineage("sales.orders")
    lines = [
        f"{e.src.removeprefix('urn:mesh:')} -> {e.dst.removeprefix('urn:mesh:')}  {e.agreement.replace('_', ' ')}"
        for e in around.product_edges
    ]
    lines.append(
        f"observed, not declared: {undeclared[0].src.removeprefix('urn:mesh:')} -> {undeclared[0].dst.removeprefix('urn:mesh:')}"
    )
    return Shown({"edges": len(graph.product_edges), "observed_not_declared": len(undeclared)}, tuple(lines))


def contract(world: World) -> Shown:
    """`total` is taken out of the manifest: the gate fails and names who is hurt."""
    from meshkit.contracts import check_contract
    from meshkit.manifest import Manifest

    mesh = world.opened
    old = mesh.find("sales.orders").manifest
    text = "\n".join(line for line in old.dump().splitlines() if not line.strip().startswith("total:")).replace(
        "total: amount, ", ""
    )
    verdict = check_contract(Manifest.parse(text, source="manifest.yaml"), old, consumers=mesh.consumers)
    removed = next(j for j in verdict.judged if j.change.rule == "field.removed")
    expect(not verdict.passed, "a failing gate")
    expect({"Marketing-Analytics", "Finance-Audit"} <= set(removed.impact.affected), "both consumers named")
    return Shown(
        {"passed": verdict.passed, "consumers": sorted(removed.impact.affected)}, tuple(verdict.to_text().splitlines())
    )


STEPS: tuple[Step, ...] = (
    Step("start", start, "meshkit up"),
    Step("validate", validate_manifests, "meshkit validate products/ --resolve"),
    Step("deploy", deploy, "platform-deploy products/"),
    Step("stream", stream, "meshkit publisher run products/sales/orders/manifest.yaml"),
    Step("publish", publish, "meshkit publish weather.observations ..."),
    Step("query", query, "meshkit sql ..."),
    Step("mask", mask, "curl http://gateway/products/sales/orders"),
    Step("identity", identity, "meshkit publish identity.user_map"),
    Step("trust", trust, "meshkit slo check"),
    Step("lineage", lineage, "meshkit lineage show"),
    Step("contract", contract, "meshkit contract check manifest.yaml"),
)
