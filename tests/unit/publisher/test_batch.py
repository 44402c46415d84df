"""Batch publish: nothing is visible before the commit, bad rows are set aside, a refused publish leaves nothing behind."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meshkit._storage import CommitConflict, CommitLog
from meshkit.contracts.quality import ContractViolation, compile_checks
from meshkit.manifest import Manifest
from meshkit.publisher.batch import ObjectRows, publish_batch

M = Manifest.parse((Path(__file__).parent / "orders.yaml").read_text())
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def publish(tmp_path, ids, totals, name="total"):
    batch = pa.RecordBatch.from_pydict({"id": pa.array(ids, pa.int32()), name: pa.array(totals, pa.decimal128(38, 2))})
    log = CommitLog(str(tmp_path))
    return publish_batch(
        M.id, M.version, [ObjectRows("orders", [batch], compile_checks(M))], {"lake": (log, frozenset())}, now=NOW
    )


def visible(tmp_path):
    commit = CommitLog(str(tmp_path)).latest()
    return (
        []
        if commit is None
        else [row["id"] for f in commit.files for row in pq.read_table(tmp_path / f.path).to_pylist()]
    )


def files(tmp_path):
    return sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())


def test_good_rows_are_committed_and_bad_ones_set_aside(tmp_path):
    outcome = publish(tmp_path, [1, 2], [Decimal("1.00"), Decimal("-1.00")])
    assert (outcome.committed, outcome.rows_in, outcome.rows_good, outcome.rows_quarantined) == (True, 2, 1, 1)
    assert visible(tmp_path) == [1]
    assert [f for f in files(tmp_path) if f.startswith("_quarantine")]
    found = next(r for r in outcome.report.results if r.rule == "schema.orders.total.min")
    assert (found.state, found.row_numbers) == ("fail", (2,))


def test_a_second_publish_replaces_the_first(tmp_path):
    first, second = publish(tmp_path, [1], [Decimal(1)]), publish(tmp_path, [2], [Decimal(2)])
    assert visible(tmp_path) == [2]
    assert first.run_id != second.run_id
    assert CommitLog(str(tmp_path)).sequences() == [1, 2]


@pytest.mark.parametrize("ids", [[1, 1], [1, 2, 3, 4]])
def test_a_rule_over_the_whole_refuses_and_leaves_nothing(tmp_path, ids):
    outcome = publish(tmp_path, ids, [Decimal(1)] * len(ids))
    assert not outcome.committed
    assert files(tmp_path) == []


def test_a_publish_in_which_no_row_is_good_is_refused(tmp_path):
    assert not publish(tmp_path, [1], [Decimal(-1)]).committed


def test_columns_that_do_not_fit_stop_before_anything_is_written(tmp_path):
    with pytest.raises(ContractViolation, match="absent"):
        publish(tmp_path, [1], [Decimal(1)], name="totall")
    assert files(tmp_path) == []


def test_the_loser_of_a_race_removes_its_files(tmp_path):
    class Late(CommitLog):
        def append(self, commit):
            publish(tmp_path, [7], [Decimal(7)])
            super().append(commit)

    batch = pa.RecordBatch.from_pydict({"id": [1], "total": pa.array([Decimal(1)], pa.decimal128(12, 2))})
    with pytest.raises(CommitConflict):
        publish_batch(
            M.id,
            M.version,
            [ObjectRows("orders", [batch], compile_checks(M))],
            {"lake": (Late(str(tmp_path)), frozenset())},
            now=NOW,
        )
    assert visible(tmp_path) == [7]
    assert len([f for f in files(tmp_path) if f.startswith("data/")]) == 1


def test_an_empty_publish_keeps_the_schema(tmp_path):
    assert publish(tmp_path, [], []).committed
    commit = CommitLog(str(tmp_path)).latest()
    assert pq.read_schema(tmp_path / commit.files[0].path).names == ["id", "total"]
