"""The manifest: the design's example, every problem with its place, texts to the letter."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError
from meshkit.manifest import Manifest, ManifestError, scaffold, validate
from meshkit.manifest.patterns import pattern_problem
from meshkit.types import parse_type

FULL = (Path(__file__).parent / "full.yaml").read_text()


def diagnostics(text):
    with pytest.raises(ManifestError) as caught:
        Manifest.parse(text, source="m.yaml")
    return caught.value.diagnostics


def edited(old, new):
    assert FULL.count(old) >= 1, old
    return FULL.replace(old, new, 1)


def test_the_example_of_the_design_reads_whole():
    m = Manifest.parse(FULL)
    assert (m.id, m.urn, m.versioned_urn, m.major) == (
        "sales.orders",
        "urn:mesh:sales:orders",
        "urn:mesh:sales:orders:v1",
        1,
    )
    fields = m.objects["orders"].fields
    assert fields["created_at"].data_type == parse_type("timestamptz")
    assert fields["lines"].data_type == parse_type("list<struct<sku: string required, price: decimal(12,2)>>")
    assert (fields["total"].min, m.objects["orders"].key) == (0, ("order_id",))
    assert m.location("lake") == "s3://acme-lake/sales/orders/v1/*.parquet"
    assert m.slos["dw_age"].kind == "freshness"
    assert m.slos["freshness"].within.seconds == 3600
    assert m.inputs["raw_orders"].version.contains("2.5.0")


def test_dump_reads_back_equal_in_both_forms():
    m = Manifest.parse(FULL)
    assert Manifest.parse(m.dump()) == m
    assert Manifest.parse(m.dump(format="json")) == m
    assert Manifest.parse(m.dump()).digest() == m.digest()


texts = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@settings(deadline=None, max_examples=120)
@given(
    texts,
    texts,
    st.dictionaries(texts, st.one_of(texts, st.integers(), st.booleans(), st.lists(texts, max_size=3)), max_size=4),
    texts,
)
def test_any_text_survives_a_dump(purpose, field, custom, enum):
    m = Manifest.parse(FULL)
    data = m.plain()
    data["description"]["purpose"] = "x" + purpose
    data["schema"]["orders"]["fields"][field] = {
        "type": "string",
        "enum": [enum],
        "description": purpose,
        "custom": custom,
    }
    try:
        changed = Manifest.parse(json.dumps(data))
    except ManifestError:
        return  # some texts are refused (variables, control characters); never a crash
    assert Manifest.parse(changed.dump()) == changed


def test_every_problem_is_reported_at_once_with_place_and_remedy():
    text = (
        edited("status: active", "staus: x\nstatus: activ")
        .replace("target: 99.9%", "target: 99.9")
        .replace("int64", "in64")
    )
    found = {(d.code, d.line, d.column): d for d in diagnostics(text)}
    assert [(c, n, k) for c, n, k in found] == [
        ("manifest.unknown_key", 6, 1),
        ("manifest.value", 7, 9),
        ("manifest.type", 16, 17),
        ("manifest.quantity", 29, 40),
    ]
    hints = [d.hint or d.message for d in found.values()]
    assert [hints[0], hints[1], hints[3]] == [
        "Did you mean `status`?",
        "Did you mean 'active'?",
        "Write 99.9% or a number from 0 to 1.",
    ]
    assert "Did you mean 'int64'?" in hints[2]


@pytest.mark.parametrize(
    "old, new, code",
    [
        ("domain: sales ", "domain: Sales ", "manifest.name"),
        ("name: orders ", "name: v1 ", "manifest.name"),
        ("version: 1.2.0", "version: 1.2", "manifest.version"),
        ("key: 1}", "key: 2}", "manifest.key"),
        ("required: true, key: 1}", "key: 1}", "manifest.key"),
        ("min: 0,", "min: x,", "manifest.bound"),
        ("min: 0,", "min: 5, max: 4,", "manifest.bound"),
        ("max_length: 255", "min_items: 2", "manifest.bound"),
        ('pattern: "^[^@]+@[^@]+$"', 'pattern: "(?<=a)b"', "manifest.pattern"),
        ('tags: ["pii:email"]', 'tags: ["PII:Email"]', "manifest.value"),
        ("field: email,", "field: emial,", "manifest.reference"),
        ('must: "= 0"', "must: none", "manifest.quantity"),
        ('metric: missing_values, field: email, args: {values: ["", n/a]}, ', "", "manifest.quality"),
        ("object: orders}\n  warehouse", "object: order}\n  warehouse", "manifest.reference"),
        ("s3://acme-lake/sales", "s3://u:p@acme-lake/sales", "manifest.password"),
        ("format: parquet", "format: parket", "manifest.port"),
        ("/v{major}/", "/v{mayor}/", "manifest.location"),
        ("bigquery://acme-dw", "s3://acme-dw", "manifest.port"),
        ("{kind: freshness, port", "{kind: freshnes, port", "manifest.slo"),
        ("within: 4h, ", "", "manifest.slo"),
        ("port: warehouse", "port: warehous", "manifest.reference"),
        ("field: orders.created_at", "field: orders.state", "manifest.slo"),
        ("product: shop.checkout", "product: sales.orders", "manifest.reference"),
        ("product: shop.checkout, ", "", "manifest.input"),
        ("field: orders.discount", "field: orders.total", "tombstone.reused"),
        ("purpose: Orders placed in the web shop.", 'purpose: "TODO: say"', "manifest.placeholder"),
        ("usage: Revenue reporting.", 'usage: "see ${HOME}"', "manifest.variable"),
        ("required: true, enum", "required: True, enum", "manifest.flag"),
        ("unit: EUR", "unit: null", "manifest.null"),
        (
            'support: [{channel: "#sales-data", tool: slack, url: "https://chat.company.com/sales-data"}]',
            "support: []",
            "manifest.missing",
        ),
        ("sunset: 2027-03-01, replacement", "sunset: soon, replacement", "manifest.day"),
    ],
)
def test_each_broken_promise_has_its_code_and_a_place(old, new, code):
    found = diagnostics(edited(old, new))
    assert code in {d.code for d in found}
    assert all(d.line > 1 and d.message and d.file == "m.yaml" for d in found)


@pytest.mark.parametrize(
    "key",
    [
        "apiVersion",
        "kind",
        "domain",
        "name",
        "version",
        "status",
        "owner",
        "description",
        "support",
        "schema",
        "ports",
        "slos",
    ],
)
def test_each_mandatory_key_is_missed_by_name(key):
    data = Manifest.parse(FULL).plain()
    del data[key]
    assert any(d.code == "manifest.missing" and key in d.message for d in diagnostics(json.dumps(data)))


def test_no_data_value_stands_in_an_error():
    text = str(ManifestError(diagnostics(edited("min: 0,", "min: geheim123,"))))
    assert "geheim123" not in text


def test_the_scaffold_is_a_valid_draft_and_its_report_is_as_documented(tmp_path):
    (tmp_path / "manifest.yaml").write_text(scaffold(name="customer_orders", domain="sales"))
    assert validate([tmp_path / "manifest.yaml"]).to_text() == (
        "[OK] Name: customer_orders\n[OK] Domain: sales\n[OK] Output Ports: 2 (S3/Parquet, BigQuery)\n"
        "[OK] Quality SLA: 99.9% freshness\n[OK] Owner: sales-team@company.com\nValidation Successful!"
    )


def test_a_failure_replaces_its_line(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(
        scaffold(name="customer_orders", domain="sales").replace(
            "{team: sales-data, contact: sales-team@company.com}", "{team: sales-data}"
        )
    )
    lines = validate([path]).to_text().splitlines()
    assert lines[-2:] == [
        f"[FAIL] Owner: `contact` is missing in `owner` ({path}:7:8). Add `contact`.",
        "Validation Failed: 1 error",
    ]


@pytest.mark.parametrize(
    "name, domain",
    [("Orders", "sales"), ("v2", "sales"), ("orders", "a.b.c.d"), ("or ders", "sales"), ("orders", "sales.v1-x")],
)
def test_the_scaffold_refuses_names_the_format_refuses(name, domain):
    with pytest.raises(UsageError):
        scaffold(name=name, domain=domain)


def test_folders_and_globs_give_a_line_per_file_in_path_order(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.yaml").write_text(scaffold(name=f"orders_{name}", domain="sales"))
    (tmp_path / "a" / "manifest.yaml").write_text("kind: [")
    report = validate([tmp_path, str(tmp_path / "*" / "manifest.yaml")])
    lines = report.to_text().splitlines()
    assert lines[0].startswith("[FAIL] no valid YAML")
    assert f"{tmp_path}/a/manifest.yaml:2:1" in lines[0]
    assert lines[1:] == [f"[OK] {tmp_path}/b/manifest.yaml: sales.orders_b 0.1.0", "Validation Failed: 1 error"]
    assert report.exit_code == 1


def test_an_unreadable_path_is_a_problem_of_the_environment(tmp_path):
    with pytest.raises(EnvironmentProblem):
        validate([tmp_path / "none.yaml"])
    with pytest.raises(EnvironmentProblem):
        validate([tmp_path])


def product(name, inputs):
    lines = "".join(f"  {k}: {v}\n" for k, v in inputs.items())
    return scaffold(name=name, domain="d").replace("schema:", f"inputs:\n{lines}schema:" if inputs else "schema:", 1)


def test_resolve_finds_dangling_inputs_cycles_and_twins(tmp_path):
    products = {
        "a": product("a", {"x": "{product: d.b, columns: [id, nope]}", "y": "{product: d.zz}"}),
        "b": product("b", {"x": '{product: d.a, version: ">=3"}'}),
        "b2": product("b", {}),
        "c": product("c", {"x": "{product: d.c2}"}),
        "c2": product("c2", {"x": "{product: d.c}"}),
    }
    for name, text in products.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.yaml").write_text(text)
    report = validate([tmp_path], resolve=True)
    codes = sorted(d.code for d in report.diagnostics)
    assert codes == [
        "input.cycle",
        "input.cycle",
        "input.unresolved",
        "input.unresolved",
        "input.unresolved",
        "manifest.duplicate_product",
    ]


@pytest.mark.parametrize("pattern", ["a(?=b)", r"(a)\1", "a++", r"\Aab", "(?i)a", "[", "a{1001}", "x" * 2001])
def test_patterns_outside_the_common_subset_are_refused(pattern):
    assert pattern_problem(pattern)


@pytest.mark.parametrize("pattern", [r"^[^@]+@[^@]+$", r"\d{3}-\d{4}", "(?:ab)+", r"\\A", "a|b", r"[\w.-]+"])
def test_common_patterns_are_accepted(pattern):
    assert pattern_problem(pattern) is None


def test_json_schema_accepts_what_the_loader_accepts_and_knows_the_short_form():
    import jsonschema_rs

    schema = Manifest.json_schema()
    validator = jsonschema_rs.validator_for(schema)
    data = json.loads(Manifest.parse(FULL).dump(format="json"))
    data["schema"]["orders"]["fields"]["created_at"] = "timestamptz"
    errors = [f"{e.instance_path}: {e.message}" for e in validator.iter_errors(data)]
    assert errors == []
    data["staus"] = "x"
    assert not validator.is_valid(data)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_only_meshkit_errors_escape_from_mutated_files(data):
    """A fuzzer over the example: cut, doubled and foreign lines."""
    lines = FULL.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        action = data.draw(st.sampled_from(["drop", "double", "cut", "swap"]))
        if action == "drop":
            del lines[index]
        elif action == "double":
            lines.insert(index, lines[index])
        elif action == "cut":
            lines[index] = lines[index][: data.draw(st.integers(0, len(lines[index])))]
        else:
            lines[index] = lines[index].replace(
                data.draw(st.sampled_from(["{", "}", "[", "]", ":", ",", '"'])), data.draw(st.text(max_size=3))
            )
    try:
        Manifest.parse("\n".join(lines))
    except MeshkitError:
        pass
