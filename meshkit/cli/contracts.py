"""`meshkit contract diff | check | test | publish | waive`."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from meshkit.cli.output import Output, format_option
from meshkit.errors import UsageError

__all__ = ["contract"]

VERDICT = Path(".meshkit/verdict.json")
WAIVERS = ".meshkit/waivers.yaml"


@click.group()
def contract() -> None:
    """Diff, check, test and publish data contracts."""


@contract.command("diff")
@click.argument("old")
@click.argument("new")
@click.option(
    "--perspective",
    type=click.Choice(["consumer", "producer", "both"]),
    default="consumer",
    show_default=True,
    help="Whom to protect.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["major", "policy", "review", "minor", "patch"]),
    help="Exit 1 for a change of this class or a worse one.",
)
@format_option()
def diff_command(old: str, new: str, perspective: Any, fail_on: Any, output: Output) -> int:
    """Show what changed in meaning; informs, exit 0.

    \b
    meshkit contract diff git:v1.2.0 manifest.yaml
    meshkit contract diff old.yaml new.yaml --fail-on major
    """
    from dataclasses import replace

    from meshkit.contracts import diff, load_baseline
    from meshkit.manifest import Manifest

    return output.show(
        replace(diff(load_baseline(old, new), Manifest.load(new), perspective=perspective), fail_on=fail_on)
    )


@contract.command()
@click.argument("manifest")
@click.option("--against", default="registry", show_default=True, help="git:REF, the path of a manifest, or registry.")
@click.option("--registry", default="git", show_default=True, help="Home of published contracts: git, or a folder.")
@click.option("--latest-only", is_flag=True, help="Compare with the newest published version only.")
@click.option(
    "--consumers", "consumer_paths", multiple=True, help="Folder or file with manifests of consumers; repeatable."
)
@click.option("--waivers", default=WAIVERS, show_default=True, help="File of waivers.")
@click.option(
    "--today", type=click.DateTime(["%Y-%m-%d"]), help="Day to judge sunsets and waivers by; default today (UTC)."
)
@format_option()
def check(
    manifest: str,
    against: str,
    registry: str,
    consumer_paths: tuple[str, ...],
    waivers: str,
    today: datetime | None,
    output: Output,
    *,
    latest_only: bool,
) -> int:
    """The gate: may this manifest be published? Exit 1 if not.

    \b
    meshkit contract check manifest.yaml --against git:main --consumers products/
    """
    from meshkit.contracts import ManifestConsumers, check_contract, load_baseline, load_waivers, open_registry
    from meshkit.manifest import Manifest, validate

    new = Manifest.load(manifest)
    old: Any = (
        open_registry(registry, folder=str(Path(manifest).absolute().parent))
        if against == "registry"
        else load_baseline(against, manifest)
    )
    readers = None
    if consumer_paths:
        report = validate(consumer_paths)
        report.raise_for_errors()
        readers = ManifestConsumers(report.manifests)
    day = today.date() if today else datetime.now(UTC).date()
    verdict = check_contract(
        new, old, consumers=readers, waivers=load_waivers(waivers), latest_only=latest_only, today=day
    )
    if verdict.first_publication:
        output.note("No version is published yet: this is the first publication.")
    _remember(verdict.to_json())
    return output.show(verdict)


def _remember(verdict: dict[str, Any]) -> None:
    """Leave the verdict for `contract waive`; a read-only checkout is no reason to fail the gate."""
    try:
        VERDICT.parent.mkdir(exist_ok=True)
        VERDICT.write_text(json.dumps(verdict), encoding="utf-8")
    except OSError:
        return


@contract.command("test")
@click.argument("manifest")
@click.option(
    "--data", "data", multiple=True, required=True, help="[OBJECT=]PATH of files to check; repeatable, globs allowed."
)
@click.option(
    "--extra-columns",
    type=click.Choice(["fail", "warn", "ignore"]),
    default="fail",
    show_default=True,
    help="Columns the contract lacks.",
)
@click.option("--allow-empty", is_flag=True, help="No rows are no failure.")
@format_option()
def test_command(manifest: str, data: tuple[str, ...], extra_columns: Any, output: Output, *, allow_empty: bool) -> int:
    """Check data against the contract: types, required, keys, enums, bounds, patterns, quality rules.

    \b
    meshkit contract test manifest.yaml --data 'out/*.parquet'
    meshkit contract test manifest.yaml --data orders=orders.csv --format json
    """
    from meshkit.contracts import CheckOptions, check_data
    from meshkit.manifest import Manifest

    loaded = Manifest.load(manifest)
    named: dict[str, str] = {}
    for part in data:
        name, equals, path = part.partition("=")
        named[name if equals and name in loaded.objects else loaded.main_object] = (
            path if equals and name in loaded.objects else part
        )
    return output.show(
        check_data(loaded, named, options=CheckOptions(extra_columns=extra_columns, allow_empty=allow_empty))
    )


@contract.command()
@click.argument("manifest")
@click.option("--registry", default="git", show_default=True, help="Home of published contracts: git, or a folder.")
@click.option(
    "--consumers", "consumer_paths", multiple=True, help="Folder or file with manifests of consumers; repeatable."
)
@click.option("--waivers", default=WAIVERS, show_default=True, help="File of waivers.")
@click.option("--push", is_flag=True, help="Push the tag to origin (git).")
@click.option("--dry-run", is_flag=True, help="Gate only; write nothing.")
@format_option()
def publish(
    manifest: str,
    registry: str,
    consumer_paths: tuple[str, ...],
    waivers: str,
    output: Output,
    *,
    push: bool,
    dry_run: bool,
) -> int:
    """Gate the manifest, then append its version to the registry.

    \b
    meshkit contract publish manifest.yaml
    """
    from meshkit.contracts import GitRegistry, ManifestConsumers, load_waivers, open_registry, publish_contract
    from meshkit.manifest import Manifest, validate

    new = Manifest.load(manifest)
    home = open_registry(registry, folder=str(Path(manifest).absolute().parent))
    if push and not isinstance(home, GitRegistry):
        raise UsageError("--push goes with --registry git")
    readers = ManifestConsumers(validate(consumer_paths).manifests) if consumer_paths else None
    done = publish_contract(new, home, dry_run=dry_run, consumers=readers, waivers=load_waivers(waivers))
    if done.written and push and isinstance(home, GitRegistry):
        home.push(new.id)
    return output.show(done)


@contract.command()
@click.argument("fingerprint")
@click.option("--reason", required=True, help="Why this change may pass.")
@click.option("--owner", required=True, help="Who answers for it.")
@click.option(
    "--expires", type=click.DateTime(["%Y-%m-%d"]), help="Last day it counts; default 30 days for waive, none for ack."
)
@click.option(
    "--kind",
    type=click.Choice(["waive", "ack"]),
    default="waive",
    show_default=True,
    help="waive a break, or ack a review.",
)
@click.option("--waivers", default=WAIVERS, show_default=True, help="File of waivers.")
def waive(fingerprint: str, reason: str, owner: str, expires: datetime | None, kind: Any, waivers: str) -> int:
    """Accept one change of the last check, by fingerprint.

    \b
    meshkit contract waive 3f9a1c0b72de --reason "agreed with Finance" --owner jane
    """
    from meshkit.contracts.waivers import Waiver, append_waiver

    try:
        verdict = json.loads(VERDICT.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(
            "there is no verdict to waive from. Run first: meshkit contract check manifest.yaml",
            code="contracts.no_verdict",
        ) from None
    change = next((c for c in verdict["changes"] if c["fingerprint"] == fingerprint), None)
    if change is None:
        known = ", ".join(c["fingerprint"] for c in verdict["changes"]) or "none"
        raise UsageError(
            f"the last check has no change {fingerprint}. It has: {known}", code="contracts.unknown_fingerprint"
        )
    until: date | None = expires.date() if expires else None
    if until is None and kind == "waive":
        until = datetime.now(UTC).date() + timedelta(days=30)
    waiver = Waiver(
        fingerprint=fingerprint,
        product=verdict["product"],
        rule=change["rule"],
        kind=kind,
        reason=reason,
        owner=owner,
        expires=until,
    )
    append_waiver(waivers, waiver)
    click.echo(f"Added to {waivers}: {change['rule']} until {until.isoformat() if until else 'revoked'}")
    return 0
