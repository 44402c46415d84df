"""The gate: each rule with a pair of valid manifests, the verdict's block to the letter, waivers, registries, migration paths."""

import subprocess
from datetime import date
from pathlib import Path

import pytest

from meshkit.contracts import (
    Change,
    FolderRegistry,
    GitRegistry,
    ManifestConsumers,
    Record,
    RegistryConflict,
    RegistryTampered,
    Waiver,
    check_contract,
    diff,
    publish_contract,
)
from meshkit.contracts.intervals import Interval, compare, of_bounds, of_threshold
from meshkit.contracts.registry.git import run_git
from meshkit.contracts.waivers import append_waiver, load_waivers
from meshkit.errors import EnvironmentProblem, MeshkitError
from meshkit.manifest import Manifest
from meshkit.ports import Consumer, ConsumerSet
from meshkit.types.quantities import parse_threshold

RICH = (Path(__file__).parent / "rich.yaml").read_text()
TODAY = date(2026, 11, 24)


def edit(*pairs, text=RICH):
    for old, new in pairs:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return Manifest.parse(text)


def rules(*pairs, perspective="consumer"):
    return [(c.rule, c.change_class) for c in diff(edit(), edit(*pairs), perspective=perspective).changes]


def test_nothing_changed_is_no_change():
    assert rules() == []


CASES = [
    ([("      note: string\n", "")], "field.removed", "major"),
    ([("      note: string\n", "      note: string\n      extra: string\n")], "field.added", "minor"),
    ([("      note: string\n", "      remark: {type: string, renamed_from: note}\n")], "field.renamed", "major"),
    ([("      note: string\n", "      Note: string\n")], "field.case_changed", "major"),
    (
        [
            ("      note: string\n", ""),
            ("sku: {type: string, required: true}", "sku: {type: string, required: true}, note: string"),
        ],
        "field.moved",
        "major",
    ),
    ([("note: string", "note: {type: string, deprecated: {sunset: 2027-03-01}}")], "field.deprecated", "minor"),
    ([("note: string", "note: {type: string, physical_name: n}")], "field.physical_name_changed", "major"),
    ([("sku: {type: string, required: true}, ", "")], "field.removed", "major"),
    ([("id: {type: int64", "id: {type: int32")], "type.narrowed", "major"),
    ([("small: int32", "small: int64")], "type.widened", "minor"),
    ([("small: int32", "small: string")], "type.changed", "major"),
    ([("at: timestamptz", "at: timestamp")], "type.timezone_changed", "major"),
    ([('labels: "list<string>"', "labels: string")], "type.container_changed", "major"),
    ([('labels: "list<string>"', 'labels: "list<int64>"')], "type.item_changed", "major"),
    ([('amount: "decimal(12,2)"', 'amount: "decimal(14,2)"')], "type.widened", "minor"),
    ([('amount: "decimal(12,2)"', 'amount: "decimal(12,4)"')], "type.narrowed", "major"),
    ([("state: {type: string, required: true,", "state: {type: string,")], "required.dropped", "major"),
    ([("note: string", "note: {type: string, required: true}")], "required.added", "minor"),
    ([("code: {type: string, unique: true}", "code: {type: string}")], "unique.dropped", "major"),
    ([("note: string", "note: {type: string, unique: true}")], "unique.added", "minor"),
    (
        [("region: {type: string, required: true, key: 2}", "region: {type: string, required: true}")],
        "key.narrowed",
        "major",
    ),
    (
        [
            ("region: {type: string, required: true, key: 2}", "region: {type: string, required: true}"),
            ("key: 1", "unique: false"),
        ],
        "key.dropped",
        "major",
    ),
    ([("references: other.id", "references: other.name")], "reference.retargeted", "major"),
    ([(", references: other.id", "")], "reference.removed", "major"),
    ([("min: 0, max: 100", "min: -5, max: 100")], "bound.loosened", "major"),
    ([("min: 0, max: 100", "min: 5, max: 100")], "bound.tightened", "minor"),
    ([(", min: 0, max: 100", "")], "bound.removed", "major"),
    ([("max_length: 20", "max_length: 30")], "bound.loosened", "major"),
    ([("max_length: 20", "max_length: 20, pattern: '^a'")], "pattern.added", "minor"),
    ([("enum: [open, paid]", "enum: [open, paid, lost]")], "enum.value_added", "major"),
    ([("enum: [open, paid]", "enum: [open]")], "enum.value_removed", "minor"),
    ([("enum: [open, paid]", "enum: [open, paid], open_enum: true")], "enum.opened", "major"),
    ([(", enum: [open, paid]", "")], "enum.dropped", "major"),
    ([('tags: ["pii:email"]', "tags: []")], "pii.tag_removed", "policy"),
    ([("classification: confidential", "classification: internal")], "classification.lowered", "policy"),
    ([("classification: confidential", "classification: restricted")], "classification.raised", "minor"),
    ([(", classification: confidential", "")], "classification.removed", "policy"),
    ([("critical: true", "critical: false")], "critical.dropped", "policy"),
    ([("unit: EUR", "unit: USD")], "unit.changed", "major"),
    ([("Gross amount.", "Net amount.")], "semantics.word_changed", "review"),
    (
        [("  other:\n    fields: {id: {type: int64}, name: string}\n", ""), (", references: other.id", "")],
        "object.removed",
        "major",
    ),
    ([("  other:\n", "  third: {fields: {a: string}}\n  other:\n")], "object.added", "minor"),
    (
        [("  other:\n", "  another:\n    renamed_from: other\n"), ("references: other.id", "references: another.id")],
        "object.renamed",
        "major",
    ),
    ([("kind: table", "kind: view")], "object.kind_changed", "minor"),
    ([("physical_name: t_orders", "physical_name: t2")], "object.physical_name_changed", "major"),
    ([("grain: one row per order", "grain: one row per line")], "object.grain_changed", "review"),
    ([('  dump: {kind: file, location: "d/*.csv", format: csv}\n', "")], "port.removed", "major"),
    ([("  dump: {", '  more: {kind: file, location: "m/*.csv", format: csv}\n  dump: {')], "port.added", "minor"),
    ([("  dump: {", "  dumps: {")], "port.renamed", "major"),
    ([("d/*.csv", "e/*.csv")], "port.location_changed", "major"),
    ([('"d/*.csv", format: csv', '"d/*.csv", format: csv, csv: {header: false}')], "port.format_changed", "major"),
    ([("within: 1h", "within: 2h")], "slo.worsened", "major"),
    ([("within: 1h", "within: 30m")], "slo.improved", "minor"),
    ([("  completeness: {target: 99%}\n", "")], "slo.removed", "major"),
    ([('must: "= 0"', 'must: "< 10"')], "quality.loosened", "major"),
    ([('must: "= 0", severity: error', 'must: "= 0", severity: warning')], "quality.severity_lowered", "major"),
    ([("WHERE amount < 0", "WHERE amount < 1")], "quality.sql_changed", "review"),
    ([("status: active", "status: retired")], "status.withdrawn", "major"),
    ([("status: active", "status: deprecated")], "status.deprecated", "minor"),
    ([("team: sales-data", "team: other")], "owner.changed", "patch"),
]


