"""pytest plugin: contract tests as items, and fixtures for tests of products.

    pytest --meshkit manifest.yaml --meshkit-data orders=sample.parquet --meshkit-against registry

gives one item per rule: `manifest.yaml::schema[orders]`, `::quality[orders.no_negative]`, `::compatible[1.4.2]`. The same as ini keys:
`meshkit`, `meshkit_data`, `meshkit_against`. Without baseline or sample an item fails in CI and is a named skip elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from meshkit.contracts import QualityReport
    from meshkit.local import Stack
    from meshkit.manifest import Manifest
    from meshkit.mesh import Mesh

__all__ = ["assert_contract", "contract", "local_mesh", "mesh", "product"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--meshkit`, `--meshkit-data`, `--meshkit-against` and their ini keys."""
    group = parser.getgroup("meshkit", "data contracts")
    group.addoption("--meshkit", metavar="MANIFEST", help="manifest.yaml whose contract is tested")
    group.addoption(
        "--meshkit-data", action="append", default=[], metavar="[OBJECT=]PATH", help="sample data to check; repeatable"
    )
    group.addoption(
        "--meshkit-against", metavar="HOME", help="registry of published contracts: git (or registry), or a folder"
    )
    parser.addini("meshkit", "manifest.yaml whose contract is tested")
    parser.addini("meshkit_data", "sample data to check, [OBJECT=]PATH", type="linelist")
    parser.addini("meshkit_against", "registry of published contracts: git, or a folder")


def _manifest_path(config: pytest.Config) -> Path | None:
    given = config.getoption("meshkit") or config.getini("meshkit")
    return (config.invocation_params.dir / str(given)).resolve() if given else None


def pytest_configure(config: pytest.Config) -> None:
    """The manifest is collected even where tests live elsewhere."""
    path = _manifest_path(config)
    if path is not None and str(path) not in config.args:
        config.args.append(str(path))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The configured manifest is a file of contract items."""
    if file_path == _manifest_path(parent.config):
        collected: pytest.Collector = ContractFile.from_parent(parent, path=file_path)
        return collected
    return None


class ContractFile(pytest.File):
    """Items of one manifest."""

    def collect(self) -> Iterator[pytest.Item]:
        """Schema and quality rules per object, then each published version."""
        from meshkit.manifest import ManifestError
        from meshkit.manifest.load import load_manifest

        try:
            manifest = load_manifest(self.path)
        except ManifestError as error:
            raise self.CollectError(str(error)) from None
        data = _samples(self.config, manifest)
        for name, item in manifest.objects.items():
            yield DataItem.from_parent(
                self, name=f"schema[{name}]", manifest=manifest, data=data, prefix=f"schema.{name}.", object_name=name
            )
            for rule in item.quality:
                title = f"quality[{name}.{rule}]"
                yield DataItem.from_parent(
                    self, name=title, manifest=manifest, data=data, prefix=f"quality.{name}.{rule}", object_name=name
                )
        yield from self._baselines(manifest)

    def _baselines(self, manifest: Manifest) -> Iterator[pytest.Item]:
        from meshkit.contracts import baselines, open_registry

        home = self.config.getoption("meshkit_against") or self.config.getini("meshkit_against")
        if not home:
            yield MissingItem.from_parent(
                self, name="compatible[none]", reason="no baseline: name one by --meshkit-against"
            )
            return
        registry = open_registry("git" if home == "registry" else str(home), folder=str(self.path.parent))
        records = baselines(registry, manifest)
        for record in records:
            yield CompatibleItem.from_parent(
                self, name=f"compatible[{record.version}]", manifest=manifest, record=record
            )
        if not records:
            yield MissingItem.from_parent(
                self, name="compatible[none]", reason="no version is published yet", is_fault=False
            )


def _samples(config: pytest.Config, manifest: Manifest) -> dict[str, str]:
    given = config.getoption("meshkit_data") or config.getini("meshkit_data")
    found = {}
    for part in given:
        name, equals, path = part.partition("=")
        if equals and name in manifest.objects:
            found[name] = path
        else:
            found[manifest.main_object] = part
    return {name: str(config.invocation_params.dir / path) for name, path in found.items()}


class _ContractItem(pytest.Item):
    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}::{self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The rule's own words, without a traceback."""
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


