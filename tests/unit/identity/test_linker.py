"""`Linker` end to end: the demo's people, names of the result, laws, explanation, evaluation, bad input."""

import json
from datetime import date

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from identity_people import make_country

from meshkit.demo.people import make_people
from meshkit.identity import (
    BadIds,
    BadLabels,
    DoubtsNotAccepted,
    FitMismatch,
    IdIsPersonal,
    LinkageModel,
    LinkageModelError,
    LinkageUsage,
    Linker,
    NotInThisRelease,
    Side,
    SideProblem,
    SourceProblem,
    TooLittleMemory,
    TooManyPairs,
)  # fmt: skip
from meshkit.identity.doubts import find_doubts
from meshkit.identity.side import guess_id
from meshkit.identity.table import id_names


@pytest.fixture(scope="module")
def people():
    return make_people(7)


@pytest.fixture(scope="module")
def sides(people):
    users = pl.DataFrame(
        people.users, schema=["user_id", "given", "surname", "mail", "phone", "plz", "born"], orient="row"
    )
    customers = pl.DataFrame(
        people.customers, schema=["customer_id", "contact", "email", "mobile", "zip", "birthday"], orient="row"
    )
    return Side.of(users, name="sales.users", id="user_id"), Side.of(
        customers, name="marketing.customers", id="customer_id"
    )


@pytest.fixture(scope="module")
def linker(sides):
    made = Linker(*sides, seed=7)
    made.estimate()
    return made


def quality(table, truth):
    found = set(table.select(pl.nth(0), pl.nth(1)).iter_rows())
    hits = len(found & truth)
    return hits / max(len(found), 1), hits / max(len(truth), 1)


def test_the_demo_is_linked_from_column_names_alone(linker, people):
    links = linker.link().to_polars()
    assert links.schema == {
        "sales_user_id": pl.Int64,
        "marketing_customer_id": pl.String,
        "confidence_score": pl.Float64,
    }
    precision, recall = quality(links, people.truth)
    assert precision > 0.95 and recall > 0.95
    assert links["confidence_score"].is_between(0.5, 1).all()
    assert links["sales_user_id"].is_unique().all() and links["marketing_customer_id"].is_unique().all()


def test_tags_alone_say_the_roles_when_names_say_nothing(sides, people):
    left = sides[0].frame.rename(
        {"given": "c1", "surname": "c2", "mail": "c3", "phone": "c4", "plz": "c5", "born": "c6"}
    )
    tags = {
        "c1": ["role:given_name"],
        "c2": ["role:family_name"],
        "c3": ["pii:email"],
        "c4": ["pii:phone"],
        "c5": ["pii:postcode"],
        "c6": ["pii:birth_date"],
    }
    tagged = Linker(Side.of(left, name="sales.users", id="user_id", tags=tags), sides[1], seed=7)
    assert {r.source for r in tagged.plan().left[2]} == {"tag"}
    assert min(quality(tagged.link().to_polars(), people.truth)) > 0.95


def test_any_form_of_frame_gives_the_same_links(sides, linker, tmp_path):
    left, right = sides
    sides[0].frame.write_parquet(tmp_path / "users.parquet")
    right.frame.write_csv(tmp_path / "customers.csv")
    expected = linker.link().to_polars()
    for a, b in (
        (left.frame.lazy(), right.frame.to_arrow()),
        (left.frame.to_pandas(), right.frame.lazy()),
        (tmp_path / "users.parquet", tmp_path / "customers.csv"),
        (
            pa.RecordBatchReader.from_batches(
                left.frame.to_arrow().schema, left.frame.to_arrow().to_batches()
            ).read_all(),
            right.frame,
        ),
    ):
        found = Linker(
            Side.of(a, name="sales.users", id="user_id"),
            Side.of(b, name="marketing.customers", id="customer_id"),
            seed=7,
        ).link()
        assert found.to_polars().equals(expected)


