"""The shipped fakes keep the ports they stand for."""

from datetime import UTC, datetime, timedelta

from meshkit.ports import Consumer, Grant, Principal, QueryLog, QueryLogRecord
from meshkit.testing import MemoryQueryLog, StaticConsumers, StaticGrants

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_query_log_is_read_on_from_where_a_reader_stopped():
    log = MemoryQueryLog()
    log.append(QueryLogRecord("q1", NOW, "ana"))
    log.append(QueryLogRecord("q2", NOW, "ana"))
    assert isinstance(log, QueryLog)
    assert [(n, r.query_id) for n, r in log.read(after=1)] == [(2, "q2")]


def test_grants_live_between_their_ends_for_their_principal():
    grants = StaticGrants(Grant("g", "sales.orders", "role:analyst", NOW, NOW + timedelta(days=1)))
    ana = Principal("ana", ("analyst",))
    assert grants.grants_for(ana, "sales.orders", at=NOW)
    assert not grants.grants_for(ana, "sales.orders", at=NOW + timedelta(days=1))
    assert not grants.grants_for(Principal("bob"), "sales.orders", at=NOW)


def test_consumers_say_whether_they_are_all():
    assert not StaticConsumers(Consumer("x"), complete=False).consumers("a.b").complete
