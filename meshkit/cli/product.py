"""`meshkit init | validate | manifest`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from meshkit.cli.output import Output, format_option
from meshkit.errors import UsageError

__all__ = ["init", "manifest", "validate"]


@click.command()
@click.option("--name", required=True, help="Name of the product, for example customer_orders.")
@click.option("--domain", required=True, help="Domain it belongs to, for example sales or sales.emea.")
@click.option("--owner", help="Mail address of the owning team.")
@click.option("--team", help="Name of the owning team.")
@click.option(
    "--path", default="manifest.yaml", show_default=True, help="File to write; a folder gets manifest.yaml in it."
)
@click.option("--readme", is_flag=True, help="Also write README.md and name it in `docs`.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(name: str, domain: str, owner: str | None, team: str | None, path: str, *, readme: bool, force: bool) -> int:
    """Write a valid draft manifest.

    \b
    meshkit init --name customer_orders --domain sales
    """
    from meshkit.manifest import scaffold

    target = Path(path)
    if target.is_dir() or path.endswith(os.sep):
        target /= "manifest.yaml"
    text = scaffold(name=name, domain=domain, owner=owner, team=team)
    if readme:
        text = text.replace("support: ", "docs: README.md\nsupport: ", 1)
        _write(target.with_name("README.md"), f"# {domain}.{name}\n\nTODO: say how to use this product.\n", force=force)
    _write(target, text, force=force)
    click.echo(f"Created {target}")
    return 0


def _write(target: Path, text: str, *, force: bool) -> None:
    from meshkit.errors import EnvironmentProblem

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            f"{target} is there already. Choose another --path, or replace it with --force", code="manifest.exists"
        ) from None
    except OSError as error:
        raise EnvironmentProblem(
            f"{target} can't be written: {error.strerror}. Choose another --path", code="manifest.unwritable"
        ) from None


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--resolve", is_flag=True, help="Also find dangling inputs and cycles among the files.")
@click.option("--warnings-as-errors", is_flag=True, help="Warnings fail too.")
@format_option()
def validate(paths: tuple[str, ...], output: Output, *, resolve: bool, warnings_as_errors: bool) -> int:
    """Check manifests: files, folders (searched for manifest.yaml) and globs.

    \b
    meshkit validate manifest.yaml
    meshkit validate products/ --resolve
    """
    from meshkit.manifest import validate as run

    return output.show(run(paths, resolve=resolve, warnings_as_errors=warnings_as_errors))


@click.group()
def manifest() -> None:
    """Show a manifest, or print the JSON Schema of the format."""


@manifest.command()
@click.argument("path")
@format_option()
def show(path: str, output: Output) -> int:
    """Print what a manifest says: fields with full types, ports, promises.

    \b
    meshkit manifest show manifest.yaml
    """
    from meshkit.manifest import Manifest
    from meshkit.manifest.render import ManifestView

    return output.show(ManifestView(Manifest.load(path)))


@manifest.command()
def schema() -> int:
    """Print the JSON Schema of manifest.yaml, for editors.

    \b
    meshkit manifest schema > manifest.schema.json
    """
    import json

    from meshkit.manifest import Manifest

    click.echo(json.dumps(Manifest.json_schema(), indent=2, ensure_ascii=False))
    return 0