def test_row_order_and_column_names_change_nothing_under_a_given_fit(sides, linker):
    expected = linker.link().to_polars().sort("sales_user_id")
    model = linker.model
    left = sides[0].frame.sample(fraction=1, shuffle=True, seed=3).rename({"mail": "email_address"})
    rules = model.model_copy(update={"left": model.left.model_copy(update={"columns": {}})})
    again = Linker(
        Side.of(left, name="sales.users", id="user_id"),
        Side.of(sides[1].frame.reverse(), name="marketing.customers", id="customer_id"),
        rules,
    )
    found = again.link().to_polars().sort("sales_user_id")
    assert found.select(pl.nth(0), pl.nth(1)).equals(expected.select(pl.nth(0), pl.nth(1)))
    assert np.allclose(found["confidence_score"], expected["confidence_score"], atol=1e-9)


def test_rows_without_values_change_nothing_under_a_given_fit(sides, linker):
    expected = linker.link().to_polars()
    empty = pl.DataFrame({"user_id": [-1, -2]}, schema={"user_id": pl.Int64})
    more = pl.concat([sides[0].frame, empty], how="diagonal")
    found = Linker(Side.of(more, name="sales.users", id="user_id"), sides[1], linker.model).link().to_polars()
    assert np.allclose(found["confidence_score"], expected["confidence_score"], atol=1e-9)
    assert found.select(pl.nth(0), pl.nth(1)).equals(expected.select(pl.nth(0), pl.nth(1)))


def test_swapped_sides_transpose_under_the_same_fit(sides, linker):
    model = linker.model
    rules = model.model_copy(update={"left": model.right, "right": model.left})
    assert rules.digest() == model.digest()
    there = linker.predict().to_polars().select("left_id", "right_id", "confidence_score")
    back = (
        Linker(sides[1], sides[0], rules)
        .predict()
        .to_polars()
        .select(left_id="right_id", right_id="left_id", other="confidence_score")
    )
    both = there.join(back, on=["left_id", "right_id"], how="full")
    assert both.height == there.height and both.null_count().sum_horizontal().item() == 0
    assert np.allclose(both["confidence_score"], both["other"], atol=1e-9)


def test_a_higher_threshold_only_removes_links(linker):
    low, high = (set(linker.link(threshold=t).to_polars().rows()) for t in (0.2, 0.99))
    assert high < low
    with pytest.raises(LinkageUsage, match="outside 0.2 to 1"):
        linker.link(threshold=0.1)


def test_the_model_with_its_fit_survives_dump_and_parse_and_scores_alike(sides, linker):
    model = LinkageModel.parse(linker.model.dump())
    assert model == linker.model
    assert Linker(*sides, model).link().to_polars().equals(linker.link().to_polars())
    assert Linker(*sides, model).link().report.fitted == "model"


def test_a_fit_of_other_rules_is_refused(sides, linker):
    other = linker.model.model_copy(update={"blocking": linker.model.blocking[:3]})
    with pytest.raises(FitMismatch, match="Estimate again"):
        Linker(*sides, other).link()


def test_links_have_stable_ids_and_their_rules(linker):
    first, again = linker.link().links(), linker.link(threshold=0.9).links()
    assert first.column_names == [
        "link_id",
        "sales_user_id",
        "marketing_customer_id",
        "confidence_score",
        "weight_bits",
        "pattern",
        "rules",
    ]
    assert set(again["link_id"].to_pylist()) < set(first["link_id"].to_pylist())


def test_lineage_says_ids_are_identity_and_compared_columns_join(linker):
    lineage = linker.link().lineage
    assert {(e.output, e.column, e.subtype) for e in lineage if e.kind == "DIRECT"} == {
        ("sales_user_id", "user_id", "IDENTITY"), ("marketing_customer_id", "customer_id", "IDENTITY"),
    }  # fmt: skip
    assert ("*", "mail", "JOIN") in {(e.output, e.column, e.subtype) for e in lineage if e.kind == "INDIRECT"}


