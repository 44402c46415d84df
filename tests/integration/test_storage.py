"""The commit log on a real object store: put-if-absent has one winner, other writers learn that they lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from meshkit._storage import Commit, CommitConflict, CommitLog, DataFile, StorageProblem


@pytest.fixture
def options(s3):
    return {
        "key": s3.key,
        "secret": s3.secret,
        "endpoint_url": s3.endpoint,
        "client_kwargs": {"region_name": s3.region},
    }


def test_of_racing_writers_exactly_one_commits(s3_bucket, options):
    url = f"s3://{s3_bucket}/sales/orders/v1"

    def attempt(number):
        try:
            CommitLog(url, options).append(Commit(1, "1.0.0", (DataFile(f"data/{number}", 1, 1, "0"),)))
        except CommitConflict:
            return None
        return number

    with ThreadPoolExecutor(6) as pool:
        winners = [w for w in pool.map(attempt, range(12)) if w is not None]
    log = CommitLog(url, options)
    assert len(winners) == 1
    assert log.latest().files[0].path == f"data/{winners[0]}"
    log.append(Commit(2, "1.0.0", ()))
    assert log.sequences() == [1, 2]


def test_nothing_committed_is_no_commit_and_an_unreachable_store_is_said(s3_bucket, options):
    assert CommitLog(f"s3://{s3_bucket}/none", options).latest() is None
    down = options | {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 1}}}
    with pytest.raises(StorageProblem, match="sources"):
        CommitLog(f"s3://{s3_bucket}/none", down).latest()
