"""mesh.yaml: places in errors, secrets that never show, which source serves a port."""

import pytest

from meshkit.config import ConfigError, Settings, find_config, load_config, parse_config
from meshkit.errors import EnvironmentProblem, MeshkitError

TEXT = """\
name: acme
sources:
  pg: {kind: postgres, dsn: "postgresql://u:geheim@127.0.0.1:5432/sales", serves: ["postgresql://db.sales/sales"], logins: {analyst: "env:PG_ANALYST"}}
  lake: {kind: s3, endpoint: "http://127.0.0.1:1", key: "env:S3_KEY", secret: "file:s3.secret"}
  special: {kind: s3, bucket: special}
"""


def test_the_longest_prefix_serves_a_location_and_ends_at_a_separator():
    config = parse_config(TEXT)
    assert config.source_for("s3://special/x")[0] == "special"
    assert config.source_for("s3://other/x")[0] == "lake"
    assert config.source_for("postgresql://db.sales/sales/public.orders")[0] == "pg"
    assert config.source_for("data/x.csv") is None
    with pytest.raises(MeshkitError, match=r"mesh\.no_source: port p .*sources"):
        config.source_for("postgresql://db.sales/sales2/public.orders", port="p")


def test_equal_prefixes_are_ambiguous():
    config = parse_config("sources: {a: {kind: s3}, b: {kind: s3}}\n")
    with pytest.raises(MeshkitError, match=r"mesh\.ambiguous_source"):
        config.source_for("s3://x/y")


def test_all_problems_are_reported_with_places_and_nearest_names():
    with pytest.raises(ConfigError) as caught:
        parse_config(
            "nam: acme\nsources:\n  a: {kind: postgre, dsn: x}\n  b: {kind: s3, endpont: x}\n", source="mesh.yaml"
        )
    text = str(caught.value)
    assert "unknown key `nam` (mesh.yaml:1:1). Did you mean `name`?" in text
    assert "(mesh.yaml:3:6)" in text and "postgres" in text
    assert "`endpont` (mesh.yaml:4:17)" in text


def test_secrets_are_read_at_use_and_never_shown(tmp_path, monkeypatch):
    (tmp_path / "mesh.yaml").write_text(TEXT)
    (tmp_path / "s3.secret").write_text("topsecret\n")
    config = load_config(tmp_path / "mesh.yaml")
    lake, pg = config.sources["lake"], config.sources["pg"]
    with pytest.raises(EnvironmentProblem, match="S3_KEY"):
        lake.storage_options()
    monkeypatch.setenv("S3_KEY", "k")
    assert lake.storage_options()["secret"] == "topsecret"
    assert "geheim" not in repr(config) and "topsecret" not in repr(config)
    monkeypatch.setenv("PG_ANALYST", "ana:pw")
    assert pg.login(("analyst",)) == "postgresql://ana:pw@127.0.0.1:5432/sales"
    assert pg.login(()) == "postgresql://u:geheim@127.0.0.1:5432/sales"


def test_variables_are_filled_in_and_a_missing_one_is_named(monkeypatch):
    monkeypatch.setenv("MESH_NAME", "prod")
    monkeypatch.delenv("NOT_THERE", raising=False)
    assert parse_config("name: ${MESH_NAME}\nenvironment: ${NOT_THERE:-local}\n").name == "prod"
    with pytest.raises(ConfigError, match="NOT_THERE"):
        parse_config("name: ${NOT_THERE}\n")


def test_extends_adds_sources_and_keeps_the_rest(tmp_path):
    (tmp_path / "mesh.yaml").write_text("name: acme\nproducts: [./p]\nsources: {a: {kind: s3}}\n")
    (tmp_path / ".mesh").mkdir()
    (tmp_path / ".mesh" / "mesh.yaml").write_text(
        'extends: ../mesh.yaml\nsources: {b: {kind: kafka, bootstrap: "127.0.0.1:1"}}\n'
    )
    config = load_config(tmp_path / ".mesh" / "mesh.yaml")
    assert (config.name, sorted(config.sources)) == ("acme", ["a", "b"])


def test_the_file_is_found_upwards(tmp_path):
    (tmp_path / "mesh.yaml").write_text("name: acme\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_config(tmp_path / "a" / "b") == tmp_path / "mesh.yaml"


def test_arguments_win_over_variables():
    settings = Settings.from_env({"MESHKIT_TARGET": "prod", "MESHKIT_TOKEN": "geheim"}, target="stage")
    assert settings.target == "stage"
    assert "geheim" not in repr(settings)


def test_a_generated_file_keeps_the_paths_of_the_one_it_extends_and_its_own_secrets(tmp_path):
    (tmp_path / "mesh.yaml").write_text("name: acme\nproducts: [./p]\n")
    (tmp_path / ".mesh" / "credentials").mkdir(parents=True)
    (tmp_path / ".mesh" / "credentials" / "dsn").write_text("postgresql://h/d")
    (tmp_path / ".mesh" / "mesh.yaml").write_text(
        'extends: ../mesh.yaml\nsources: {b: {kind: postgres, dsn: "file:credentials/dsn"}}\n'
    )
    config = load_config(tmp_path / ".mesh" / "mesh.yaml")
    assert config.folder == tmp_path
    assert config.sources["b"].dsn.reveal() == "postgresql://h/d"