@pytest.mark.parametrize(
    "left, right, expected",
    [
        (
            ("sales.users", "user_id"),
            ("marketing.customers", "customer_id"),
            ("sales_user_id", "marketing_customer_id"),
        ),
        (("sales.users", "sales_user_id"), ("crm.people", "id"), ("sales_user_id", "crm_id")),
        (("sales.users", "id"), ("sales.guests", "id"), ("sales_users_id", "sales_guests_id")),
        (("a", "id"), ("a", "id"), ("left_id", "right_id")),
        (("eu.sales.users", "id"), ("crm.people", "id"), ("eu_sales_id", "crm_id")),
    ],
)
def test_id_columns_are_named_by_domain(left, right, expected):
    assert id_names(Side.of(None, name=left[0], id=left[1]), Side.of(None, name=right[0], id=right[1])) == expected


def test_an_explanation_adds_up_and_shows_levels_only(linker, people):
    user, customer = min(people.truth)
    found = linker.explain(user, customer)
    assert found.linked and found.candidate
    assert sum(bits for _, bits in found.steps()) == pytest.approx(found.weight_bits + found.competition_bits, abs=1e-9)
    assert found.prior_bits + sum(c.bits for c in found.contributions) + found.frequency_bits == pytest.approx(
        found.weight_bits, abs=1e-9
    )
    odds = 2 ** (found.weight_bits + found.competition_bits)
    assert found.confidence_score == pytest.approx(odds / (1 + odds), abs=1e-9)
    score = linker.link().to_polars().filter(sales_user_id=user)["confidence_score"].item()
    assert found.confidence_score == pytest.approx(score, abs=1e-9)
    text = found.to_text() + json.dumps(found.to_json()) + found.to_svg()
    given = next(u[1] for u in people.users if u[0] == user).lower()
    assert given not in text.lower()
    assert given in linker.explain(user, customer, show_values=True).to_text()


def test_an_explanation_of_a_loser_names_its_competitors_and_adds_up(linker):
    predicted = linker.predict().to_polars()
    linked = set(linker.link().to_polars().select(pl.nth(0), pl.nth(1)).iter_rows())
    loser = next(
        r
        for r in predicted.iter_rows(named=True)
        if (r["left_id"], r["right_id"]) not in linked and any(a == r["left_id"] for a, _ in linked)
    )
    found = linker.explain(loser["left_id"], loser["right_id"])
    assert not found.linked and found.competitors and found.competition_bits < 0
    assert found.confidence_score == pytest.approx(loser["confidence_score"], abs=1e-9)


def test_an_explanation_of_a_pair_that_no_rule_found_says_why(linker, people):
    strangers = (min(people.truth)[0], max(people.truth, key=lambda t: t[1])[1])
    found = linker.explain(*strangers)
    assert not found.candidate and {f.rule for f in found.failed} == {r.name for r in linker.model.blocking}
    assert all(f.missing or f.different for f in found.failed)
    assert "no rule found this pair" in found.to_text()


def test_evaluation_counts_every_lost_pair_once(linker, people):
    labels = pl.DataFrame(sorted(people.truth), schema=["left_id", "right_id"], orient="row")
    found = linker.evaluate(labels, complete=True)
    hits = round(found.recall.value * found.positive)
    assert found.positive == hits + found.not_blocked + found.below_threshold + found.assigned_elsewhere
    assert found.precision.low <= found.precision.value <= found.precision.high
    assert found.calibration_error < 0.02
    assert found.to_svg().startswith("<svg")


def test_precision_is_not_measured_without_negatives(linker, people):
    labels = pl.DataFrame(sorted(people.truth)[:50], schema=["left_id", "right_id"], orient="row")
    found = linker.evaluate(labels)
    assert found.precision is None and "not measured" in found.to_text()
    assert found.require(precision=0.5).exit_code == 1
    assert found.require(recall=0.5).exit_code == 0


def test_unknown_label_ids_are_counted_and_contradictions_refused(linker, people):
    user, customer = min(people.truth)
    assert linker.evaluate(pl.DataFrame({"left_id": [user, -5], "right_id": [customer, "nobody"]})).unknown == 1
    with pytest.raises(BadLabels, match="rows 1, 2"):
        linker.evaluate(
            pl.DataFrame({"left_id": [user, user], "right_id": [customer, customer], "match": [True, False]})
        )


