"""`meshkit provision plan | deploy`; `platform-deploy` is the latter."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshkit.cli.mesh_option import mesh_options
from meshkit.cli.output import Output, dump_json, format_option

if TYPE_CHECKING:
    from meshkit.manifest import Manifest
    from meshkit.mesh import Mesh
    from meshkit.provision import Plan

__all__ = ["provision"]

_target = click.option(
    "--target", help="Target of mesh.yaml; default: MESHKIT_TARGET, else `provision.default_target`, else local."
)
_only = click.option(
    "--only", type=click.Choice(["infra", "access"]), help="Only containers and data, or only roles and rights."
)
_allow = click.option(
    "--allow",
    "allowed",
    type=click.Choice(["disruptive"]),
    multiple=True,
    help="Allow changes that consumers or data notice.",
)
_manifests = click.argument("manifests", nargs=-1, required=True, metavar="M...")


@click.group()
def provision() -> None:
    """Plan and deploy the resources of products: manifests, folders or globs."""


@provision.command()
@_manifests
@_target
@_only
@_allow
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the plan as JSON.")
@click.option("--exit-code", "by_changes", is_flag=True, help="Exit 1 if a deploy would change something.")
@click.option("--strict", is_flag=True, help="Exit 1 if a port gets no resource.")
@format_option()
@mesh_options
def plan(
    mesh: Mesh,
    manifests: tuple[str, ...],
    target: str | None,
    only: Any,
    allowed: tuple[str, ...],
    out: Path | None,
    output: Output,
    *,
    by_changes: bool,
    strict: bool,
) -> int:
    """Show what a deploy would do; writes nothing. Exit 1 if something is blocked.

    \b
    meshkit provision plan products/
    meshkit provision plan manifest.yaml --target prod --out plan.json --exit-code
    """
    from meshkit.provision import Allow

    with mesh.provisioner(target=target) as provisioner:
        made = provisioner.plan(_load(manifests), only=only, allow=Allow(disruptive="disruptive" in allowed))
    if out is not None:
        out.write_text(dump_json(made.to_json()) + "\n", encoding="utf-8")
    code = output.show(made)
    return 1 if code or (by_changes and made.changes) or (strict and made.summary["skipped"]) else 0


@provision.command()
@_manifests
@_target
@_only
@_allow
@click.option("--yes", is_flag=True, help="Don't ask.")
@format_option()
@mesh_options
def deploy(
    mesh: Mesh,
    manifests: tuple[str, ...],
    target: str | None,
    only: Any,
    allowed: tuple[str, ...],
    output: Output,
    *,
    yes: bool,
) -> int:
    """Make the resources of products. Asks first; run it again after any failure, it goes on from there.

    \b
    platform-deploy manifest.yaml
    meshkit provision deploy products/ --target prod --yes
    """
    from meshkit.provision import Allow

    allow = Allow(disruptive="disruptive" in allowed)
    with mesh.provisioner(target=target) as provisioner:
        made = provisioner.plan(_load(manifests), only=only, allow=allow)
        refused = _refused(made, output, yes=yes)
        if refused is not None:
            return refused
        with _stop_on_signal() as stop:
            report = provisioner.apply(made, allow=allow, on_event=lambda event: output.note(str(event)), stop=stop)
        return output.show(report)


def _refused(made: Plan, output: Output, *, yes: bool) -> int | None:
    """The exit code where nothing is written: declined, not asked, or all blocked. None: go on."""
    if output.form == "text":
        click.echo(made.to_text(), nl=not _can_ask(made, yes=yes))
    elif _can_ask(made, yes=yes):
        click.echo(made.to_text(), nl=False, err=True)
    if not made.changes and made.exit_code:
        return _shown(made, output, made.exit_code)
    if yes or not made.changes:
        return None
    if not _can_ask(made, yes=yes):
        output.note("Nothing is written without --yes where nobody can be asked.")
        return _shown(made, output, 2)
    return None if click.confirm(" Deploy?", err=output.form == "json") else 1


def _can_ask(made: Plan, *, yes: bool) -> bool:
    return not yes and bool(made.changes) and sys.stdin.isatty() and sys.stdout.isatty()


def _shown(made: Plan, output: Output, code: int) -> int:
    if output.form == "json":
        output.show(made)
    return code


def _load(paths: tuple[str, ...]) -> tuple[Manifest, ...]:
    from meshkit.manifest import validate

    report = validate(paths)
    report.raise_for_errors()
    return report.manifests


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """First Ctrl-C or SIGTERM: begin nothing new. Second: stop now."""
    stop = threading.Event()

    def handle(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        click.echo("Stopping: what runs is finished, nothing new is begun. Once more to stop now.", err=True)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kept = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
