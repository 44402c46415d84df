"""`meshkit provision plan | deploy` where no server is needed: exit codes, files, refusals."""

import json

import pytest
from provision_shop import file_product

from meshkit.cli import meshkit, run

LAKE = 'sources: {lake: {kind: s3, endpoint: "http://127.0.0.1:9", key: k, secret: s, serves: ["s3://"]}}\n'


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs a command in a folder with a mesh.yaml and a manifest at `location`."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, location="data/*.parquet", mesh=LAKE):
        (tmp_path / "mesh.yaml").write_text("name: acme\n" + mesh)
        (tmp_path / "manifest.yaml").write_text(file_product(location=location).dump())
        code = run(meshkit, ["provision", *arguments, "--config", "mesh.yaml"])
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return call


def test_a_plan_is_text_json_and_a_file(command, tmp_path):
    """`--out` writes the JSON form beside the text."""
    code, out, _ = command("plan", "manifest.yaml", "--out", "plan.json")
    assert (code, out.splitlines()[-1]) == (0, "Plan: 0 to create, 0 to update, 0 to delete, 0 conflicts.")
    assert json.loads((tmp_path / "plan.json").read_text())["format"] == "meshkit.provision.plan/1"


def test_a_port_without_resource_fails_a_strict_plan_only(command):
    """It is printed in both."""
    assert command("plan", "manifest.yaml", location="gs://b/x/*.parquet")[0] == 0
    code, out, _ = command("plan", "manifest.yaml", "--strict", location="gs://b/x/*.parquet")
    assert code == 1
    assert "! port lake not provisioned: no backend for gs:// on target local" in out


def test_nothing_to_do_needs_no_yes(command):
    """A deploy without changes asks nobody."""
    code, out, _ = command("deploy", "manifest.yaml")
    assert code == 0
    assert "Deployed in" in out


@pytest.mark.parametrize(
    ("more", "location", "code", "text"),
    [
        (["--target", "prod"], "data/*.parquet", 2, "provision.unknown_target"),
        ([], "s3://acme-lake/*.parquet", 1, "provision.whole_bucket"),
        ([], "s3://acme-lake/sales/orders/*.parquet", 3, "provision.unavailable"),
    ],
)
def test_exit_codes(command, more, location, code, text):
    """2 usage, 1 a manifest that can't become resources, 3 a server that does not answer."""
    found, _, err = command("deploy", "manifest.yaml", "--yes", *more, location=location)
    assert (found, text in err) == (code, True)


def test_every_command_has_an_example(capfd):
    """In its help."""
    for name in ("plan", "deploy"):
        run(meshkit, ["provision", name, "--help"])
        assert "meshkit provision" in capfd.readouterr().out