def test_labels_take_part_in_an_estimate(sides, people):
    labelled = pl.DataFrame(sorted(people.truth)[:100], schema=["left_id", "right_id"], orient="row")
    model = Linker(*sides, seed=7).estimate(labels=labelled)
    assert model.fit.classes[0].weight > 0


def test_no_input_value_stands_in_plan_report_fit_or_model(linker, people):
    table = linker.link()
    said = (
        linker.plan().to_text()
        + json.dumps(linker.plan().to_json())
        + table.report.to_text()
        + json.dumps(table.report.to_json())
        + linker.model.dump()
        + repr(table)
        + table._repr_html_()
    )
    assert not [u[2] for u in people.users[:50] if u[2].lower() in said.lower().replace("family_name", "")]
    assert not [u[3] for u in people.users[:50] if u[3] and u[3] in said]


def test_duplicates_within_one_side_become_entities():
    country = make_country(5, 1500, overlap=0.5)
    right = country.right.rename({"customer_id": "user_id"}).with_columns(
        pl.col("user_id").str.slice(1).cast(pl.Int64) + 1_000_000
    )
    both = pl.concat([country.left, right])
    entities = Linker.dedupe(Side.of(both, name="sales.users", id="user_id")).to_polars()
    assert entities.columns == ["entity_id", "product", "record_id", "confidence_score"]
    assert entities.height == both.height and entities["record_id"].is_unique().all()
    of = dict(entities.select("record_id", "entity_id").iter_rows())
    together = sum(of[str(a)] == of[str(1_000_000 + int(b[1:]))] for a, b in country.truth)
    assert together / len(country.truth) > 0.9
    assert entities["entity_id"].n_unique() > both.height * 0.7


def test_an_empty_side_gives_an_empty_table_and_a_doubt(sides):
    table = Linker(Side.of(sides[0].frame.clear(), name="sales.users", id="user_id"), sides[1]).link()
    assert len(table) == 0 and table.to_arrow().column_names == [
        "sales_user_id",
        "marketing_customer_id",
        "confidence_score",
    ]
    assert [d.code for d in table.doubts] == ["match_not_credible"]
    with pytest.raises(DoubtsNotAccepted, match="match_not_credible"):
        table.raise_for_doubts()
    assert table.raise_for_doubts(["match_not_credible"]) is table
    with pytest.raises(LinkageUsage, match="no doubt is called"):
        table.raise_for_doubts(["bad_mood"])


def test_a_column_empty_on_one_side_is_said_and_not_compared(sides):
    left = Side.of(sides[0].frame.with_columns(mail=pl.lit(None, pl.String)), name="sales.users", id="user_id")
    table = Linker(left, sides[1], seed=7).link()
    assert any("no usable email" in w for w in table.report.warnings)
    assert len(table) > 1000


def test_a_column_half_emptied_by_its_standardiser_is_a_warning(sides):
    left = Side.of(sides[0].frame.with_columns(born=pl.lit("03/04/1990")), name="sales.users", id="user_id")
    plan = Linker(left, sides[1]).plan()
    assert any("sales.users.born" in w and "format" in w for w in plan.warnings)


def test_bad_ids_are_counted_by_row(sides):
    left = pl.concat(
        [
            sides[0].frame.head(3),
            sides[0].frame.head(1),
            sides[0].frame.head(1).with_columns(user_id=pl.lit(None, pl.Int64)),
        ]
    )
    with pytest.raises(BadIds, match=r"1 rows without id \(rows 5\) and 1 rows repeat an earlier id \(rows 4\)"):
        Linker(Side.of(left, name="sales.users", id="user_id"), sides[1]).plan()


def test_personal_ids_are_refused(sides):
    mails = sides[0].frame.drop_nulls("mail").unique("mail").rename({"user_id": "number"})
    with pytest.raises(IdIsPersonal, match="look like e-mail"):
        Linker(Side.of(mails, name="sales.users", id="mail"), sides[1]).plan()
    with pytest.raises(IdIsPersonal, match="tagged pii:national_id"):
        Linker(
            Side.of(
                sides[0].frame,
                name="sales.users",
                id="user_id",
                tags={"user_id": ["pii:national_id"], "mail": ["pii:email"], "phone": ["pii:phone"]},
            ),
            sides[1],
        ).plan()


