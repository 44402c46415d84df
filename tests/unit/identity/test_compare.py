"""Levels equal naive comparison pair by pair; the Jaro-Winkler bound never drops a pair that scores."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import JaroWinkler

from meshkit.identity.compare import Layout, Pairs, compare_pairs, compile_comparisons
from meshkit.identity.encode import Vocabulary, encode
from meshkit.identity.roles import ColumnRole
from meshkit.identity.rules import Comparison
from meshkit.identity.similar import jaro_winkler, jaro_winkler_bound, one_digit_differs

words = st.lists(st.text(alphabet="abcde1-", min_size=1, max_size=9), min_size=1, max_size=12, unique=True)


def every_pair(count):
    i, j = np.divmod(np.arange(count * count, dtype=np.int32), np.int32(count))
    return i.astype(np.int32), j.astype(np.int32)


@settings(deadline=None, max_examples=50)
@given(words)
def test_the_bound_is_never_below_the_similarity(values):
    vocabulary = Vocabulary(pa.array(values))
    a, b = every_pair(len(values))
    bound = jaro_winkler_bound(vocabulary, a, b)
    real = np.array([JaroWinkler.similarity(values[x], values[y]) for x, y in zip(a, b, strict=True)])
    assert (bound >= real - 1e-9).all()


@settings(deadline=None, max_examples=26)
@given(
    st.lists(st.text(alphabet="abcäöéx", min_size=1, max_size=8), min_size=1, max_size=10, unique=True),
    st.sampled_from([0.8, 0.85, 0.92]),
)
def test_every_pair_at_or_above_the_cutoff_is_scored_exactly_with_accents_too(values, cutoff):
    vocabulary = Vocabulary(pa.array(values))
    a, b = every_pair(len(values))
    found = jaro_winkler(vocabulary, a, b, cutoff)
    real = np.array([JaroWinkler.similarity(values[x], values[y]) for x, y in zip(a, b, strict=True)])
    near = real >= cutoff - 1e-9
    assert np.allclose(found[near], real[near], atol=1e-12)
    assert (found[~near] < cutoff).all()


def test_large_dictionaries_are_scored_like_small_ones():
    values = [f"name{i:05d}" for i in range(40_000)]
    vocabulary = Vocabulary(pa.array(values))
    a, b = np.arange(0, 3000, dtype=np.int32), np.arange(1, 3001, dtype=np.int32)
    real = [JaroWinkler.similarity(values[x], values[y]) for x, y in zip(a, b, strict=True)]
    assert np.allclose(jaro_winkler(vocabulary, a, b, 0.8), real)


def test_one_digit_differs_asks_for_equal_length():
    vocabulary = Vocabulary(pa.array(["1234567", "1234568", "123456", "1234588", "0234567"]))
    a = np.zeros(5, np.int32)
    assert one_digit_differs(vocabulary, a, np.arange(5, dtype=np.int32)).tolist() == [False, True, False, False, True]


@settings(deadline=None, max_examples=16)
@given(st.lists(st.integers(2, 7), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_pattern_numbers_round_trip(sizes, random):
    layout = Layout(tuple(sizes))
    levels = np.array([[random.randint(-1, s - 1) for s in sizes] for _ in range(20)], np.int8)
    patterns = layout.encode([levels[:, c] for c in range(len(sizes))])
    assert (layout.decode(patterns) == levels).all()
    assert patterns.max() < layout.span


def records(left, right):
    roles = [ColumnRole(c, c, "model") for c in left]
    frames = [pl.DataFrame(side, schema=dict.fromkeys(left, pl.String)) for side in (left, right)]
    return encode(("left", frames[0], roles, False), ("right", frames[1], roles, False), last_year=2026)


# A second row on both sides: a role without any value on one side would not be compared at all.
FILLER = {"given_name": "ida", "family_name": "roth", "email": "i@z.example", "phone": "0999888777", "street": "x 9", "postcode": "77777",
          "city": "ulm", "birth_date": "1950-05-05", "national_id": "zz9", "organisation": "filler"}  # fmt: skip


def level(comparison, left, right):
    """Name of the level of one pair, or None for missing."""
    made = records({k: [v, FILLER[k]] for k, v in left.items()}, {k: [v, FILLER[k]] for k, v in right.items()})
    (comparer,) = compile_comparisons(made, [Comparison.model_validate(comparison)])
    zero = np.zeros(1, np.int32)
    found = comparer.compare(Pairs(made, zero, zero))[0]
    return None if found < 0 else comparer.level_names[found]


@pytest.mark.parametrize(
    "kind, left, right, expected",
    [
        ("given_name", "anna", "anna", "exact"),
        ("given_name", "johanna", "johana", "jaro_winkler 0.9"),
        ("given_name", "a", "anna", "initial"),
        ("given_name", "michael", "mchael", "jaro_winkler 0.9"),
        ("given_name", "marta", "mara", "jaro_winkler 0.9"),
        ("given_name", "anna", "bernd", "else"),
        ("family_name", "mueller", "mueler", "jaro_winkler 0.92"),
        ("family_name", "schmidt", "weber", "else"),
        ("email", "ana@x.example", "ana@x.example", "exact"),
        ("email", "ana@x.example", "ana@y.example", "same_user"),
        ("email", "ana.weber@x.example", "ana.webr@x.example", "user_and_domain 0.88"),
        ("email", "ana.weber@x.example", "ana.webr@y.example", "user 0.88"),
        ("email", "ana@x.example", "bob@x.example", "else"),
        ("phone", "0301234567", "0301234567", "exact"),
        ("phone", "0301234567", "0301234568", "one_digit"),
        ("phone", "0301234567", "0307654321", "else"),
        ("birth_date", "1990-02-03", "1990-02-03", "exact"),
        ("birth_date", "1990-02-03", "1990-03-02", "one_digit_or_swapped"),
        ("birth_date", "1990-02-03", "1980-02-03", "one_digit_or_swapped"),
        ("birth_date", "1990-02-03", "1990-02-28", "two_parts"),
        ("birth_date", "1990-02-03", "1990-11-25", "year"),
        ("birth_date", "1990-02-03", "1975-11-25", "else"),
        ("national_id", "ab12345", "ab12345", "exact"),
        ("national_id", "ab12345", "ab12346", "one_character"),
        ("national_id", "ab12345", "ab1234", "else"),
        ("organisation", "acme data gmbh", "gmbh acme data", "same_words"),
        ("organisation", "acme data", "acme dta", "jaro_winkler 0.92"),
    ],
)
def test_levels_of_section_2_5(kind, left, right, expected):
    role = kind
    extra = {"family_name": "zzz"} if role == "given_name" else {"given_name": "qqq"} if role == "family_name" else {}
    assert level(kind, {role: left, **extra}, {role: right, **extra}) == expected


def test_swapped_names_are_seen_from_both_comparisons():
    left, right = {"given_name": "anna", "family_name": "weber"}, {"given_name": "weber", "family_name": "anna"}
    assert level("given_name", left, right) == level("family_name", left, right) == "swapped"


@pytest.mark.parametrize(
    "street, postcode, city, expected",
    [
        ("haupt 1", "10115", "berlin", "street_and_area"),
        ("haupt 1", "99999", "berlin", "street_and_area"),
        ("haupt 11", "10115", "berlin", "street_and_area 0.9"),
        ("haupt 1", "99999", "bonn", "street"),
        ("lindenallee 7", "10115", "bonn", "postcode"),
        ("lindenallee 7", None, "berlin", "city"),
        ("lindenallee 7", "99999", "bonn", "else"),
        (None, "10115", None, "postcode"),
        (None, None, None, None),
    ],
)
def test_levels_of_addresses(street, postcode, city, expected):
    left = {"street": "haupt 1", "postcode": "10115", "city": "berlin"}
    assert level("address", left, {"street": street, "postcode": postcode, "city": city}) == expected


def test_missing_on_either_side_is_missing():
    assert level("phone", {"phone": None}, {"phone": "0301234567"}) is None


@settings(deadline=None, max_examples=12)
@given(st.lists(st.tuples(st.text("abc", max_size=4), st.text("abc", max_size=4)), min_size=1, max_size=12))
def test_name_levels_equal_a_naive_comparison(people):
    left = {"given_name": [p[0] for p in people], "family_name": [p[1] for p in people]}
    made = records(left, left)
    comparers = compile_comparisons(made, [Comparison.model_validate("family_name")])
    if not comparers:
        return
    layout = Layout((comparers[0].size,))
    i, j = every_pair(len(people))
    found = layout.decode(compare_pairs(made, comparers, i, j, layout))[:, 0]
    names = [(g or None, f or None) for g, f in people]
    for a, b, got in zip(i, j, found, strict=True):
        assert got == naive_family_level(names[a], names[b], swappable=made.has("given_name"))


def naive_family_level(a, b, *, swappable):
    if a[1] is None or b[1] is None:
        return -1
    similar = JaroWinkler.similarity(a[1], b[1])
    ladder = [similar >= 0.85 - 1e-9, similar >= 0.92 - 1e-9]
    if swappable:
        ladder.append(a[0] is not None and a[0] == b[1] and a[1] == b[0])
    ladder.append(a[1] == b[1])
    return max((n for n, holds in enumerate(ladder, start=1) if holds), default=0)


def test_chunks_on_threads_give_the_same_patterns(monkeypatch):
    rng = np.random.default_rng(2)
    names = ["".join(rng.choice(list("abcde"), 6)) for _ in range(200)]
    made = records({"family_name": names, "given_name": names[::-1]}, {"family_name": names[::-1], "given_name": names})
    comparers = compile_comparisons(made, [Comparison.model_validate(k) for k in ("given_name", "family_name")])
    layout = Layout(tuple(c.size for c in comparers))
    i, j = every_pair(200)
    whole = compare_pairs(made, comparers, i, j, layout)
    monkeypatch.setattr("meshkit.identity.compare._CHUNK", 999)
    assert (compare_pairs(made, comparers, i, j, layout) == whole).all()
