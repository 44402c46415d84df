"""SLOs: verdicts, slices, budget, trust by hand-computed numbers, texts to the letter; unknown is never green."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit._sql import Store
from meshkit._storage import Commit, CommitLog, DataFile
from meshkit.errors import UsageError
from meshkit.manifest import Manifest
from meshkit.slo import (
    Evidence,
    EvidenceStore,
    SloReport,
    collect,
    evaluate,
    judge,
    promises_of,
    score_trust,
    slice_spans,
    spell_age,
    spell_limit,
    spend_budget,
    to_metrics,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def manifest(
    folder=Path(),
    slos="freshness: {within: 1h, target: 99%, field: at}, completeness: {target: 99.5%}, availability: {target: 99.9%}",
):
    return Manifest.parse(f"""\
apiVersion: meshkit/v1
kind: DataProduct
domain: sales
name: orders
version: 1.0.0
status: active
owner: {{team: t, contact: t@x.org}}
description: {{purpose: p}}
support: [{{channel: "#x"}}]
schema: {{orders: {{fields: {{id: {{type: int64, required: true}}, at: timestamptz}}}}}}
ports: {{lake: {{kind: file, location: "file://{folder}/*.parquet", format: parquet}}, text: {{kind: file, location: "file://{folder}/*.csv", format: csv}}}}
slos: {{{slos}}}
""")


M = manifest()
FRESH, COMPLETE, AVAILABLE = promises_of(M)


def fresh(at, age_minutes, **more):
    return Evidence(
        "sales.orders", "lake", "freshness", at, "publish", (at - timedelta(minutes=age_minutes)).timestamp(), **more
    )


def counted(sli, at, n, bad):
    return Evidence("sales.orders", "lake", sli, at, "publish", n=n, bad=bad)


def test_freshness_is_the_age_of_the_newest_event_time():
    found = judge(FRESH, [fresh(NOW - timedelta(minutes=30), 10)], now=NOW)
    assert (found.verdict, found.actual) == ("pass", 2400)
    assert judge(FRESH, [fresh(NOW - timedelta(minutes=30), 30)], now=NOW).verdict == "fail"


def test_a_row_dated_in_the_future_does_not_make_a_dead_feed_fresh():
    dead, future = fresh(NOW, 180), fresh(NOW, -60 * 24 * 365)
    assert judge(FRESH, [dead, future], now=NOW).actual == 3 * 3600
    only = judge(FRESH, [future], now=NOW)
    assert (only.verdict, only.reason) == ("not_measured", "no event time measured but future ones")


def test_nothing_measured_is_never_a_pass():
    for promise in (FRESH, COMPLETE, AVAILABLE):
        assert judge(promise, [], now=NOW).verdict == "not_measured"
    report = SloReport((evaluate(M, evidence=[], at=NOW),))
    assert report.exit_code == 1
    assert report.evaluations[0].state == "not measured"
    assert report.evaluations[0].trust.score is None
    assert SloReport(report.evaluations, allow_unmeasured=True).exit_code == 0


def test_a_naive_time_is_refused():
    with pytest.raises(UsageError, match="zone"):
        judge(FRESH, [], now=datetime(2026, 11, 24))


def test_slices_of_freshness_turn_bad_when_the_newest_row_gets_too_old():
    """Fresh at 10:00 (event 10:00), nothing after: good until 11:00, bad from the slice that ends at 11:00."""
    start = NOW - timedelta(hours=2)
    spans = slice_spans(FRESH, [fresh(start, 0)], start=start - timedelta(seconds=1), now=NOW)
    key = int(start.timestamp()) // 300
    assert spans == ((key, key + 12, 0.0), (key + 12, key + 25, 1.0))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 9_000)), max_size=6))
def test_run_length_slices_equal_slice_by_slice_judgement(steps):
    """Brute force: judge every slice end on its own."""
    begin = datetime(2026, 11, 24, tzinfo=UTC)
    evidence = [
        Evidence(
            "sales.orders", "lake", "freshness", begin + timedelta(seconds=s), "publish", begin.timestamp() + s - age
        )
        for s, age in steps
    ]
    now = begin + timedelta(seconds=24_000)
    spans = slice_spans(FRESH, evidence, start=begin - timedelta(seconds=1), now=now)
    by_slice = {k: bad for first, end, bad in spans for k in range(first, end)}
    for key in range(int(begin.timestamp()) // 300, int(now.timestamp()) // 300 + 1):
        at = datetime.fromtimestamp(key * 300, UTC)
        judged = judge(FRESH, evidence, now=at)
        expected = None if judged.verdict == "not_measured" else float(judged.verdict == "fail")
        assert by_slice.get(key) == expected


def test_the_budget_of_a_full_window_by_hand():
    """30 days of 300 s slices, target 99 %: 86.4 bad slices are allowed; 43.2 used leave half."""
    budget = spend_budget(
        [(0, 100, 0.0), (100, 143, 1.0), (143, 144, 0.2)], target_ratio=0.99, expected=200, window_slices=8640
    )
    assert budget.allowed == pytest.approx(86.4)
    assert budget.used == pytest.approx(43.2)
    assert budget.remaining_ratio == pytest.approx(0.5)
    assert budget.coverage_ratio == pytest.approx(0.72)
    assert spend_budget([], target_ratio=1.0, expected=10, window_slices=10).remaining_ratio is None


def test_trust_by_hand():
    """a = 0.95, 1, 1 with weights 35:25:20 gives 100 x 0.95^0.4375 = 97.78, cut to 97.7."""
    score = score_trust(
        {"freshness": 0.95, "availability": 1.0, "completeness": 1.0},
        {"freshness": 1, "availability": 1, "completeness": 1},
    )
    assert (score.score, score.grade) == (97.7, "B")
    assert [(line.indicator, line.points) for line in score.lines] == [("freshness", 2.3)]


def test_an_unmeasured_indicator_caps_the_score_and_is_never_green():
    score = score_trust({"freshness": 1.0, "availability": None}, {"freshness": 1.0, "availability": 0.0})
    assert (score.score, score.grade) == (58.3, "E")
    assert score_trust({"freshness": None}, {"freshness": 0.0}).score is None
    almost = score_trust(
        {"freshness": 1.0, "quality": None}, {"freshness": 1.0, "quality": 0.0}, weights={"freshness": 99, "quality": 1}
    )
    assert (almost.score, almost.grade) == (99.0, "B")


def test_breaching_is_at_most_c():
    assert score_trust({"freshness": 1.0}, {"freshness": 1.0}, breaching=True).grade == "C"


ratios = st.floats(0, 1)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["freshness", "availability", "completeness", "quality"]), st.tuples(ratios, ratios), min_size=1
    )
)
def test_the_breakdown_adds_up_and_the_score_is_monotone(given_):
    attainment, coverage = {k: v[0] for k, v in given_.items()}, {k: v[1] for k, v in given_.items()}
    score = score_trust(attainment, coverage)
    if score.score is None:
        return
    assert sum(line.points for line in score.lines) == pytest.approx(100 - score.score, abs=1e-6)
    for name, value in attainment.items():
        better = score_trust(attainment | {name: min(1.0, value + 0.1)}, coverage)
        assert (better.score or 0) >= score.score - 1e-9


@pytest.mark.parametrize(
    "seconds, text",
    [
        (45, "45 secs"),
        (60, "1 min"),
        (1800, "30 mins"),
        (3600, "1hr"),
        (5400, "1.5hrs"),
        (7200, "2hrs"),
        (26 * 3600, "26hrs"),
        (86400, "1 day"),
        (172800, "2 days"),
    ],
)
def test_promised_ages_are_spelled(seconds, text):
    assert spell_limit(seconds) == text


@pytest.mark.parametrize(
    "seconds, limit, passed, text",
    [
        (720, 3600, True, "12 mins"), (8700, 1800, False, "145 mins"), (59.9, 3600, True, "59 secs"), (3601, 3600, False, "1.1hrs"), (3599, 3600, True, "59 mins"),
        (1800.5, 1800, False, "31 mins"), (90000, 86400, False, "1.1 days"), (11 * 3600 + 1, 36000, False, "12hrs"), (0.2, 3600, True, "0 secs"),
    ],
)  # fmt: skip
def test_measured_ages_round_against_the_promise(seconds, limit, passed, text):
    assert spell_age(seconds, limit_seconds=limit, passed=passed) == text


def test_the_blocks_are_as_documented():
    orders = manifest(slos="freshness: {within: 1h, field: at}")
    leads = Manifest.parse(
        orders.dump().replace("domain: sales", "domain: marketing").replace("orders", "leads").replace("1h", "30m")
    )
    first = evaluate(orders, evidence=[fresh(NOW, 12)], at=NOW)
    second = evaluate(leads, evidence=[fresh(NOW, 145)], at=NOW)
    assert SloReport((first, second)).to_text() == (
        "PRODUCT: sales.orders\nSLA: Freshness < 1hr\nACTUAL: 12 mins\nSTATUS: [PASS] ✅\n\n"
        "PRODUCT: marketing.leads\nSLA: Freshness < 30 mins\nACTUAL: 145 mins\nSTATUS: [FAIL] ❌"
    )


def test_ratios_and_the_unknown_are_spelled():
    low = evaluate(M, evidence=[counted("completeness", NOW, 10_000, 75)], at=NOW)
    text = SloReport((low,)).to_text()
    assert "SLA: Completeness >= 99.5%\nACTUAL: 99.25%\nSTATUS: [FAIL] ❌" in text
    assert "SLA: Freshness < 1hr\nACTUAL: unknown\nSTATUS: [NOT MEASURED] ⚪" in text


def test_state_and_trust_follow_the_evidence():
    good = [fresh(NOW - timedelta(minutes=m), 0) for m in range(0, 600, 30)]
    good += [
        counted("completeness", NOW - timedelta(hours=9), 1000, 0),
        counted("availability", NOW - timedelta(minutes=2), 5, 0),
    ]
    found = evaluate(M, evidence=good, at=NOW)
    assert (found.state, found.trust.score, found.trust.grade) == ("healthy", 100.0, "A")
    bad = evaluate(M, evidence=[*good, counted("availability", NOW - timedelta(minutes=1), 5, 5)], at=NOW)
    assert bad.state == "breaching"
    assert evaluate(M, evidence=good, at=NOW, upstream_bad=True).state == "at risk"


# Evidence -------------------------------------------------------------------------------------------------------------------------


def frame(*ages, ids=None):
    at = [None if a is None else NOW - timedelta(minutes=a) for a in ages]
    return pl.DataFrame(
        {"id": ids or list(range(len(ages))), "at": at}, schema={"id": pl.Int64, "at": pl.Datetime("us", "UTC")}
    )


def test_footers_tell_age_and_nulls_without_reading_rows(tmp_path):
    frame(30, 12).write_parquet(tmp_path / "a.parquet")
    found = {e.sli: e for e in collect(manifest(tmp_path), None, now=NOW)}
    assert (found["freshness"].method, NOW.timestamp() - found["freshness"].value) == ("footers", 720)
    assert (found["completeness"].n, found["completeness"].bad) == (2, 0)
    assert found["availability"].bad == 0


def test_a_future_row_sends_footers_to_a_scan(tmp_path):
    frame(30, -60 * 24).write_parquet(tmp_path / "a.parquet")
    found = {e.sli: e for e in collect(manifest(tmp_path), None, now=NOW)}
    assert (found["freshness"].method, NOW.timestamp() - found["freshness"].value) == ("scan", 1800)


def test_only_committed_files_count(tmp_path):
    (tmp_path / "data").mkdir()
    frame(12).write_parquet(tmp_path / "data" / "1.parquet")
    frame(1).write_parquet(tmp_path / "staged.parquet")
    CommitLog(str(tmp_path)).append(Commit(1, "1.0.0", (DataFile("data/1.parquet", 1, 1, "0"),), time=NOW.isoformat()))
    found = {e.sli: e for e in collect(manifest(tmp_path), None, now=NOW)}
    assert NOW.timestamp() - found["freshness"].value == 720


def test_text_files_are_scanned(tmp_path):
    frame(145, ids=[None]).write_csv(tmp_path / "a.csv")
    m = manifest(
        tmp_path, slos="freshness: {within: 1h, field: at, port: text}, completeness: {target: 99%, port: text}"
    )
    found = {e.sli: e for e in collect(m, None, now=NOW)}
    assert NOW.timestamp() - found["freshness"].value == 145 * 60
    assert (found["completeness"].n, found["completeness"].bad) == (1, 1)


def test_a_port_without_files_is_not_measured(tmp_path):
    assert collect(manifest(tmp_path), None, now=NOW) == ()


def test_the_store_keeps_evidence_in_order_and_forgets_after_35_days():
    store = EvidenceStore(Store.open("sqlite://"))
    old, new = fresh(NOW - timedelta(days=40), 1), fresh(NOW, 2, n=3, bytes_read=5)
    store.append([old])
    store.append([new])
    assert store.read(["sales.orders"]) == {"sales.orders": [new]}
    assert store.read(["sales.orders"], until=NOW - timedelta(hours=1)) == {}


def test_metrics_leave_the_unknown_out_and_escape_labels():
    text = to_metrics([evaluate(M, evidence=[fresh(NOW, 12)], at=NOW)])
    labels = '{domain="sales",product="sales.orders",port="lake",sli="freshness"}'
    assert f"meshkit_freshness_seconds{labels} 720\n" in text
    assert f"meshkit_sli_bad{labels} 0\n" in text
    assert 'meshkit_sli_bad{domain="sales",product="sales.orders",port="lake",sli="completeness"}' not in text
    assert 'meshkit_sli_measured{domain="sales",product="sales.orders",port="lake",sli="completeness"} 0' in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_accepts_the_metrics():
    text = to_metrics([evaluate(M, evidence=[fresh(NOW, 12), counted("completeness", NOW, 10, 1)], at=NOW)])
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