def test_all_problems_of_both_sides_come_at_once(sides):
    model = LinkageModel.parse(
        "left: {id: nope, columns: {ghost: email, mail: phone}}\nright: {columns: {spook: email, mobile: phone}}\n"
    )
    with pytest.raises(SideProblem) as caught:
        Linker(Side.of(sides[0].frame, name="l", id="nope"), sides[1], model)
    assert len(caught.value.problems) == 3


def test_nested_columns_can_play_no_role(sides):
    left = sides[0].frame.with_columns(mail=pl.concat_list("mail"))
    with pytest.raises(SideProblem, match=r"sales.users.mail is List\(String\)"):
        Linker(Side.of(left, name="sales.users", id="user_id"), sides[1]).plan()


def test_the_same_rows_on_both_sides_are_refused_and_duplicates_named(sides):
    with pytest.raises(LinkageUsage, match="To find duplicates leave right out"):
        Linker(sides[0], Side.of(sides[0].frame, name="again", id="user_id"))


def test_sides_without_shared_roles_or_with_one_rule_are_refused():
    with pytest.raises(LinkageModelError, match="share no role"):
        Linker(
            Side.of(pl.DataFrame({"id": [1], "colour": ["red"]}), name="a", id="id"),
            Side.of(pl.DataFrame({"id": [1], "mail": ["a@b.c"]}), name="b", id="id"),
        )
    one = pl.DataFrame({"id": [1], "mail": ["a@b.c"]})
    with pytest.raises(LinkageModelError, match="fewer than two blocking rules"):
        Linker(Side.of(one, name="a", id="id"), Side.of(one.clone(), name="b", id="id"))


def test_limits_of_pairs_and_memory_are_kept(sides):
    with pytest.raises(TooManyPairs, match="limits.pairs = 10"):
        Linker(*sides, LinkageModel.parse("limits: {pairs: 10}")).link()
    with pytest.raises(TooLittleMemory, match="memory_limit_bytes"):
        Linker(*sides, memory_limit_bytes=1000).link()


def test_an_engine_of_a_later_release_is_refused_by_name(sides):
    with pytest.raises(NotInThisRelease, match="not in this release"):
        Linker(*sides, engine="spark")


def test_a_missing_file_and_an_unclear_id_are_said():
    with pytest.raises(SourceProblem, match="there is no file"):
        Linker("nowhere.parquet", "elsewhere.parquet")
    with pytest.raises(LinkageUsage, match="no column looks like an id"):
        guess_id(["name", "mail"], "left")
    with pytest.raises(LinkageUsage, match="all look like ids"):
        guess_id(["user_id", "order_id"], "left")


def test_a_plan_compares_nothing_and_a_union_counts_new_pairs(linker):
    plan = linker.plan(union=True)
    assert sum(plan.new_pairs) == linker.link().report.candidates
    assert plan.to_json()["format"] == "meshkit.identity.profile/1"
    assert plan.exit_code == 0


def test_patterns_list_the_whole_behaviour():
    country = make_country(9, 1000)
    model = Linker(
        Side.of(country.left.select("user_id", "mail", "phone", "born"), name="a", id="user_id"),
        Side.of(country.right.select("customer_id", "mail", "phone", "born"), name="b", id="customer_id"),
        LinkageModel.parse("blocking: [[email], [phone]]"),
    ).estimate()
    patterns = model.patterns()
    assert patterns.column_names == ["email", "phone", "birth_date", "weight_bits"]
    assert patterns.num_rows == 6 * 4 * 6
    assert patterns.slice(0, 1).to_pylist()[0]["birth_date"] == "exact"


def test_columns_too_few_to_tell_matches_from_a_shared_key_are_doubted():
    """Equal rows with two columns that are both blocking keys: nothing says whether agreement means a match."""
    frame = pl.DataFrame(
        {
            "id": range(300),
            "mail": [f"p{i}@x.example" for i in range(300)],
            "phone": [f"0301{i:06}" for i in range(300)],
        }
    )
    table = Linker(Side.of(frame, name="a", id="id"), Side.of(frame.reverse(), name="b", id="id")).link()
    assert "match_not_credible" in [d.code for d in table.doubts]


