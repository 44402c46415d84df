"""Files of `.mesh/`, the status and doctor values, and the command line without servers."""

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from meshkit.cli import meshkit, run
from meshkit.config import load_config
from meshkit.local import Stack, meshfile
from meshkit.local.capabilities import capabilities
from meshkit.local.doctor import Check, DoctorReport, check_directory, check_leftovers, check_machine
from meshkit.local.embedded import _can_enter
from meshkit.local.errors import BadStackFile, DirectoryProblem, WrongRuntime
from meshkit.local.graph import Account
from meshkit.local.housework import LOG_BYTES, rotate_logs
from meshkit.local.layout import Layout, StackFile, load_stack_file, make_directory, write_file
from meshkit.local.status import DownReport, ServiceStatus, StackStatus
from meshkit.manifest import ManifestError

ENDPOINTS = meshfile.Endpoints(
    postgres_dsn="postgresql://postgres:pw@127.0.0.1:41233/postgres", s3_endpoint="http://127.0.0.1:40017",
    s3_key="the-key", s3_secret="the-secret", kafka_bootstrap="127.0.0.1:38211",
)  # fmt: skip


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "my mesh" / ".mesh")
    make_directory(made)
    return made


def test_the_directory_is_closed_and_ignored_by_git(layout):
    """0700, `.gitignore` of one star; secrets 0600, made once."""
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o700
    assert (layout.root / ".gitignore").read_text() == "*\n"
    secret = layout.secret("s3.key")
    assert layout.secret("s3.key") == secret
    assert stat.S_IMODE(layout.credential("s3.key").stat().st_mode) == 0o600


def test_a_file_is_replaced_whole_or_not_at_all(layout):
    """A write that fails leaves the old text and no draft behind."""
    path = layout.root / "x"
    write_file(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_file(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in layout.root.iterdir() if p.name.startswith(".x")] == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{broken", "can't be read"),
        ("[]", "has format"),
        ('{"format": "meshkit.local.stack/2"}', "'meshkit.local.stack/2'"),
        ('{"format": "meshkit.local.stack/1", "runtime": "vm", "id": "x"}', "damaged at id, runtime"),
    ],
)
def test_a_bad_stack_file_is_refused_and_left_alone(layout, text, what):
    """Exit 3, the path, and no change: the data beside it may be precious."""
    layout.stack.write_text(text)
    with pytest.raises(BadStackFile, match=what) as caught:
        Stack.open(layout.root)
    assert caught.value.exit_code == 3
    assert layout.stack.read_text() == text


def test_data_without_stack_file_is_not_taken_for_a_new_stack(layout):
    """A new id and new passwords would make the old data unreadable."""
    (layout.services / "postgres").mkdir()
    with pytest.raises(BadStackFile, match="missing but there is data"):
        load_stack_file(layout)


def test_another_runtime_on_an_existing_directory_is_a_usage_error(layout):
    """Exit 2 names both runtimes."""
    write_file(layout.stack, StackFile(runtime="embedded").model_dump_json())
    with pytest.raises(WrongRuntime, match="runtime embedded, not docker") as caught:
        Stack.open(layout.root, "docker")
    assert caught.value.exit_code == 2


def test_a_file_in_place_of_the_directory_is_an_environment_problem(tmp_path):
    """`--dir` that can't be a folder."""
    (tmp_path / "f").write_text("")
    with pytest.raises(DirectoryProblem):
        make_directory(Layout(tmp_path / "f" / ".mesh"))


def test_the_generated_file_is_a_valid_mesh_and_holds_no_secret(layout):
    """`load_config` reads it; secrets are found through files beside it."""
    for name, text in (("s3.key", "the-key"), ("s3.secret", "the-secret")):
        write_file(layout.credential(name), text)
    meshfile.write_mesh_file(layout, ENDPOINTS)
    text = layout.mesh.read_text()
    assert not any(word in text for word in ("the-key", "the-secret", ":pw@"))
    config = load_config(layout.mesh)
    assert config.is_local
    assert config.sources["local_pg"].dsn.reveal() == ENDPOINTS.postgres_dsn
    assert config.sources["lake"].storage_options()["secret"] == "the-secret"
    assert config.sources["bus"].delivery == "at_least_once"
    assert config.source_for("s3://any/x", port="p")[0] == "lake"
    assert config.state_url == f"sqlite:///{layout.root}/state.db"


