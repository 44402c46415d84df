"""`meshkit policy test | why` and `meshkit audit verify | show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshkit.cli.output import Output, format_option
from meshkit.errors import UsageError

if TYPE_CHECKING:
    from meshkit.config import MeshConfig
    from meshkit.manifest import Manifest
    from meshkit.masking import PolicySet, PolicySettings
    from meshkit.ports import Principal

__all__ = ["audit", "policy"]

_config = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="mesh.yaml; default: the one here or above."
)
_products = click.option(
    "--products",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Manifests, or folders of them; default: `products` of mesh.yaml, else here.",
)


@click.group()
def policy() -> None:
    """Test and explain access policies.

    \b
    meshkit policy test policies/
    meshkit policy why sales.orders.email --as analyst
    """


@policy.command("test")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@_products
@_config
@format_option()
def test_(paths: tuple[Path, ...], products: tuple[Path, ...], config_path: Path | None, output: Output) -> int:
    """Check the `tests` of policy files against manifests. Exit 1 if one fails or a name is unknown.

    \b
    meshkit policy test
    meshkit policy test policies/ --products products/
    """
    from meshkit.masking import run_policy_tests

    config = _load_config(config_path)
    policies, manifests, settings = _material(config, paths, products)
    return output.show(run_policy_tests(policies, manifests, combine=settings.combine))


@policy.command()
@click.argument("column")
@click.option("--as", "role", required=True, help="A dev principal of mesh.yaml, else a role.")
@click.option("--purpose", help="The purpose that the reader states.")
@click.option(
    "--policies",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Policy files or folders; default: `policies.paths`.",
)
@_products
@_config
@format_option()
def why(
    column: str,
    role: str,
    purpose: str | None,
    paths: tuple[Path, ...],
    products: tuple[Path, ...],
    config_path: Path | None,
    output: Output,
) -> int:
    """Say how DOMAIN.PRODUCT.COLUMN looks for a reader, and which rules say so. Reads no data.

    \b
    meshkit policy why sales.orders.email --as analyst
    """
    from meshkit.masking import PolicyDecider

    config = _load_config(config_path)
    policies, manifests, settings = _material(config, paths, products)
    decider = PolicyDecider(manifests, policies, None, settings)
    return output.show(decider.why(column, principal=_reader(config, role), purpose=purpose))


@click.group()
def audit() -> None:
    """Verify and read the audit chain.

    \b
    meshkit audit verify .mesh/audit
    meshkit audit show --query q-01J
    """


@audit.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@_config
@format_option()
def verify(files: tuple[Path, ...], config_path: Path | None, output: Output) -> int:
    """Check that no record was changed, moved or removed. Exit 1 for a broken chain. FILES may be folders; default: `audit.path`.

    \b
    meshkit audit verify .mesh/audit
    """
    from meshkit.masking import verify_audit

    return output.show(verify_audit(files or [_audit_folder(config_path)]))


@audit.command()
@click.option("--query", required=True, help="Id of the query, as its result and its log lines have it.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@_config
@format_option()
def show(query: str, files: tuple[Path, ...], config_path: Path | None, output: Output) -> int:
    """Show the records of a query. FILES may be folders; default: `audit.path`.

    \b
    meshkit audit show --query q-01J
    """
    from meshkit.masking import find_query

    return output.show(find_query(query, files or [_audit_folder(config_path)]))


def _load_config(path: Path | None) -> MeshConfig | None:
    from meshkit.config import find_config, load_config

    found = path or find_config()
    return load_config(found) if found is not None else None


def _material(
    config: MeshConfig | None, paths: tuple[Path, ...], products: tuple[Path, ...]
) -> tuple[PolicySet, list[Manifest], PolicySettings]:
    """Policies and manifests as told, else as mesh.yaml says."""
    from meshkit.manifest import Manifest, find_manifests
    from meshkit.masking import PolicySettings, load_policies

    settings: Any = config.section("policies") if config is not None else PolicySettings()
    if not paths and config is not None:
        paths = tuple(config.folder / p for p in settings.paths)
    if not paths:
        raise UsageError(
            "there are no policies. Name files or folders, or set `policies.paths` in mesh.yaml",
            code="masking.no_policies",
        )
    if not products and config is not None:
        products = tuple(p for p in (config.folder / name for name in config.products) if p.exists())
    manifests = [Manifest.load(p) for p in find_manifests(products or [Path()])]
    return load_policies(*paths, manifests=manifests), manifests, settings


def _reader(config: MeshConfig | None, role: str) -> Principal:
    from meshkit.masking import Tokens
    from meshkit.ports import Principal

    auth = config.section("auth") if config is not None else None
    if config is not None and auth is not None and role in auth.dev_principals:
        return Tokens(auth, is_local=config.is_local).dev(role)
    return Principal(role, (role,))


def _audit_folder(path: Path | None) -> Path:
    from meshkit.masking import AuditSettings

    config = _load_config(path)
    settings: Any = config.section("audit") if config is not None else AuditSettings()
    folder: Path = (config.folder if config is not None else Path()) / settings.path
    return folder