class DataItem(_ContractItem):
    """The rules of one object, or one quality rule, on sample data. The data is checked once per file."""

    def __init__(
        self, *, manifest: Manifest, data: dict[str, str], prefix: str, object_name: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.manifest, self.data, self.prefix, self.object_name = manifest, data, prefix, object_name

    def runtest(self) -> None:
        """Fail with the rules that the data breaks."""
        if self.object_name not in self.data:
            _missing(f"no sample of {self.object_name}: name one by --meshkit-data {self.object_name}=PATH")
        report = _checked(self.parent, self.manifest, self.data)
        exact = self.prefix.startswith("quality.")
        mine = [r for r in report.results if (r.rule == self.prefix if exact else r.rule.startswith(self.prefix))]
        broken = [r for r in mine if r.fails]
        assert not broken, "\n".join(
            f"{r.rule}: {r.message or f'{r.failing_rows} rows, first {list(r.row_numbers)}'}" for r in broken
        )


def _checked(parent: Any, manifest: Manifest, data: dict[str, str]) -> QualityReport:
    from meshkit.contracts import check_data

    if not hasattr(parent, "_meshkit_report"):
        parent._meshkit_report = check_data(manifest, data)  # noqa: SLF001  # kept on the collector: one scan for all its items
    report: QualityReport = parent._meshkit_report  # noqa: SLF001
    return report


class CompatibleItem(_ContractItem):
    """The contract against one published version."""

    def __init__(self, *, manifest: Manifest, record: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.manifest, self.record = manifest, record

    def runtest(self) -> None:
        """Fail with the gate's block."""
        from meshkit.contracts import check_contract, load_waivers

        verdict = check_contract(
            self.manifest, self.record.load(), waivers=load_waivers(self.path.parent / ".meshkit" / "waivers.yaml")
        )
        assert verdict.passed, verdict.to_text()


class MissingItem(_ContractItem):
    """Something that would be tested if it were there."""

    def __init__(self, *, reason: str, is_fault: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason, self.is_fault = reason, is_fault

    def runtest(self) -> None:
        """A failure in CI, a named skip elsewhere."""
        if self.is_fault:
            _missing(self.reason)


def _missing(reason: str) -> None:
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


# Fixtures -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """An empty mesh on files in a temporary folder; give products by `Mesh.local(products=[...])` for one with content."""
    from meshkit.mesh import Mesh

    with Mesh.local(tmp_path / ".mesh") as opened:
        yield opened


@pytest.fixture
def contract(request: pytest.FixtureRequest) -> Manifest:
    """The manifest named by `--meshkit` or the ini key `meshkit`."""
    from meshkit.manifest import Manifest

    path = _manifest_path(request.config)
    if path is None:
        pytest.fail(
            "fixture `contract` needs --meshkit MANIFEST, or `meshkit = manifest.yaml` in the pytest settings",
            pytrace=False,
        )
    return Manifest.load(path)


@pytest.fixture
def product(contract: Manifest) -> Any:
    """The code of the product: the object in `product.py` beside its manifest."""
    from meshkit.discovery import Found, load_code

    return load_code(Found(contract))


@pytest.fixture
def assert_contract(contract: Manifest) -> Callable[..., None]:
    """`assert_contract(frame, object_name=None)`: fails with every rule that the rows break."""

    def check(frame: Any, *, object_name: str | None = None) -> None:
        from meshkit.contracts import check_data

        report = check_data(contract, frame, object_name=object_name)
        assert report.ok, report.to_text()

    return check


@pytest.fixture(scope="session")
def local_mesh() -> Iterator[Stack]:
    """A running local stack with Postgres and S3, for this test session."""
    from meshkit.local import Stack

    with Stack.temporary(only=("postgres", "s3")) as stack:
        yield stack
