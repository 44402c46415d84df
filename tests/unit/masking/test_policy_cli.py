"""`meshkit policy` and `meshkit audit` on files alone."""

import json

import pytest
from click.testing import CliRunner
from masking_shop import FIELDS, HEAD, TAIL

from meshkit.cli import meshkit, run

POLICY = """version: 1
grants: [{id: g1, products: [sales.*], roles: [analyst, admin]}]
rules:
  - {id: r1, tags: ["pii:email"], roles: [admin], mask: clear}
  - {id: r2, tags: ["pii:email"], mask: email.partial}
row_filters:
  - {id: f1, products: [sales.orders], roles: [analyst], filter: "country in (:countries)"}
  - {id: f2, products: [sales.orders], roles: [admin], filter: all}
tests: [{as: {roles: [admin]}, product: sales.orders, expect: {columns: {email: clear}, row_filters: [f2]}}]
"""


def call(capsys, *args):
    code = run(meshkit, list(args))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with a product, a policy and a mesh.yaml."""
    (tmp_path / "products").mkdir()
    (tmp_path / "policies").mkdir()
    (tmp_path / "products" / "manifest.yaml").write_text(HEAD.format(domain="sales", name="orders") + FIELDS + TAIL)
    (tmp_path / "policies" / "contact.yaml").write_text(POLICY)
    (tmp_path / "mesh.yaml").write_text(
        "name: acme\nproducts: [./products]\npolicies: {paths: [./policies]}\n"
        "auth: {dev_principals: {analyst: {roles: [analyst], attributes: {countries: [FR]}}}}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_policy_test_passes_and_fails(shop, capsys):
    """Exit 0 and 1."""
    assert call(capsys, "policy", "test")[:2] == (
        0,
        f"ok      sales.orders as admin  ({shop}/policies/contact.yaml:9:9)\n1 of 1 tests passed\n",
    )
    (shop / "policies" / "contact.yaml").write_text(POLICY.replace("mask: clear", "mask: redact"))
    code, out, _ = call(capsys, "policy", "test", "policies", "--products", "products", "--format", "json")
    assert code == 1
    assert json.loads(out)["tests"][0]["problems"] == ["email: expected clear, got redact by r1"]


def test_broken_policies_are_a_usage_error_with_places(shop, capsys):
    """Exit 2."""
    (shop / "policies" / "contact.yaml").write_text("version: 1\nrule: []\n")
    code, out, err = call(capsys, "policy", "test")
    assert (code, out) == (2, "")
    assert "contact.yaml:2:1). Did you mean `rules`?" in err


def test_why_takes_a_dev_principal_or_a_role(shop, capsys):
    """Attributes come from mesh.yaml."""
    code, out, _ = call(capsys, "policy", "why", "sales.orders.email", "--as", "analyst")
    assert code == 0
    assert "mask    email.partial  by r2  (baseline)" in out
    assert "rows    f1  country IN ('FR')" in out
    assert call(capsys, "policy", "why", "sales.orders.email", "--as", "admin", "--format", "json")[0] == 0
    assert call(capsys, "policy", "why", "sales.orders.nope", "--as", "admin")[0] == 2
    assert call(capsys, "policy", "why", "sales.orders.email", "--as", "intern")[0] == 1


def test_policies_must_be_named_somewhere(tmp_path, monkeypatch, capsys):
    """Without mesh.yaml and paths there is nothing to test."""
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "policy", "test")[0] == 2


def test_audit_verify_and_show(shop, capsys):
    """The folder of `audit.path` by default."""
    from datetime import UTC, datetime

    from meshkit.masking import AuditChain
    from meshkit.ports import AuditRecord, Principal

    assert call(capsys, "audit", "verify")[0] == 3
    chain = AuditChain(shop / ".mesh" / "audit")
    chain.append(
        AuditRecord(
            datetime.now(UTC),
            "q-1",
            Principal("ana"),
            "cli",
            "advisory",
            "denied",
            "SELECT 1",
            code="federation.unknown_table",
        )
    )
    chain.close()
    assert call(capsys, "audit", "verify")[:2] == (0, "ok: 1 record, 1 chain, 1 file\n")
    code, out, _ = call(capsys, "audit", "show", "--query", "q-1", "--format", "json")
    assert code == 0
    assert json.loads(out)["records"][0]["code"] == "federation.unknown_table"
    assert call(capsys, "audit", "show", "--query", "q-2")[0] == 1
    (file,) = (shop / ".mesh" / "audit").glob("*.jsonl")
    file.write_text(file.read_text().replace("denied", "allowe"))
    assert call(capsys, "audit", "verify", str(file))[0] == 1


def test_every_command_has_help_with_an_example():
    """`--help`."""
    for command in (
        ["policy"],
        ["policy", "test"],
        ["policy", "why"],
        ["audit"],
        ["audit", "verify"],
        ["audit", "show"],
    ):
        result = CliRunner().invoke(meshkit, [*command, "--help"])
        assert result.exit_code == 0
        assert f"meshkit {command[0]}" in result.output


def test_the_how_to_shows_what_happens(tmp_path, monkeypatch, capsys):
    """The YAML and Python of docs/how-to/mask-emails-for-analysts.md, run as they stand."""
    import re
    from pathlib import Path

    text = (Path(__file__).parents[3] / "docs" / "how-to" / "mask-emails-for-analysts.md").read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "products").mkdir()
    (tmp_path / "policies").mkdir()
    (tmp_path / "products" / "manifest.yaml").write_text(HEAD.format(domain="sales", name="orders") + FIELDS + TAIL)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "policies" / "contact-data.yaml").write_text(yaml)
    code, out, _ = call(capsys, "policy", "test", "policies/", "--products", "products/")
    assert code == 0, out
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(snippet, "how-to", "exec"), {})
    assert capsys.readouterr().out == "j***@gmail.com\njohn.doe@gmail.com\n"
    code, out, _ = call(
        capsys,
        "policy",
        "why",
        "sales.orders.email",
        "--as",
        "analyst",
        "--policies",
        "policies",
        "--products",
        "products",
    )
    assert code == 0
    assert out in text
