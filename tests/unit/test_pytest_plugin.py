"""The plugin as its users meet it: items per rule, fixtures, named skips, failures in CI."""

import polars as pl
import pytest

pytest_plugins = ["pytester"]

SMALL = """\
apiVersion: meshkit/v1
kind: DataProduct
domain: sales
name: orders
version: 1.1.0
status: active
owner: {team: t, contact: t@x.org}
description: {purpose: p}
support: [{channel: "#x"}]
schema:
  orders:
    fields: {id: {type: int64, required: true, key: 1}, total: {type: float64, min: 0}}
    quality: {few: {metric: row_count, must: "< 3"}}
ports: {lake: {kind: file, location: "lake/*.parquet", format: parquet}}
slos: {freshness: {within: 1h}}
"""


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    pytester.path.joinpath("manifest.yaml").write_text(SMALL)
    pl.DataFrame({"id": [1, 2], "total": [1.0, -1.0]}).write_parquet(pytester.path / "sample.parquet")
    return pytester


def run(project, *args):
    return project.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider", "-rA", *args)


def test_an_item_per_rule_with_the_rules_own_words(project):
    result = run(project, "--meshkit", "manifest.yaml", "--meshkit-data", "orders=sample.parquet")
    result.assert_outcomes(passed=1, failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["*schema.orders.total.min: 1 rows, first [[]2]*", "*PASSED*manifest.yaml::quality[[]orders.few]*"]
    )


def test_without_sample_or_baseline_items_are_named_skips_and_failures_in_ci(project, monkeypatch):
    run(project, "--meshkit", "manifest.yaml").assert_outcomes(skipped=3)
    monkeypatch.setenv("CI", "true")
    run(project, "--meshkit", "manifest.yaml").assert_outcomes(failed=3)


def test_published_versions_are_items(project):
    from meshkit.contracts import FolderRegistry, publish_contract
    from meshkit.manifest import Manifest

    (project.path / "registry").mkdir()
    publish_contract(
        Manifest.parse(SMALL.replace("1.1.0", "1.0.0").replace("total: {", "gone: string, total: {")),
        FolderRegistry(project.path / "registry"),
    )
    result = run(project, "--meshkit", "manifest.yaml", "--meshkit-against", "registry_")
    assert result.ret != 0
    result = run(
        project,
        "--meshkit",
        "manifest.yaml",
        "--meshkit-against",
        str(project.path / "registry"),
        "--meshkit-data",
        "sample.parquet",
    )
    result.stdout.fnmatch_lines(["*Error: Field 'gone' was removed.*", "*FAILED*manifest.yaml::compatible[[]1.0.0]*"])


def test_fixtures_give_contract_product_and_assertion(project):
    project.path.joinpath("product.py").write_text(
        "import polars as pl\nfrom meshkit import data_product\n@data_product()\ndef orders():\n    return pl.DataFrame({'id': [1], 'total': [2.0]})\n"
    )
    project.makepyfile(
        """
        import polars as pl

        def test_code(product, assert_contract, contract, mesh):
            assert contract.id == "sales.orders"
            assert_contract(product())
            assert mesh.products() == ()

        def test_bad(assert_contract):
            assert_contract(pl.DataFrame({"id": [1, 1], "total": [2.0, 2.0]}))
        """
    )
    project.makeini("[pytest]\nmeshkit = manifest.yaml\n")
    result = run(project)
    result.assert_outcomes(passed=1, failed=1, skipped=3)
    result.stdout.fnmatch_lines(["*schema.orders.key: 1 rows*"])


def test_a_broken_manifest_is_a_collection_error_with_its_place(project):
    project.path.joinpath("manifest.yaml").write_text(SMALL.replace("status: active", "status: activ"))
    result = run(project, "--meshkit", "manifest.yaml")
    result.stdout.fnmatch_lines(["*manifest.yaml:6:9*Did you mean 'active'?*"])