def test_a_hand_written_mesh_is_extended_and_keeps_its_own_settings(layout):
    """Its principals and default stay, sources of both are there, the file is never edited."""
    above = layout.root.parent / "mesh.yaml"
    written = "apiVersion: meshkit/v1\nkind: Mesh\nname: acme\nenvironment: prod\ndefault_principal: boss\n"
    above.write_text(written)
    meshfile.write_mesh_file(layout, ENDPOINTS)
    config = load_config(layout.mesh)
    assert (config.name, config.environment, config.default_principal) == ("acme", "local", "boss")
    assert set(config.sources) == {"local_pg", "lake", "bus"}
    assert above.read_text() == written


@pytest.mark.parametrize(("keys", "there"), [(None, True), (("auth",), False)])
def test_dev_principals_are_written_where_nobody_wrote_principals(layout, keys, there):
    """`admin` and `analyst` for a mesh without `auth`; a section of ours would replace theirs as a whole."""
    text = meshfile.render_mesh_file(layout, ENDPOINTS, base_keys=keys, sections=("auth",))
    assert ("  dev_principals:\n" in text) is there


def test_the_environment_has_only_what_the_stack_has(tmp_path):
    """No empty variable for a service that was not asked for."""
    only_kafka = meshfile.render_environment(meshfile.Endpoints(kafka_bootstrap="127.0.0.1:1"), tmp_path / "mesh.yaml")
    assert set(only_kafka) == {"MESHKIT_CONFIG", "MESHKIT_KAFKA_BOOTSTRAP"}
    assert set(meshfile.render_environment(ENDPOINTS, tmp_path)) == {
        "MESHKIT_CONFIG", "MESHKIT_SOURCE_DSN", "MESHKIT_KAFKA_BOOTSTRAP", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY", "AWS_REGION",
    }  # fmt: skip
    assert "pw" not in repr(ENDPOINTS)
    assert "the-secret" not in repr(ENDPOINTS)


def test_logs_are_rotated_in_place(layout):
    """Three files of 10 MB; the writer goes on in the same file."""
    log = layout.log("s3")
    with log.open("ab") as writer:
        for turn in (b"a", b"b", b"c"):
            writer.write(turn * (LOG_BYTES + 1))
            writer.flush()
            rotate_logs(layout)
        writer.write(b"new")
    assert log.read_bytes() == b"new"
    assert (layout.logs / "s3.log.1").read_bytes()[:1] == b"c"
    assert (layout.logs / "s3.log.2").read_bytes()[:1] == b"b"
    assert len(list(layout.logs.iterdir())) == 3


def status(state: str = "ready", error: str | None = None) -> StackStatus:
    service = ServiceStatus(
        "s3",
        "s3 (seaweedfs 4.48)",
        "4.48",
        state,
        "http://127.0.0.1:40017",
        pid=4121,
        ready_seconds=1.1,
        last_error=error,
    )
    return StackStatus(state, "embedded", (service,), capabilities("embedded"), notes=("<b>note</b>",))


def test_status_prints_ready_times_and_what_is_not_enforced():
    """The documented lines; exit 1 unless ready."""
    lines = status().to_text().splitlines()
    assert "s3 (seaweedfs 4.48)" in lines[1]
    assert "ready 1.1 s" in lines[1]
    assert lines[2] == "Not enforced here: s3.roles, s3.public_access_block, tls   (meshkit status --capabilities)"
    assert status().exit_code == 0
    assert status("degraded", "no answer").exit_code == 1
    assert "no answer" in status("degraded", "no answer").to_text()
    assert "<table>" in status()._repr_html_()


def test_status_json_has_the_documented_keys():
    """`meshkit.local.status/1`."""
    found = status().to_json()
    assert found["format"] == "meshkit.local.status/1"
    assert found["services"][0] == {
        "name": "s3", "version": "4.48", "state": "ready", "pid": 4121, "url": "http://127.0.0.1:40017",
        "ready_seconds": 1.1, "restarts": 0, "pss_bytes": 0, "last_error": None,
    }  # fmt: skip
    assert found["capabilities"]["kafka.transactions"] == {"state": "absent", "note": "publishers run at_least_once"}
    json.dumps(found)


