"""Candidate pairs equal brute force; caps are refined by further keys and what is lost is counted."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.identity.block import block, join_candidates, refuse_too_many, rule_keys
from meshkit.identity.encode import Encoded, Records, Vocabulary
from meshkit.identity.errors import TooManyPairs
from meshkit.identity.rules import BlockingRule

ROLES = ("given_name", "family_name", "birth_year", "postcode")


def records_of(left, right, *, duplicates=False, size=4):
    """Records of code rows: one tuple of codes by ROLES per row."""
    words = Vocabulary(pa.array([f"v{i}" for i in range(size)]))
    columns = [
        np.array([[r[k] for r in side] for k in range(len(ROLES))], np.int32).reshape(len(ROLES), -1)
        for side in (left, right)
    ]
    roles = {name: Encoded(words, columns[0][k], columns[1][k]) for k, name in enumerate(ROLES)}
    return Records(len(left), len(right), roles, duplicates)


def brute(left, right, rules, *, duplicates=False):
    found = {}
    for (i, a), (j, b) in product(enumerate(left), enumerate(right)):
        if duplicates and i >= j:
            continue
        for number, keys in enumerate(rules):
            places = [ROLES.index(k) for k in keys]
            if all(a[p] == b[p] >= 0 for p in places):
                found[i, j] = found.get((i, j), 0) | 1 << number
    return found


rows = st.lists(st.tuples(*[st.integers(-1, 3)] * 4), min_size=0, max_size=25)
some_rules = st.lists(st.lists(st.sampled_from(ROLES), min_size=1, max_size=3, unique=True), min_size=1, max_size=4)


@settings(deadline=None, max_examples=26)
@given(rows, rows, some_rules)
def test_candidates_are_all_pairs_that_agree_on_a_rule_each_once_in_order(left, right, keys):
    records = records_of(left, right)
    blocked = block(records, [BlockingRule(keys=tuple(k)) for k in keys])
    found = join_candidates(blocked, records)
    expected = brute(left, right, keys)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == sorted(expected)
    assert found.rules.tolist() == [expected[p] for p in sorted(expected)]
    for number, count in enumerate(blocked.counts):
        assert count.pairs == sum(1 for m in expected.values() if m >> number & 1)


@settings(deadline=None, max_examples=13)
@given(rows, some_rules)
def test_duplicates_are_pairs_within_one_side_each_once(left, keys):
    records = records_of(left, left, duplicates=True)
    blocked = block(records, [BlockingRule(keys=tuple(k)) for k in keys])
    found = join_candidates(blocked, records)
    expected = brute(left, left, keys, duplicates=True)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == sorted(expected)
    assert [c.pairs for c in blocked.counts] == [
        sum(1 for m in expected.values() if m >> n & 1) for n in range(len(keys))
    ]


@settings(deadline=None, max_examples=20)
@given(rows, rows, st.integers(1, 8))
def test_a_capped_key_is_refined_and_every_pair_is_kept_or_counted(left, right, cap):
    records = records_of(left, right)
    rule = BlockingRule(keys=("given_name",), cap=cap)
    blocked = block(records, [rule])
    found = join_candidates(blocked, records)
    assert len(found) == blocked.counts[0].pairs
    whole = brute(left, right, [("given_name",)])
    pairs = set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert pairs <= set(whole)
    capped = blocked.counts[0].capped
    sizes = {}
    for i, _ in whole:
        sizes[left[i][0]] = sizes.get(left[i][0], 0) + 1
    over = {k: n for k, n in sizes.items() if n > cap}
    assert (capped is None) == (not over)
    if capped is not None:
        assert (capped.keys, capped.pairs) == (len(over), sum(over.values()))
        kept = [p for p in pairs if left[p[0]][0] in over]
        assert capped.pairs_refined == len(kept)
        # Refined pairs agree on a further key; skipped ones are those of refined keys that stay above the cap.
        assert all(left[i][2] == right[j][2] or left[i][3] == right[j][3] for i, j in kept)
        assert capped.pairs_refined + capped.pairs_skipped <= capped.pairs


def test_a_rule_that_has_the_full_given_name_is_not_refined_by_the_initial():
    records = records_of([(0, 0, 0, 0)] * 3, [(0, 0, 1, 1)] * 3)
    blocked = block(records, [BlockingRule(keys=("given_name",), cap=5)])
    assert blocked.counts[0].capped.pairs_refined == 0
    assert blocked.counts[0].pairs == 0


def test_keys_stay_apart_when_the_mixed_radix_overflows():
    """Eight roles of 2^15 values need 120 bits: the key is re-encoded on the way."""
    words = Vocabulary(pa.array([f"{i}" for i in range(1 << 15)]))
    rng = np.random.default_rng(1)
    names = ("given_name", "family_name", "email", "phone", "street", "city", "postcode", "birth_date")
    sides = rng.integers(0, 2, (2, len(names), 300)).astype(np.int32) * 32_000
    roles = {n: Encoded(words, sides[0, k], sides[1, k]) for k, n in enumerate(names)}
    left, right = rule_keys(Records(300, 300, roles), names)
    same = left[:, None] == right[None, :]
    assert (same == (sides[0].T[:, None, :] == sides[1].T[None, :, :]).all(axis=2)).all()


def test_more_pairs_than_the_limit_are_refused_before_any_pair_is_made():
    blocked = block(records_of([(0, 0, 0, 0)] * 10, [(0, 0, 0, 0)] * 10), [BlockingRule(keys=("given_name",))])
    with pytest.raises(TooManyPairs, match=r"100 pairs, more than limits.pairs = 99; rule given_name alone gives 100"):
        refuse_too_many(blocked, 99)


def test_frequent_values_are_no_key():
    records = records_of([(0, 0, 0, 0), (1, 0, 0, 0)], [(0, 0, 0, 0), (1, 0, 0, 0)])
    one = records.roles["given_name"]
    marked = Encoded(one.vocabulary, one.left, one.right, np.array([True, False, False, False]))
    found = join_candidates(block(Records(2, 2, {"given_name": marked}), [BlockingRule(keys=("given_name",))]), records)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == [(1, 1)]
