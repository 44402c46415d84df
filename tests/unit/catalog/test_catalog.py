"""Catalog: crawl keeps the last good revision, search keeps its stages, access ends when it should."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit._sql import Store
from meshkit.catalog import (
    AccessRefused,
    Catalog,
    CatalogSettings,
    Document,
    NotInCatalog,
    QuerySyntax,
    SearchIndex,
    Signals,
    SourceSettings,
    parse_query,
)
from meshkit.catalog.entry import HitText
from meshkit.catalog.tokens import tokens
from meshkit.manifest import Manifest
from meshkit.ports import Principal

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


def text(
    domain="sales",
    name="orders",
    version="1.2.0",
    purpose="Orders placed in the web shop.",
    extra="",
    columns="order_id: {type: int64}",
):
    return f"""\
apiVersion: meshkit/v1
kind: DataProduct
domain: {domain}
name: {name}
version: {version}
status: active
owner: {{team: sales-data, contact: t@x.org, members: [{{name: Jane Doe, handle: "@jane_sales", role: owner}}]}}
description: {{purpose: {purpose}}}
support: [{{channel: "#x"}}]
{extra}
schema: {{{name}: {{fields: {{{columns}, total: "decimal(12,2)", email: {{type: string, classification: confidential}}}}}}}}
ports: {{lake: {{kind: file, location: "s3://lake/{domain}/{name}/v{{major}}/*.parquet", format: parquet}}}}
slos: {{availability: {{target: 99.9%}}, freshness: {{within: 1h, target: 99%}}}}
"""


def manifest(**parts):
    return Manifest.parse(text(**parts))


def products(*pairs):
    found = [manifest(domain=d, name=n) for d, n in pairs]
    return {m.id: m for m in found}


def catalog(own=None, **more):
    return Catalog(Store.open("sqlite://"), own=own if own is not None else products(("sales", "orders")), **more)


# Search ---------------------------------------------------------------------------------------------------------------------------


def index(*manifests, **signals):
    return SearchIndex(Document.of(m, signals.get(m.name, Signals())) for m in manifests)


def ids(result):
    return [h.document.manifest.id for h in result.hits]


def test_tokens_split_names_and_keep_the_whole():
    assert tokens("customerOrders_v2") == ("customerorders_v2", "customer", "orders", "order", "v", "2")
    assert "order" in tokens("orders")
    assert tokens("顧客注文") == ("顧客注文", "顧客", "客注", "注文")
    assert tokens("Straße") == ("strasse",)


def test_an_exact_name_is_first_whatever_the_signals_say():
    busy = {"order_audit": Signals("healthy", 100, 1, 10_000), "orders": Signals("breaching", 10, None, 0)}
    found = index(manifest(), manifest(name="order_audit"), manifest(domain="b", name="raw_orders"), **busy).search(
        "orders"
    )
    assert ids(found)[0] == "sales.orders"
    assert [h.stage for h in found.hits] == sorted(h.stage for h in found.hits)


@pytest.mark.parametrize(
    "query",
    [
        "orders",
        "sales.orders",
        "urn:mesh:sales:orders",
        "ORDERS",
        "order",
        "orde",
        "order_id",
        "web shop",
        "jane",
        "order id",
    ],
)
def test_a_product_is_found_by_what_people_remember(query):
    assert "sales.orders" in ids(
        index(manifest(), manifest(domain="hr", name="people", purpose="Staff.", columns="x: string")).search(query)
    )


def test_filters_are_typed_and_a_missing_value_never_matches():
    measured = index(manifest(), manifest(name="leads"), orders=Signals("healthy", 99.0, 60.0, 5))
    assert ids(measured.search("trust>98")) == ["sales.orders"]
    assert ids(measured.search("freshness<=1h")) == ["sales.orders"]
    assert set(ids(measured.search("sla.freshness<=1h sla.availability>=99.9%"))) == {"sales.orders", "sales.leads"}
    assert ids(measured.search("sla.freshness<30m")) == []
    assert ids(measured.search("column:email -leads")) == ["sales.orders"]
    assert set(ids(measured.search('owner:"Jane Doe"'))) == {"sales.orders", "sales.leads"}
    assert ids(measured.search("-state:healthy")) == ["sales.leads"]


@pytest.mark.parametrize(
    "query, hint", [("onwer:x", "owner"), ("trust>many", "98"), ("freshness<=soon", "1h"), ("domain>x", ": or =")]
)
def test_a_wrong_filter_says_what_to_write(query, hint):
    with pytest.raises(QuerySyntax) as caught:
        parse_query(query)
    assert hint in str(caught.value)


def test_no_hit_suggests_only_what_is_visible():
    catalogue = index(manifest(), manifest(name="secret_ordres"))
    assert index(manifest()).search("ordrs").suggestions[0] in {"orders", "order"}
    hidden = catalogue.search("secrt", visible=lambda d: d.manifest.name == "orders")
    assert hidden.suggestions == ()
    assert hidden.facets["domain"] == ()


words = st.sampled_from(["orders", "order", "customer", "raw", "daily", "leads", "email", "shop"])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(words, min_size=1, max_size=3, unique=True), min_size=1, max_size=8, unique_by="_".join),
    words,
    st.randoms(),
)
def test_signals_never_move_a_hit_between_stages(names, query, random):
    manifests = [manifest(name="_".join(n)) for n in names]
    plain = {h.document.manifest.id: h.stage for h in index(*manifests).search(query, limit=100).hits}
    loud = {
        m.name: Signals(
            random.choice(["healthy", "breaching"]),
            random.random() * 100,
            random.random() * 1e6,
            random.randint(0, 10**6),
        )
        for m in manifests
    }
    found = index(*manifests, **loud).search(query, limit=100)
    assert {h.document.manifest.id: h.stage for h in found.hits} == plain
    assert [h.stage for h in found.hits] == sorted(h.stage for h in found.hits)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=60))
def test_any_search_text_answers_or_says_what_is_wrong(query):
    try:
        index(manifest()).search(query)
    except QuerySyntax:
        pass


def test_paging_walks_all_hits_once():
    catalogue = index(*(manifest(name=f"orders{i}") for i in range(7)))
    first = catalogue.search("sales", limit=4)
    second = catalogue.search("sales", limit=4, offset=int(first.cursor))
    assert (first.total, second.cursor) == (7, None)
    assert len({*ids(first), *ids(second)}) == 7


def test_the_text_of_a_hit_is_as_documented():
    shown = HitText(manifest(), Signals("healthy", 97.2, 720), "not_granted").to_text()
    assert shown == (
        "sales.orders (v1.2.0)   trust 97   healthy, fresh 12 mins ago\n"
        "Domain: sales   Owner: Jane Doe (@jane_sales)   SLA: 99.9% uptime | hourly refresh   Schema: [order_id (bigint), total (decimal), +1]\n"
        "Access: s3://lake/sales/orders/v1/*.parquet   (not granted: meshkit catalog request-access sales.orders)"
    )


# Crawl ----------------------------------------------------------------------------------------------------------------------------


def write(root, path, content):
    target = root / path / "manifest.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)


def crawled(tmp_path, **settings_):
    return catalog(
        own={}, settings=CatalogSettings(sources=[SourceSettings(name="here", dir=".")], **settings_), folder=tmp_path
    )


def test_crawl_is_idempotent_and_reports_what_changed(tmp_path):
    write(tmp_path, "a", text())
    write(tmp_path, "b", text(name="leads"))
    cat = crawled(tmp_path)
    first = cat.crawl(now=NOW).sources[0]
    assert (len(first.new), first.unchanged) == (2, 0)
    assert cat.crawl(now=NOW).sources[0].unchanged == 2
    write(tmp_path, "a", text(version="1.3.0"))
    assert cat.crawl(now=NOW).sources[0].changed == ["a/manifest.yaml"]
    assert cat.find("sales.orders").version == "1.3.0"
    assert [h["version"] for h in cat.history("sales.orders")] == ["1.3.0", "1.2.0"]


def test_of_a_broken_file_the_last_good_revision_stays_with_the_problem(tmp_path):
    write(tmp_path, "a", text())
    cat = crawled(tmp_path)
    cat.crawl(now=NOW)
    write(tmp_path, "a", text().replace("status: active", "status: activ"))
    report = cat.crawl(now=NOW)
    assert report.exit_code == 1
    assert "manifest.yaml:6:9" in report.to_text()
    assert cat.find("sales.orders").status == "active"
    assert cat.problems()[0]["line"] == 6


def test_vanished_moved_and_conflicting_manifests(tmp_path):
    write(tmp_path, "a", text())
    write(tmp_path, "b", text(name="leads"))
    cat = crawled(tmp_path)
    cat.crawl(now=NOW)
    (tmp_path / "b" / "manifest.yaml").unlink()
    assert cat.crawl(now=NOW).sources[0].gone == ["b/manifest.yaml"]
    assert cat.gone("sales.leads")
    with pytest.raises(NotInCatalog):
        cat.find("sales.leads")
    (tmp_path / "c").mkdir()
    (tmp_path / "a" / "manifest.yaml").rename(tmp_path / "c" / "manifest.yaml")
    assert cat.crawl(now=NOW).sources[0].moved == ["c/manifest.yaml"]
    write(tmp_path, "d", text(version="1.9.0"))
    report = cat.crawl(now=NOW)
    assert report.exit_code == 1
    assert len(report.sources[0].conflicts) == 1
    assert cat.find("sales.orders").version == "1.2.0"


def test_an_unreachable_source_changes_nothing_and_exits_3(tmp_path):
    (tmp_path / "p").mkdir()
    write(tmp_path / "p", "a", text())
    settings_ = CatalogSettings(sources=[SourceSettings(name="here", dir="p")])
    cat = catalog(own={}, settings=settings_, folder=tmp_path)
    cat.crawl(now=NOW)
    (tmp_path / "p").rename(tmp_path / "q")
    assert cat.crawl(now=NOW).exit_code == 3
    assert cat.find("sales.orders")


def test_git_branches_are_read_from_objects_without_a_checkout(tmp_path):
    repo = tmp_path / "repo"
    repo.mkdir()

    def git(*args):
        subprocess.run(
            ["git", "-C", str(repo), "-c", "user.name=t", "-c", "user.email=t@x", *args],
            check=True,
            capture_output=True,
        )

    git("init", "-q", "-b", "main")
    write(repo, "orders", text())
    git("add", "-A")
    git("commit", "-qm", "one")
    write(repo, "orders", text(version="9.9.9"))  # not committed: not seen
    settings_ = CatalogSettings(sources=[SourceSettings(name="sales", git="repo", branches={"publish": ["main"]})])
    cat = catalog(own={}, settings=settings_, folder=tmp_path)
    report = cat.crawl(now=NOW)
    assert report.exit_code == 0, report.to_text()
    assert cat.find("sales.orders").version == "1.2.0"
    assert cat.history("sales.orders")[0]["commit"]


def test_a_source_is_exactly_one_place():
    for bad in ({"name": "x"}, {"name": "x", "dir": ".", "git": "r"}, {"name": "x", "git": "r"}):
        with pytest.raises(ValueError):
            SourceSettings(**bad)


# Access ---------------------------------------------------------------------------------------------------------------------------

ANA = Principal("ana", ("analyst",))
JANE = Principal("jane", (), {"team": "sales-data"})


def asked(cat, **more):
    options = {"purpose": "reporting: Q4", "duration": timedelta(days=90), "principal": ANA, "now": NOW} | more
    return cat.desk.request("sales.orders", **options)


def live(cat, at, principal=ANA):
    return cat.desk.grants_for(principal, "sales.orders", at=at)


def test_a_grant_lives_from_its_approval_to_its_end():
    cat = catalog()
    request = asked(cat, columns=["order_id", "total"])
    assert live(cat, NOW) == ()
    before = cat.desk.revision()
    cat.desk.approve(request.id, by=JANE, columns=["order_id"], now=NOW + timedelta(hours=1))
    assert cat.desk.revision() > before
    grant = live(cat, NOW + timedelta(hours=2))[0]
    assert (grant.columns, grant.purpose) == (frozenset({"order_id"}), "reporting")
    assert live(cat, NOW) == ()
    assert live(cat, grant.valid_until) == ()
    assert live(cat, grant.valid_until - timedelta(microseconds=1))
    assert live(cat, NOW + timedelta(hours=2), Principal("bob")) == ()
    assert cat.desk.active("sales.orders", at=NOW + timedelta(hours=2)) == (grant,)
    assert cat.desk.active("sales.orders", at=grant.valid_until) == ()


def test_a_revocation_acts_at_once():
    cat = catalog()
    request = asked(cat)
    cat.desk.approve(request.id, by=JANE, now=NOW)
    assert live(cat, NOW)
    cat.desk.revoke(request.id, by=JANE, reason="done", now=NOW)
    assert live(cat, NOW) == ()
    assert cat.desk.find(request.id, now=NOW).status == "revoked"


@pytest.mark.parametrize("by", [ANA, Principal("bob", ("admin",)), Principal("ana", (), {"team": "sales-data"})])
def test_only_the_owner_decides_and_nobody_their_own(by):
    cat = catalog()
    request = asked(cat)
    with pytest.raises(AccessRefused, match="decides"):
        cat.desk.approve(request.id, by=by, now=NOW)


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"purpose": ""}, "access.purpose"),
        ({"duration": timedelta(days=400)}, "access.duration"),
        ({"columns": ["nope"]}, "access.unknown_column"),
        ({"columns": []}, "access.unknown_column"),
        ({"port": "nope"}, "access.unknown_port"),
    ],
)
def test_a_wrong_request_is_refused_and_writes_nothing(changes, code):
    cat = catalog()
    with pytest.raises(AccessRefused) as caught:
        asked(cat, **changes)
    assert caught.value.code == code
    assert cat.desk.requests(now=NOW) == ()


def test_an_approval_never_widens():
    cat = catalog()
    request = asked(cat, columns=["order_id"])
    with pytest.raises(AccessRefused, match="not asked for"):
        cat.desk.approve(request.id, by=JANE, columns=["order_id", "total"], now=NOW)
    with pytest.raises(AccessRefused, match="longer"):
        cat.desk.approve(request.id, by=JANE, until=NOW + timedelta(days=91), now=NOW)


def test_of_two_deciders_one_wins(tmp_path):
    cat = Catalog(Store.open(f"sqlite:///{tmp_path}/s.db"), own=products(("sales", "orders")))
    request = asked(cat)

    def decide(number):
        try:
            if number % 2:
                return cat.desk.approve(request.id, by=JANE, now=NOW).status
            return cat.desk.reject(request.id, by=JANE, reason="no", now=NOW).status
        except AccessRefused as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(decide, range(8)))
    assert len([r for r in results if r != "access.already_decided"]) == 1


def test_requests_lapse_after_30_days_and_lists_are_filtered():
    cat = catalog()
    request = asked(cat)
    assert [r.id for r in cat.desk.requests(waiting_for=JANE, now=NOW)] == [request.id]
    assert cat.desk.requests(waiting_for=ANA, now=NOW) == ()
    assert cat.desk.requests(now=NOW + timedelta(days=31))[0].status == "lapsed"
    assert cat.desk.cancel(request.id, by=ANA, now=NOW).status == "cancelled"


def test_a_restricted_product_reads_like_an_absent_one():
    cat = catalog(settings=CatalogSettings(restricted=["sales.orders"]))
    for reader in (None, ANA):
        assert cat.search("orders", principal=reader).total == 0
        with pytest.raises(NotInCatalog) as caught:
            cat.find("sales.orders", principal=reader)
        assert "Did you mean" not in str(caught.value)
    assert cat.search("orders", principal=JANE).total == 1
    asked(cat)
    assert cat.search("orders", principal=ANA).total == 1
