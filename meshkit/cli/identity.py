"""`meshkit identity profile | link | explain | evaluate | review | encode`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshkit.cli.output import Output, format_option

if TYPE_CHECKING:
    from meshkit.identity import Linker, LinkReport, Side

__all__ = ["identity"]

F = TypeVar("F", bound=Callable[..., Any])
_FILES = {".parquet", ".pq", ".csv", ".arrow", ".feather", ".ipc"}


@click.group()
def identity() -> None:
    """Link records that are the same person."""


def side_options(function: F) -> F:
    """Options that say how to read LEFT and RIGHT; the command gets them as `sides`."""
    options = [
        click.option(
            "--model", type=click.Path(dir_okay=False), help="model.yaml; default: roles and rules are inferred."
        ),
        click.option(
            "--id-left", metavar="COLUMN", help="Id column of LEFT; default: the only one that looks like an id."
        ),
        click.option("--id-right", metavar="COLUMN", help="Id column of RIGHT."),
        click.option("--name-left", metavar="NAME", help="Name of LEFT in results; default: product or file name."),
        click.option("--name-right", metavar="NAME", help="Name of RIGHT in results."),
        click.option(
            "--config", type=click.Path(dir_okay=False), envvar="MESHKIT_CONFIG", help="mesh.yaml, for products."
        ),
        click.option("--as", "principal", metavar="NAME", help="Dev principal of a local mesh to read products as."),
        click.option("--purpose", default="entity_resolution", show_default=True, help="Purpose of reading products."),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="Which random pairs the estimate looks at."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def open_linker(
    left: str, right: str | None, cardinality: str | None = None, engine: str = "polars", **how: Any
) -> Linker:
    """The linker of a command's arguments and `side_options`."""
    from meshkit.identity import LinkageModel, Linker

    rules = LinkageModel.load(how["model"]) if how["model"] else LinkageModel()
    if cardinality is not None:
        rules = LinkageModel.model_validate({**rules.model_dump(), "cardinality": cardinality})
    sides = [_side(left, how["id_left"] or rules.left.id, how["name_left"], how)]
    if right is not None:
        sides.append(_side(right, how["id_right"] or (rules.right.id if rules.right else None), how["name_right"], how))
    return Linker(sides[0], sides[1] if right is not None else None, rules, engine=engine, seed=how["seed"])


def _side(source: str, column: str | None, name: str | None, how: dict[str, Any]) -> Side:
    from meshkit.identity.side import as_side

    if Path(source).suffix.lower() in _FILES or Path(source).is_file():
        side = as_side(source, name or Path(source).stem, column)
        return replace(side, name=name or side.name)
    from meshkit.cli.mesh_option import open_mesh
    from meshkit.identity import NotInThisRelease

    with open_mesh(how["config"]) as mesh:
        if not hasattr(mesh, "side"):
            raise NotInThisRelease(f"reading the product {source} here", "Give a .parquet, .csv or .arrow file.")
        read: Side = mesh.side(source, principal=how["principal"], purpose=how["purpose"])
        return replace(read, name=name or read.name, id=column or read.id)


@identity.command()
@click.argument("left")
@click.argument("right", required=False)
@click.option("--union", is_flag=True, help="Also count pairs that no earlier rule found; joins, so it takes longer.")
@click.option("--write-model", type=click.Path(dir_okay=False), help="Write the complete model, to review and commit.")
@side_options
@format_option()
def profile(left: str, right: str | None, output: Output, *, union: bool, write_model: str | None, **how: Any) -> int:
    """Show roles, blocking rules with exact pair counts and frequent values, before anything is compared.

    \b
    meshkit identity profile users.parquet customers.csv --write-model model.yaml
    """
    linker = open_linker(left, right, **how)
    plan = linker.plan(union=union)
    if write_model is not None and plan.exit_code == 0:
        _write_text(linker.model.dump(), write_model)
    return output.show(plan)


@identity.command()
@click.argument("left")
@click.argument("right", required=False)
@click.option(
    "--out", type=click.Path(dir_okay=False), help="Links (or entities without RIGHT): .parquet, .csv or .arrow."
)
@click.option("--threshold", type=click.FloatRange(0.2, 1), help="Least confidence of a link; default: the model's.")
@click.option(
    "--cardinality", type=click.Choice(["one-to-one", "one-to-many", "many-to-many"]), help="Default: the model's."
)
@click.option("--state", metavar="URL", help="Not in this release.")
@click.option("--full", is_flag=True, help="With --state: a full run. Not in this release.")
@click.option("--engine", type=click.Choice(["polars", "spark"]), default="polars", show_default=True)
@click.option("--write-fit", type=click.Path(dir_okay=False), help="Write what was estimated, to commit and reuse.")
@click.option("--accept-doubts", is_flag=True, help="Write the links even if the result is doubtful.")
@click.option("--dry-run", is_flag=True, help="Show the plan; compare nothing.")
@side_options
@format_option()
def link(
    left: str,
    right: str | None,
    output: Output,
    *,
    out: str | None,
    threshold: float | None,
    cardinality: str | None,
    state: str | None,
    full: bool,
    engine: str,
    write_fit: str | None,
    accept_doubts: bool,
    dry_run: bool,
    **how: Any,
) -> int:
    """Link LEFT and RIGHT; without RIGHT find duplicates in LEFT. Exit 1 with doubts, and then nothing is written.

    \b
    meshkit identity link users.parquet customers.csv --out map.parquet
    """
    from meshkit.identity import NotInThisRelease
    from meshkit.identity.table import check_kind

    if state is not None or full:
        raise NotInThisRelease("--state", "Leave it out: every run is a full run.")
    if out is None and not dry_run:
        raise click.UsageError("--out FILE is missing (or say --dry-run)")
    if out is not None:
        check_kind(out)
    linker = open_linker(left, right, cardinality, engine, **how)
    if dry_run:
        return output.show(linker.plan())
    return _run_link(
        linker, output, str(out), threshold, write_fit, duplicates=right is None, accept_doubts=accept_doubts
    )


