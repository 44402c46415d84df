"""The commit log: one winner per sequence, readers see whole states."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from meshkit._storage import Commit, CommitConflict, CommitLog, DataFile, fixed_part
from meshkit.errors import MeshkitError


def commit(sequence, *paths, mode="snapshot"):
    return Commit(sequence, "1.0.0", tuple(DataFile(p, 1, 1, "0") for p in paths), mode=mode)


def test_of_racing_writers_exactly_one_commits(tmp_path):
    def attempt(number):
        try:
            CommitLog(str(tmp_path)).append(commit(1, f"data/{number}.parquet"))
        except CommitConflict:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [w for w in pool.map(attempt, range(16)) if w is not None]
    assert len(winners) == 1
    latest = CommitLog(str(tmp_path)).latest()
    assert latest is not None
    assert latest.files[0].path == f"data/{winners[0]}.parquet"
    assert [f for f in (tmp_path / "_commits").iterdir() if f.name.startswith(".")] == []


def test_current_files_are_the_last_snapshot_and_what_was_added_since(tmp_path):
    log = CommitLog(str(tmp_path))
    assert log.latest() is None
    for made in (commit(1, "a"), commit(2, "b"), commit(3, "c", mode="changes")):
        log.append(made)
    assert [f.path for f in log.current_files()] == ["b", "c"]


def test_a_damaged_commit_is_an_error_never_an_empty_table(tmp_path):
    log = CommitLog(str(tmp_path))
    log.append(commit(1, "a"))
    (tmp_path / "_commits" / f"{1:020d}.json").write_text("{")
    with pytest.raises(MeshkitError, match="damaged"):
        log.latest()


def test_a_commit_reads_back_equal():
    made = Commit(
        7,
        "1.2.0",
        (DataFile("data/7-0.parquet", 3, 10, "ab", "orders"),),
        position={"lsn": "0/1"},
        facts={"run_id": "r"},
    )
    import json

    assert Commit.parse(json.dumps(made.to_json())) == made


@pytest.mark.parametrize(
    "location, root",
    [
        ("s3://b/sales/orders/v1/*.parquet", "s3://b/sales/orders/v1"),
        ("s3://b/sales/orders/v1/d=*/x-*.parquet", "s3://b/sales/orders/v1"),
        ("data/*.csv", "data"),
        ("data/orders.csv", "data"),
        ("*.csv", "."),
        ("s3://b/sales/orders/v1/", "s3://b/sales/orders/v1"),
    ],
)
def test_the_fixed_part_of_a_location_ends_before_its_first_glob(location, root):
    assert fixed_part(location) == root