def test_a_survivor_makes_down_fail():
    """Exit 1 with the service's name; data is not called removed."""
    report = DownReport(was_running=True, wiped=False, survivors=("s3",))
    assert report.exit_code == 1
    assert "s3" in report.to_text()
    assert DownReport(was_running=False, wiped=True).to_text() == "No local mesh was running; its data is removed."


def test_the_doctor_fails_on_a_failed_check_only():
    """Warnings are fine; JSON as documented."""
    warned = DoctorReport((Check("a", "ok", "m"), Check("b", "warn", "m", "fix it")))
    assert (warned.ok, warned.exit_code) == (True, 0)
    failed = DoctorReport((*warned.checks, check_leftovers(2, running=False)))
    assert failed.exit_code == 1
    assert failed.to_json()["checks"][1] == {"id": "b", "result": "warn", "message": "m", "fix": "fix it"}
    assert check_leftovers(2, running=True).result == "ok"


def test_each_runtime_is_asked_for_what_it_needs(monkeypatch):
    """jvm wants homes, docker an engine that answers: a client alone is none."""
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setenv("PATH", os.defpath)
    by_id = {c.id: c for c in check_machine("jvm")}
    assert {"java", "kafka", "trino", "mvn"} <= set(by_id)
    assert by_id["kafka"].result == "fail"
    monkeypatch.setenv("PATH", "")
    assert {c.id: c.result for c in check_machine("docker")}["engine"] == "fail"
    assert "engine" not in {c.id for c in check_machine("embedded")}


def test_the_doctor_checks_a_directory_that_does_not_exist_yet(tmp_path):
    """Its nearest existing parent decides; nothing is made."""
    checks = {c.id: c.result for c in check_directory(Layout(tmp_path / "x" / "y" / ".mesh"))}
    assert checks == {"directory": "ok", "disk": "ok"}
    assert not (tmp_path / "x").exists()


def test_a_closed_parent_folder_hides_programs_from_another_user(tmp_path):
    """Then Postgres is copied to where that user can go; modes of parents are never changed."""
    inner = tmp_path / "closed" / "programs"
    inner.mkdir(parents=True)
    inner.chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    other = Account("other", os.getuid() + 1, os.getgid() + 1)
    assert not _can_enter(inner, other)
    assert _can_enter(Path("/usr"), other)


def test_wiping_without_terminal_needs_yes(tmp_path):
    """Exit 2 and nothing removed; status of nothing is down, exit 1."""
    where = ["--dir", str(tmp_path / ".mesh")]
    runner = CliRunner()
    result = runner.invoke(meshkit, ["down", "--wipe", *where])
    assert getattr(result.exception, "code", "") == "local.not_confirmed"
    assert runner.invoke(meshkit, ["status", *where], standalone_mode=False).return_value == 1
    assert not (tmp_path / ".mesh").exists()


def test_unknown_services_are_named_on_the_command_line(tmp_path, capsys):
    """Exit 2 lists the known ones."""
    assert run(meshkit, ["up", "--only", "kafka", "--dir", str(tmp_path / ".mesh")]) == 2
    assert "Known are: postgres, s3, broker" in capsys.readouterr().err


def test_broken_products_stop_before_anything_starts(tmp_path):
    """All problems of all manifests come first; no server is started for them."""
    (tmp_path / "manifest.yaml").write_text("kind: DataProduct\n")
    with pytest.raises(ManifestError, match="`domain` is missing"):
        Stack.open(tmp_path / ".mesh").up(tmp_path)
    assert not (tmp_path / ".mesh").exists()


def test_compose_is_printed_without_secrets_and_without_a_directory(tmp_path):
    """`--print` writes nothing to disk."""
    result = CliRunner().invoke(meshkit, ["up", "--runtime", "docker", "--print", "--dir", str(tmp_path / ".mesh")])
    assert result.output.startswith("name: meshkit-local\n")
    assert "PASSWORD=" not in result.output
    assert not (tmp_path / ".mesh").exists()
