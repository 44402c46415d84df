"""Seconds and CPU-seconds of a linkage, next to recordlinkage's ECM on the same pairs in the same run (design: identity section 7)."""

import resource
import time
import warnings

import polars as pl
import pytest
from identity_people import make_country

from meshkit.identity import Linker, Side

pytestmark = pytest.mark.benchmark

ROWS = 100_000


class Clock:
    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu


def f1(found, truth):
    return 2 * len(found & truth) / max(len(found) + len(truth), 1)


def linker_of(country):
    return Linker(
        Side.of(country.left, name="sales.users", id="user_id"),
        Side.of(country.right, name="marketing.customers", id="customer_id"),
    )


def test_a_hundred_thousand_people_a_side_are_linked_fast_and_well():
    country = make_country(501, ROWS)
    linker = linker_of(country)
    with Clock() as reading:
        linker.plan()
    with Clock() as linking:
        table = linker.link()
    score = f1(set(table.to_polars().select(pl.nth(0, 1)).iter_rows()), country.truth)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"\n{ROWS:,} x {ROWS:,}: read, standardise, encode, count {reading.wall:.2f} s; fit, predict, choose {linking.wall:.2f} s, "
          f"{linking.cpu:.2f} CPU-s; {table.report.candidates:,} pairs; one-to-one F1 {score:.4f}; peak {memory:,.0f} MiB")  # fmt: skip
    assert score >= 0.98


def test_low_and_no_overlap():
    for overlap in (0.05, 0.0):
        country = make_country(502, ROWS, overlap=overlap)
        linker = linker_of(country)
        sure = linker.predict().to_polars().filter(pl.col("probability") >= 0.9)
        score = f1(set(sure.select("left_id", "right_id").iter_rows()), country.truth)
        print(
            f"\noverlap {overlap:.0%}: {sure.height:,} pairs with p >= 0.9, F1 {score:.4f}, doubts {[d.code for d in linker.link().doubts]}"
        )
        assert score >= 0.945 if overlap else sure.height <= 150
        assert overlap or "match_not_credible" in [d.code for d in linker.link().doubts]


def test_recordlinkage_ecm_on_the_same_pairs_is_slower_and_worse():
    """The usual way on our candidate pairs, without its own indexing: compare as 0/1 with missing = disagree, classify by ECM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        import recordlinkage

        country = make_country(503, ROWS)
        left, right = country.left.to_pandas().set_index("user_id"), country.right.to_pandas().set_index("customer_id")
        blocked = linker_of(country).predict(min_weight_bits=-200).to_polars().select("left_id", "right_id")
        pairs = pd.MultiIndex.from_frame(blocked.to_pandas())  # the same pairs: only comparing and classifying differ
        with Clock() as naive:
            compare = recordlinkage.Compare()
            for column in ("given", "surname", "mail", "street"):
                compare.string(column, column, method="jarowinkler", threshold=0.9)
            for column in ("phone", "plz", "city", "born"):
                compare.exact(column, column)
            vectors = compare.compute(pairs, left, right)
            found = set(recordlinkage.ECMClassifier().fit_predict(vectors))
        linker = linker_of(country)
        linker.plan()
        with Clock() as own:
            links = set(linker.link().to_polars().select(pl.nth(0, 1)).iter_rows())
    print(f"\n{ROWS:,} x {ROWS:,}: recordlinkage {naive.wall:.2f} s for {len(pairs):,} pairs, F1 {f1(found, country.truth):.3f}; "
          f"meshkit with blocking and one-to-one {own.wall:.2f} s, F1 {f1(links, country.truth):.4f}; ratio {naive.wall / own.wall:.1f}")  # fmt: skip
    assert f1(links, country.truth) > f1(found, country.truth)
    assert naive.wall / own.wall > 1