@pytest.mark.parametrize("pairs, rule, change_class", CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_each_single_edit_is_found_with_its_class(pairs, rule, change_class):
    assert (rule, change_class) in rules(*pairs)


@pytest.mark.parametrize(
    "pairs",
    [
        [("small: int32", "small: INTEGER")],
        [("within: 1h", "within: 60m")],
        [("target: 99%", "target: 0.99")],
        [("enum: [open, paid]", "enum: [paid, open]")],
        [("note: string", "note: {type: text}")],
        [("min: 0, max: 100", "max: 100, min: 0.0")],
        [("SELECT count(*) FROM", "SELECT  count(*)   FROM")],
    ],
)
def test_other_spellings_of_the_same_are_no_change(pairs):
    assert rules(*pairs) == []


@pytest.mark.parametrize("name", ["required", "quality", "a.b", "type", "fields", "__class__", "items"])
def test_fields_called_like_keywords_are_fields(name):
    base = RICH.replace("      note: string\n", f'      "{name}": string\n')
    changed = base.replace(f'"{name}": string', f'"{name}": int64')
    found = diff(Manifest.parse(base), Manifest.parse(changed)).changes
    assert [(c.rule, c.path[-1]) for c in found] == [("type.changed", ("field", name))]


def test_widening_breaks_readers_of_events():
    kafka = (
        '  dump: {kind: file, location: "d/*.csv", format: csv}',
        '  dump: {kind: kafka, location: "kafka://h/t", format: json}',
    )
    found = diff(edit(kafka), edit(kafka, ("small: int32", "small: int64"))).changes
    assert [(c.rule, c.change_class) for c in found] == [("type.widened", "major")]


def test_producer_and_consumer_change_places():
    looser = [("min: 0, max: 100", "min: -5, max: 100")]
    assert rules(*looser, perspective="producer") == [("bound.loosened", "minor")]
    added = [("note: string", "note: {type: string, required: true}")]
    assert rules(*added, perspective="producer") == [("required.added", "major")]
    assert rules(*added, perspective="both") == [("required.added", "major")]


# Gate -----------------------------------------------------------------------------------------------------------------------------

READERS = [
    Consumer("Finance-Audit", columns=frozenset(["note"]), reads=1),
    Consumer("Marketing-Analytics", columns=frozenset(["orders.note", "id"]), reads=9),
    Consumer("Ops", columns=frozenset(["state"])),
]


def check(*pairs, consumers=READERS, old=None, **more):
    return check_contract(edit(*pairs), old or edit(), consumers=consumers, today=TODAY, **more)


REMOVED = ("      note: string\n", "")


def test_the_failing_block_is_as_documented():
    text = edit().dump().replace("note:", "total_amount:")
    old, new = (
        Manifest.parse(text),
        Manifest.parse("\n".join(line for line in text.splitlines() if "total_amount" not in line)),
    )
    readers = [
        Consumer("Finance-Audit", columns=frozenset(["total_amount"])),
        Consumer("Marketing-Analytics", columns=None, reads=3),
    ]
    readers[1] = Consumer("Marketing-Analytics", columns=frozenset(["total_amount"]), reads=3)
    verdict = check_contract(new, old, consumers=readers, today=TODAY)
    assert verdict.to_text() == (
        "✖ Build Failed: Contract Violation in 'sales.orders'\n"
        "--------------------------------------------------\n"
        "Error: Field 'total_amount' was removed.\n"
        "Consumers Impacted: [Marketing-Analytics, Finance-Audit]\n"
        "Action: You must increment the major version (v1 -> v2)\n"
        "        and provide a migration path to remove this field."
    )
    assert verdict.exit_code == 1


def test_who_reads_other_columns_is_not_affected_and_who_is_unknown_is_said():
    verdict = check(REMOVED, consumers=[*READERS, Consumer("Mystery")])
    impact = verdict.judged[0].impact
    assert (impact.affected, impact.not_affected, impact.unknown) == (
        ("Marketing-Analytics", "Finance-Audit"),
        ("Ops",),
        ("Mystery",),
    )
    assert "Consumers Unknown: [Mystery]" in verdict.to_text()


def test_a_failed_lookup_is_unknown_never_nobody():
    class Down:
        def consumers(self, product):
            raise EnvironmentProblem("catalog is down")

    assert "Consumers Impacted: [unknown]" in check(REMOVED, consumers=Down()).to_text()
    assert "Consumers Impacted: [none]" in check(REMOVED, consumers=[]).to_text()


def test_too_small_a_step_is_refused_and_a_larger_one_is_allowed():
    added = ("      note: string\n", "      note: string\n      extra: string\n")
    assert not check(added).passed
    assert {f.rule for f in check(added).findings} == {"version.not_bumped"}
    assert {f.rule for f in check(added, ("version: 1.2.0", "version: 1.2.1")).findings} == {"version.bump_too_small"}
    assert check(added, ("version: 1.2.0", "version: 1.3.0")).passed
    assert check(added, ("version: 1.2.0", "version: 2.0.0")).passed
    assert {f.rule for f in check(("version: 1.2.0", "version: 1.1.0")).findings} == {"version.decreased"}


def test_a_break_with_the_major_step_still_needs_a_way_for_readers():
    two = ("version: 1.2.0", "version: 2.0.0")
    assert check(REMOVED, two).judged[0].state == "needs_path"
    tomb = ("slos:", "lifecycle: {removed: [{field: orders.note, since: 2.0.0}]}\nslos:")
    assert check(REMOVED, two, tomb, consumers=[]).passed
    late = check(REMOVED, two, tomb)
    assert late.judged[0].state == "needs_path"
    assert "Keep v1 until 2027-02-22" in late.judged[0].action
    kept = (
        "slos:",
        "lifecycle: {removed: [{field: orders.note, since: 2.0.0}], previous: {1: {sunset: 2027-03-01}}}\nslos:",
    )
    assert check(REMOVED, two, kept).passed


def test_an_announced_removal_is_excused_once_its_day_has_come_and_nobody_reads_it():
    old = edit(("note: string", "note: {type: string, deprecated: {sunset: 2026-11-01}}"))
    minor = ("version: 1.2.0", "version: 1.3.0")
    assert check(REMOVED, minor, old=old, consumers=[]).judged[0].state == "excused"
    assert check(REMOVED, minor, old=old, consumers=[]).passed
    assert not check(REMOVED, minor, old=old).passed
    assert not check(REMOVED, minor, old=old, consumers=None).passed
    early = edit(("note: string", "note: {type: string, deprecated: {sunset: 2026-12-01}}"))
    assert not check(REMOVED, minor, old=early, consumers=[]).passed


def test_a_loss_of_governance_is_blocked_even_with_a_waiver():
    untagged = ('tags: ["pii:email"]', "tags: []")
    fingerprint = check(untagged).judged[0].change.fingerprint
    waiver = Waiver(
        fingerprint=fingerprint,
        product="sales.orders",
        rule="pii.tag_removed",
        reason="because",
        owner="me",
        expires=TODAY,
    )
    verdict = check(untagged, ("version: 1.2.0", "version: 2.0.0"), waivers=[waiver])
    assert verdict.judged[0].state == "blocked"
    assert not verdict.passed


@pytest.mark.parametrize(
    "changes, passes",
    [
        ({}, True),
        ({"expires": date(2026, 11, 23)}, False),
        ({"expires": date(2027, 11, 23)}, False),
        ({"rule": "type.changed"}, False),
        ({"kind": "ack"}, False),
    ],
)
def test_a_waiver_counts_only_while_it_is_valid(changes, passes):
    fingerprint = check(REMOVED).judged[0].change.fingerprint
    data = {
        "fingerprint": fingerprint,
        "product": "sales.orders",
        "rule": "field.removed",
        "reason": "agreed",
        "owner": "me",
        "expires": TODAY,
    }
    assert check(REMOVED, waivers=[Waiver(**data | changes)]).passed is passes


def test_a_review_is_acknowledged_by_fingerprint(tmp_path):
    reworded = ("Gross amount.", "Net amount.")
    change = check(reworded).judged[0].change
    path = tmp_path / "w.yaml"
    append_waiver(
        path,
        Waiver(
            fingerprint=change.fingerprint,
            product="sales.orders",
            rule=change.rule,
            kind="ack",
            reason='said "so"',
            owner="me",
        ),
    )
    append_waiver(
        path, Waiver(fingerprint="0" * 12, product="sales.orders", rule="x", kind="ack", reason="old", owner="me")
    )
    verdict = check(reworded, waivers=load_waivers(path))
    assert verdict.passed
    assert [f.rule for f in verdict.findings] == ["waiver.unused"]


def test_below_one_the_minor_number_carries_breaks():
    old = edit(("version: 1.2.0", "version: 0.2.0"))
    assert check(REMOVED, ("version: 1.2.0", "version: 0.3.0"), old=old).passed
    assert not check(REMOVED, ("version: 1.2.0", "version: 0.2.1"), old=old).passed


def test_the_json_form_holds_every_documented_key():
    data = check(REMOVED).to_json()
    assert {
        "format",
        "product",
        "passed",
        "baselines",
        "new_version",
        "required_step",
        "declared_step",
        "findings",
        "waivers",
        "consumers",
        "changes",
    } <= set(data)
    expected = {"rule", "class", "effect", "state", "path", "before", "after", "message", "action", "producer_risk", "introduced", "ports", "fingerprint",
                "clashes_with", "location", "consumers"}  # fmt: skip
    assert expected == set(data["changes"][0])


def test_hostile_names_are_escaped():
    verdict = check(REMOVED, consumers=[Consumer("evil\n::error::x\x1b[31m", columns=frozenset(["note"]))])
    assert "\x1b" not in verdict.to_text()
    assert "\n::error" not in verdict.to_text()


def test_consumers_come_from_their_own_manifests():
    reader = Manifest.parse(
        RICH.replace(
            "name: orders\n",
            "name: audit\ntitle: Finance-Audit\ninputs: {o: {product: sales.orders, columns: [note]}}\n",
        )
    )
    found = ManifestConsumers([reader]).consumers("sales.orders")
    assert found == ConsumerSet(
        (Consumer("Finance-Audit", "sales.audit", frozenset(["note"]), contact="t@x.org"),), source="manifests"
    )


# Registries -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["git", "folder"])
def registry(request, tmp_path):
    if request.param == "folder":
        (tmp_path / "r").mkdir()
        return FolderRegistry(tmp_path / "r")
    run_git(tmp_path, "init", "-q", "-b", "main")
    run_git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@x", "commit", "-q", "--allow-empty", "-m", "start")
    return GitRegistry(tmp_path)


def test_a_registry_is_append_only_and_gates_every_version(registry):
    first = publish_contract(edit(), registry)
    assert first.written
    assert first.verdict.first_publication
    assert not publish_contract(edit(), registry).written
    more = edit(
        ("version: 1.2.0", "version: 1.3.0"), ("      note: string\n", "      note: string\n      extra: string\n")
    )
    assert publish_contract(more, registry).written
    assert registry.versions("sales.orders") == ("1.2.0", "1.3.0")
    back = edit(("version: 1.2.0", "version: 1.4.0"), REMOVED)
    refused = publish_contract(back, registry)
    assert not refused.verdict.passed
    assert {c for j in refused.verdict.judged for c in j.clashes_with} == {"1.2.0", "1.3.0"}
    registry.retire("sales.orders", "1.3.0")
    assert registry.versions("sales.orders") == ("1.2.0",)


def test_equal_versions_with_other_content_conflict(registry):
    publish_contract(edit(), registry)
    with pytest.raises(RegistryConflict):
        other = edit(("team: sales-data", "team: x"))
        registry.publish(Record("sales.orders", "1.2.0", other.digest(), other.dump()))


def test_an_edited_record_is_noticed(tmp_path):
    registry = FolderRegistry(tmp_path)
    publish_contract(edit(), registry)
    path = tmp_path / "sales" / "orders" / "1.2.0.json"
    path.write_text(path.read_text().replace("sales-data", "other"))
    with pytest.raises(RegistryTampered):
        check_contract(edit(("version: 1.2.0", "version: 1.3.0")), registry, today=TODAY)


def test_a_registry_that_cannot_be_read_is_no_first_publication(tmp_path):
    with pytest.raises(EnvironmentProblem):
        check_contract(edit(), FolderRegistry(tmp_path / "none"), today=TODAY)
    with pytest.raises(EnvironmentProblem):
        check_contract(edit(), GitRegistry(tmp_path), today=TODAY)


def test_a_shallow_clone_is_refused(tmp_path):
    origin = tmp_path / "o"
    origin.mkdir()
    run_git(origin, "init", "-q", "-b", "main")
    for n in range(2):
        run_git(origin, "-c", "user.name=t", "-c", "user.email=t@x", "commit", "-q", "--allow-empty", "-m", str(n))
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{origin}", str(tmp_path / "c")], check=True)
    with pytest.raises(EnvironmentProblem, match="fetch-depth: 0"):
        GitRegistry(tmp_path / "c").versions("sales.orders")


def test_an_unknown_version_names_those_there_are(registry):
    publish_contract(edit(), registry)
    with pytest.raises(MeshkitError, match=r"1\.2\.0"):
        registry.get("sales.orders", "9.9.9")


# Intervals ------------------------------------------------------------------------------------------------------------------------


def test_integer_bounds_are_sets_of_integers():
    assert of_bounds(None, None, 4, None, integer=True) == of_bounds(5, None, None, None, integer=True)
    assert compare([of_bounds(0, 10, None, None)], [of_bounds(0, None, None, 10)]) == "tightened"
    assert compare([Interval(0, 5)], [Interval(1, 6)]) == "both"


@pytest.mark.parametrize(
    "old, new, found",
    [("= 0", "< 10", "loosened"), ("> 4", ">= 5", "equal"), ("< 1 %", "<= 100 %", "loosened"), ("between 5 and 10", "between 6 and 9", "tightened"),
     ("!= 0", "> 0", "equal"), ("not between 2 and 4", "!= 3", "equal"), (">= 0", "< 5", "tightened")],
)  # fmt: skip
def test_thresholds_compare_as_sets_over_their_domain(old, new, found):
    assert compare(of_threshold(parse_threshold(old)), of_threshold(parse_threshold(new))) == found


def test_intervals_agree_with_brute_force():
    texts = ["= 3", "!= 3", "> 3", ">= 3", "< 3", "<= 3", "between 1 and 5", "not between 1 and 5", "= 0", "< 7"]
    for old in texts:
        for new in texts:
            a, b = ({n for n in range(40) if parse_threshold(t).holds(n)} for t in (old, new))
            expected = "equal" if a == b else "loosened" if a < b else "tightened" if b < a else "both"
            assert compare(of_threshold(parse_threshold(old)), of_threshold(parse_threshold(new))) == expected, (
                old,
                new,
            )


def test_a_fingerprint_depends_on_what_changed_only():
    change = Change("field.removed", "major", "loosens", (("object", "o"), ("field", "f")))
    assert change.marked("a.b", 1) == change.marked("a.b", 1)
    assert change.marked("a.b", 1) != change.marked("a.b", 2)
