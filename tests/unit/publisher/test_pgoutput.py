"""Frames of pgoutput: each message, and that no inconsistent byte is ever skipped."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.publisher import ProtocolError
from meshkit.publisher.decoders import pgoutput as p
from meshkit.publisher.transactions import Change, Transactions


def tuple_bytes(values):
    out = struct.pack(">H", len(values))
    for value in values:
        if value is None:
            out += b"n"
        elif value is p.UNCHANGED:
            out += b"u"
        else:
            kind, raw = (b"t", value.encode()) if isinstance(value, str) else (b"b", value)
            out += kind + struct.pack(">I", len(raw)) + raw
    return out


def insert(relation, values, xid=None):
    return (
        b"I"
        + (struct.pack(">I", xid) if xid is not None else b"")
        + struct.pack(">I", relation)
        + b"N"
        + tuple_bytes(values)
    )


values = st.lists(
    st.one_of(
        st.none(), st.just(p.UNCHANGED), st.binary(max_size=30), st.text(st.characters(codec="utf-8"), max_size=10)
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=100)
@given(values)
def test_values_come_back_as_they_were_sent(row):
    assert p.parse(insert(7, row), 1) == p.Insert(7, row)


@settings(deadline=None, max_examples=100)
@given(values, st.data())
def test_a_cut_or_lengthened_frame_is_an_error(row, data):
    frame = insert(7, row)
    cut = data.draw(st.integers(0, len(frame) - 1))
    for broken in (frame[:cut], frame + b"x"):
        with pytest.raises(ProtocolError):
            p.parse(broken, 0x1A2B3C8)


def test_messages_of_every_kind_are_read():
    assert p.parse(b"B" + struct.pack(">QqI", 5, 6, 7), 1) == p.Begin(5, 6, 7)
    assert p.parse(b"C" + struct.pack(">BQQq", 0, 5, 6, 7), 1) == p.Commit(5, 6, 7)
    old = p.parse(b"U" + struct.pack(">I", 7) + b"K" + tuple_bytes([b"1", None]) + b"N" + tuple_bytes([b"2", b"x"]), 1)
    assert (old.old, old.old_kind, old.new) == ([b"1", None], "K", [b"2", b"x"])
    assert p.parse(b"D" + struct.pack(">I", 7) + b"O" + tuple_bytes([b"1"]), 1) == p.Delete(7, [b"1"], "O")
    assert p.parse(b"T" + struct.pack(">IBII", 2, 1, 7, 8), 1) == p.Truncate((7, 8), 1)
    message = b"M" + struct.pack(">BQ", 1, 9) + b"mesh.x\0" + struct.pack(">I", 2) + b"{}"
    assert p.parse(message, 1) == p.Message(True, 9, "mesh.x", b"{}")
    relation = (
        b"R"
        + struct.pack(">I", 7)
        + b"public\0orders\0d"
        + struct.pack(">H", 1)
        + b"\x01id\0"
        + struct.pack(">Ii", 20, -1)
    )
    assert p.parse(relation, 1) == p.Relation(7, "public", "orders", "d", (p.RelationColumn("id", 20, -1, True),))
    assert p.parse(b"Y" + struct.pack(">I", 9) + b"public\0mood\0", 1) == p.TypeName(9, "public", "mood")
    with pytest.raises(ProtocolError):
        p.parse(b"Q", 1)


def test_a_streamed_transaction_gives_what_survived_its_subtransactions(tmp_path):
    transactions = Transactions(spool_dir=tmp_path)
    steps = []
    for lsn, frame in [
        (1, b"S" + struct.pack(">IB", 50, 1)), (1, insert(7, [b"a"], 50)), (2, insert(7, [b"b"], 51)), (2, b"E"),
        (3, b"A" + struct.pack(">II", 50, 51)),
        (4, b"S" + struct.pack(">IB", 50, 0)), (4, insert(7, [b"c"], 52)), (4, b"E"),
        (9, b"c" + struct.pack(">IBQQq", 50, 0, 8, 9, 77)),
    ]:  # fmt: skip
        steps += transactions.feed(lsn, frame)
    assert steps[0] == p.Begin(8, 77, 50)
    assert [(s.lsn, s.message.new) for s in steps[1:-1] if isinstance(s, Change)] == [(1, [b"a"]), (4, [b"c"])]
    assert steps[-1] == p.Commit(8, 9, 77)
    assert transactions.spooled_bytes == 0
    assert list(tmp_path.iterdir()) == []
    transactions.close()


def test_a_rolled_back_streamed_transaction_leaves_nothing():
    transactions = Transactions()
    for lsn, frame in [
        (1, b"S" + struct.pack(">IB", 50, 1)),
        (1, insert(7, [b"a"], 50)),
        (1, b"E"),
        (2, b"A" + struct.pack(">II", 50, 50)),
    ]:
        assert list(transactions.feed(lsn, frame)) == []
    assert transactions.spooled_bytes == 0
    transactions.close()
