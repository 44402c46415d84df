"""The command line as a new user meets it."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from meshkit.cli import _COMMANDS, meshkit, run


def call(*args):
    shown = subprocess.run([sys.executable, "-m", "meshkit", *args], capture_output=True, text=True)
    return shown.returncode, shown.stdout, shown.stderr


def test_init_then_validate_prints_the_documented_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("init", "--name", "customer_orders", "--domain", "sales") == (0, "Created manifest.yaml\n", "")
    code, out, err = call("validate", "manifest.yaml")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Validation Successful!"
    code, _, err = call("init", "--name", "customer_orders", "--domain", "sales")
    assert code == 2
    assert "--force" in err


def test_validate_as_json_has_a_versioned_form(tmp_path):
    (tmp_path / "m.yaml").write_text("kind: DataProduct\n")
    result = CliRunner().invoke(meshkit, ["validate", str(tmp_path / "m.yaml"), "--format", "json"])
    report = json.loads(result.stdout)
    assert report["format"] == "meshkit.manifest.report/1"
    assert {"code", "severity", "message", "hint", "file", "line", "column", "path"} == set(report["diagnostics"][0])


def test_exit_codes_tell_violation_usage_and_environment_apart(tmp_path, capsys):
    (tmp_path / "m.yaml").write_text("kind: DataProduct\n")
    assert run(meshkit, ["validate", str(tmp_path / "m.yaml")]) == 1
    assert run(meshkit, ["validate"]) == 2
    assert run(meshkit, ["validate", str(tmp_path / "none.yaml")]) == 3
    assert run(meshkit, ["validat"]) == 2
    assert "Did you mean 'validate'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_loads_and_its_help_has_an_example(name):
    result = CliRunner().invoke(meshkit, [name, "--help"])
    assert result.exit_code == 0, result.output
    command = meshkit.get_command(None, name)
    shown = [command] if not hasattr(command, "commands") else list(command.commands.values())
    for item in shown:
        assert "meshkit " in (item.help or "") or "platform-deploy" in (item.help or ""), item.name
