"""A mesh for pages: the demo's products with days of evidence, one late source, one thin budget, one never measured; readers and requests."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path

from meshkit import Mesh
from meshkit.ports import QueryLogRecord
from meshkit.slo import Evidence
from meshkit.slo.promises import promises_of

MESH = """\
apiVersion: meshkit/v1
kind: Mesh
name: acme
environment: local
products: [./products]
default_principal: analyst
auth:
  dev_principals:
    admin: {roles: [admin]}
    analyst: {roles: [analyst]}
    jane: {roles: [owner], attributes: {team: sales-data}}
    newcomer: {roles: [guest]}
policies: {paths: [./policies]}
catalog: {sources: [{name: acme, dir: ./products}], restricted: [%s]}
access: {approvals: {default: [owner, admin]}}
"""
LATE, THIN, UNMEASURED = "marketing.campaigns", "operations.flights", "reference.planes"


def write_mesh(folder: Path, *, restricted: str = "") -> Path:
    """The folder of the mesh with its mesh.yaml."""
    with as_file(files("meshkit.demo") / "files") as demo:
        for name in ("products", "policies"):
            shutil.copytree(demo / name, folder / name)
    path = folder / "mesh.yaml"
    path.write_text(MESH % restricted)
    return path


def fill(mesh: Mesh, *, now: datetime | None = None) -> None:
    """Evidence, query log, a crawl and two requests."""
    moment = now or datetime.now(UTC)
    mesh.catalog.crawl()
    for name, manifest in mesh.manifests.items():
        if name != UNMEASURED:
            mesh.evidence.append(list(evidence(name, manifest, moment)))
    for record in queries(moment):
        mesh.query_log.append(record)
    guest = mesh.principal("newcomer")
    mesh.catalog.desk.request(
        "sales.orders",
        purpose="reporting: Q4 review of campaigns",
        duration=timedelta(days=90),
        principal=guest,
        columns=["order_id", "total"],
    )
    mesh.catalog.desk.request(
        "sales.users", purpose="fraud: refund abuse", duration=timedelta(days=30), principal=guest
    )


def evidence(name: str, manifest: object, now: datetime) -> Iterator[Evidence]:
    """Eight days, often enough that a kept promise shows as kept. The late source had an outage before the one it has now."""
    for promise in promises_of(manifest):
        limit = promise.within.total_seconds() if promise.sli == "freshness" else 4 * 3600
        step = min(4 * 3600, 0.6 * limit)
        for number in range(int(8 * 86400 / step), -1, -1):
            at = now - timedelta(seconds=number * step)
            if promise.sli != "freshness":
                bad = 8 if name == THIN else 0
                yield Evidence(name, promise.port, promise.sli, at, "publish", n=1000, bad=bad)
            elif name != LATE or not (number * step < limit + 6900 or 3 < number * step / 86400 < 3.05):
                yield Evidence(name, promise.port, "freshness", at, "publish", value=at.timestamp() - 0.3 * limit)


def queries(now: datetime) -> Iterator[QueryLogRecord]:
    """Two dashboards, and a product that reads what it does not declare."""
    reads = (
        ("cmo-dashboard", {"marketing.campaign_revenue": ("campaign", "revenue")}, None, 40),
        ("growth-analytics", {"marketing.campaigns": ("campaign_id", "spend")}, None, 25),
        ("product:finance.order_audit", {"marketing.campaign_revenue": ("revenue",)}, "finance.order_audit", 12),
    )
    for who, relations, target, count in reads:
        for number in range(count):
            yield QueryLogRecord(
                f"{who}-{number}", now - timedelta(hours=number), who, relations=relations, target=target, rows=10
            )