def test_one_to_many_and_many_to_many(sides, linker):
    base = linker.model
    for cardinality in ("one-to-many", "many-to-many"):
        links = Linker(*sides, base.model_copy(update={"cardinality": cardinality})).link().to_polars()
        assert links.height >= linker.link().to_polars().height * 0.98
        if cardinality == "one-to-many":
            assert links["marketing_customer_id"].is_unique().all()


def test_a_side_with_duplicates_is_doubted_in_one_to_one():
    country = make_country(11, 2000, overlap=0.6)
    twice = pl.concat([country.right, country.right.head(800).with_columns(customer_id=pl.col("customer_id") + "b")])
    table = Linker(Side.of(country.left, name="a.l", id="user_id"), Side.of(twice, name="b.r", id="customer_id")).link()
    assert "duplicates_likely" in [d.code for d in table.doubts]


def test_dates_as_dates_and_as_text_meet(sides):
    assert isinstance(sides[0].frame["born"][0], date)
    text = sides[0].frame.with_columns(pl.col("born").dt.strftime("%d.%m.%Y"))
    found = Linker(Side.of(text, name="sales.users", id="user_id"), sides[1], seed=7).link().to_polars()
    assert found.height > 1100


def test_more_expected_matches_than_rows_is_a_doubt(linker):
    fit = linker.model.fit
    scored = linker._score(-7.0)
    found = find_doubts(fit, scored, linker._chosen(scored), "one-to-one", (100, 200))
    assert "too_many_matches" in [d.code for d in found]


def test_tags_of_the_demo_manifests_give_the_same_roles_as_names(sides, linker):
    tags = (
        {"given": ["pii:name"], "surname": ["pii:name"], "mail": ["pii:email"], "phone": ["pii:phone"], "plz": ["pii:postcode"], "born": ["pii:birth_date"]},
        {"contact": ["pii:name"], "email": ["pii:email"], "mobile": ["pii:phone"], "zip": ["pii:postcode"], "birthday": ["pii:birth_date"]},
    )  # fmt: skip
    tagged = [Side.of(s.frame, name=s.name, id=s.id, tags=t) for s, t in zip(sides, tags, strict=True)]
    assert Linker(*tagged, seed=7).link().to_polars().equals(linker.link().to_polars())


def test_a_duplicate_is_explained_and_evaluated_either_way_round():
    country = make_country(6, 800, overlap=0.5)
    right = country.right.rename({"customer_id": "user_id"}).with_columns(
        pl.col("user_id").str.slice(1).cast(pl.Int64) + 1_000_000
    )
    linker = Linker(Side.of(pl.concat([country.left, right]), name="sales.users", id="user_id"))
    user, customer = min(country.truth)
    twin = 1_000_000 + int(customer[1:])
    assert linker.explain(user, twin).weight_bits == linker.explain(twin, user).weight_bits
    with pytest.raises(LinkageUsage, match="the same row"):
        linker.explain(user, user)
    labels = pl.DataFrame(
        [(1_000_000 + int(b[1:]), a) for a, b in country.truth], schema=["left_id", "right_id"], orient="row"
    )
    assert linker.evaluate(labels).recall.value > 0.9


def test_tables_are_arrow_and_show_themselves_in_notebooks(linker):
    table = linker.link()
    assert pl.DataFrame(table).equals(table.to_polars()) and pa.table(table).equals(table.to_arrow())
    for shown in (table, linker.plan(), linker.model, linker.model.fit and table.report):
        assert shown._repr_html_().startswith("<pre>")
    assert (
        "<script"
        not in linker.explain(*table.to_arrow().slice(0, 1).select([0, 1]).to_pylist()[0].values())._repr_html_()
    )


def test_importing_the_package_brings_no_engine():
    import subprocess
    import sys

    code = "import sys, meshkit.identity; assert not {'numpy', 'polars', 'pyarrow', 'rapidfuzz'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