def _run_link(
    linker: Linker,
    output: Output,
    out: str,
    threshold: float | None,
    write_fit: str | None,
    *,
    duplicates: bool,
    accept_doubts: bool,
) -> int:
    from meshkit.identity.model import Fit
    from meshkit.identity.table import write_table

    made = linker.cluster(threshold=threshold) if duplicates else linker.link(threshold=threshold)
    report: LinkReport = made.report
    if report.doubts and not accept_doubts:
        output.show(report)
        output.note("Nothing was written. Accept with --accept-doubts, or change the model.")
        return 1
    write_table(made.to_arrow(), out)
    fit = linker.model.fit
    if write_fit is not None and isinstance(fit, Fit):
        _write_text(fit.to_text(), write_fit)
    output.show(replace(report, out=out))
    return 0


@identity.command()
@click.argument("left")
@click.argument("right", required=False)
@click.option("--left-id", required=True, help="Id of the left row.")
@click.option("--right-id", required=True, help="Id of the right row.")
@click.option("--show-values", is_flag=True, help="Also show the standardised values: personal data on your screen.")
@click.option("--svg", type=click.Path(dir_okay=False), help="Write the waterfall as SVG.")
@side_options
@format_option()
def explain(
    left: str,
    right: str | None,
    output: Output,
    *,
    left_id: str,
    right_id: str,
    show_values: bool,
    svg: str | None,
    **how: Any,
) -> int:
    """Explain one pair in bits that add up; levels only unless you ask for values.

    \b
    meshkit identity explain users.parquet customers.csv --left-id 17 --right-id C00042
    """
    explanation = open_linker(left, right, **how).explain(left_id, right_id, show_values=show_values)
    if svg is not None:
        _write_text(explanation.to_svg(), svg)
    return output.show(explanation)


@identity.command()
@click.argument("left")
@click.argument("right", required=False)
@click.option("--labels", required=True, help="File with left_id, right_id and match; without match all are positive.")
@click.option("--complete", is_flag=True, help="Every other pair of a labelled left row is false.")
@click.option("--min-precision", type=click.FloatRange(0, 1), help="Exit 1 below it, or if it can't be measured.")
@click.option("--min-recall", type=click.FloatRange(0, 1), help="Exit 1 below it, or if it can't be measured.")
@click.option("--svg", type=click.Path(dir_okay=False), help="Write precision and recall by threshold as SVG.")
@side_options
@format_option()
def evaluate(
    left: str,
    right: str | None,
    output: Output,
    *,
    labels: str,
    complete: bool,
    min_precision: float | None,
    min_recall: float | None,
    svg: str | None,
    **how: Any,
) -> int:
    """Measure precision and recall against labels, with exact intervals, and show where true pairs were lost.

    \b
    meshkit identity evaluate users.parquet customers.csv --labels labels.csv --complete --min-precision 0.98
    """
    found = open_linker(left, right, **how).evaluate(labels, complete=complete)
    if svg is not None:
        _write_text(found.to_svg(), svg)
    return output.show(found.require(precision=min_precision, recall=min_recall))


@identity.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
def review(arguments: tuple[str, ...]) -> int:  # noqa: ARG001  # refused whatever they are
    """Draw pairs for people to label. Not in this release.

    \b
    meshkit identity review users.parquet customers.csv --model model.yaml --rows 200 --out review.csv
    """
    from meshkit.identity import NotInThisRelease

    raise NotInThisRelease("meshkit identity review", "Use Linker.predict() and label what you like.")


@identity.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
def encode(arguments: tuple[str, ...]) -> int:  # noqa: ARG001  # refused whatever they are
    """Encode a side with a shared key so that names need not be shown. Not in this release.

    \b
    meshkit identity encode users.parquet --model model.yaml --key-env LINK_KEY --out encoded.parquet
    """
    from meshkit.identity import NotInThisRelease

    raise NotInThisRelease("meshkit identity encode", "Link where both sides may be read in the clear.")


def _write_text(text: str, path: str) -> None:
    from meshkit.identity.table import write_beside

    write_beside(path, lambda file: file.write(text.encode("utf-8")))
