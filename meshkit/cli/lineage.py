"""`meshkit lineage show | impact | parse`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshkit.cli.mesh_option import mesh_options
from meshkit.cli.output import Output, format_option
from meshkit.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    from meshkit.lineage import LineageGraph
    from meshkit.mesh import Mesh

__all__ = ["lineage"]

_DRAWINGS = ("svg", "mermaid", "dot", "matrix")


@click.group()
def lineage() -> None:
    """Show where data comes from and who is hurt if it changes."""


@lineage.command()
@click.argument("ref", required=False)
@click.option(
    "--hops", type=click.IntRange(1, 20), help="Distance around REF; default 2, or 1 if that shows more than 25 nodes."
)
@click.option(
    "--direction",
    type=click.Choice(["up", "down", "both"]),
    default="both",
    show_default=True,
    help="Side of REF to show.",
)
@click.option(
    "--level",
    type=click.Choice(["product", "column"]),
    default="product",
    show_default=True,
    help="Finest level to show.",
)
@click.option("--column", help="A column of REF whose path is drawn.")
@click.option("--at", metavar="TIME", help="As it was then: 2026-11-24 or 2026-11-24T09:00:00Z.")
@click.option("--diff", metavar="TIME", help="Compare with how it was then.")
@click.option("--stale", is_flag=True, help="Also what is no longer observed and was never declared.")
@click.option("--findings", is_flag=True, help="Exit 1 if a violation exists, for example a read that nobody declared.")
@format_option(*_DRAWINGS)
@mesh_options
def show(
    mesh: Mesh,
    ref: str | None,
    at: str | None,
    diff: str | None,
    findings: bool,
    stale: bool,
    output: Output,
    **options: Any,
) -> int:
    """Show the lineage graph, or the neighbourhood of REF.

    \b
    meshkit lineage show
    meshkit lineage show sales.orders --hops 1
    meshkit lineage show sales.orders --column total --format svg > orders.svg
    meshkit lineage show --diff 2026-10-24
    meshkit lineage show --findings
    """
    from meshkit.lineage import lineage_view

    graph = mesh.graph(at=at)
    if diff is not None:
        graph = graph.compared_with(mesh.graph(at=diff))
    view = lineage_view(graph, ref, include_stale=stale, **options)
    code = show_graph(view, output, column=options["column"])
    return view.findings_exit_code if findings else code


def show_graph(graph: LineageGraph, output: Output, *, column: str | None = None) -> int:
    """Print a graph in one of its forms."""
    if output.form not in _DRAWINGS:
        return output.show(graph)
    if output.form == "matrix":
        from meshkit.lineage import domain_matrix

        return Output().show(domain_matrix(graph))
    if output.form == "svg":
        text = graph.to_svg(column=column)
    else:
        text = graph.to_mermaid() if output.form == "mermaid" else graph.to_dot()
    click.echo(text.rstrip("\n"))
    return 0


@lineage.command()
@click.argument("ref")
@click.option("--column", help="The column that changes; REF#column says the same.")
@click.option(
    "--change",
    type=click.Choice(["remove", "retype", "stop"]),
    default="remove",
    show_default=True,
    help="What happens to it.",
)
@click.option("--at", metavar="TIME", help="As it was then.")
@click.option("--csv", "as_csv", is_flag=True, help="A table for a spreadsheet.")
@format_option()
@mesh_options
def impact(mesh: Mesh, ref: str, column: str | None, change: Any, at: str | None, as_csv: bool, output: Output) -> int:
    """Say who is affected by a change: exit 1 if somebody is, or if it is unknown.

    \b
    meshkit lineage impact sales.orders --column total
    meshkit lineage impact sales.orders --change stop --csv > readers.csv
    """
    from meshkit.lineage import impact as judge
    from meshkit.lineage import parse_ref

    graph = mesh.graph(at=at)
    found = judge(graph, graph.find(ref), column or parse_ref(ref).column, change=change)
    if as_csv:
        click.echo(found.to_csv().rstrip("\n"))
        return int(found.exit_code)
    return output.show(found)


@lineage.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--dialect", default="duckdb", show_default=True, help="A sqlglot dialect, or ansi.")
@click.option(
    "--schema",
    "schema_file",
    type=click.Path(dir_okay=False),
    help='JSON: {"sales.orders": {"order_id": "bigint"}} or lists of names.',
)
@click.option("--namespace", default="", help="Schema of tables that are written without one.")
@click.option(
    "--fail-on",
    type=click.Choice(["ambiguous", "table", "unparsed"]),
    default="unparsed",
    show_default=True,
    help="Exit 1 at this rung or below.",
)
@format_option()
def parse(
    files: tuple[str, ...], dialect: str, schema_file: str | None, namespace: str, fail_on: Any, output: Output
) -> int:
    """Read lineage out of SQL files; `-` is stdin.

    \b
    meshkit lineage parse revenue.sql --dialect duckdb --schema schema.json
    meshkit lineage parse models/*.sql --dialect snowflake --fail-on ambiguous
    """
    from meshkit.lineage import parse_script
    from meshkit.lineage.sql.models import ScriptLineage
    from meshkit.lineage.sql.parse import prepare_schema

    schema = prepare_schema(_schema(schema_file), dialect)
    read = [
        s for name in files for s in parse_script(_text(name), dialect, schema, default_namespace=namespace).statements
    ]
    return output.show(ScriptLineage(dialect, tuple(s.at(i) for i, s in enumerate(read)), fail_at=fail_on))


def _text(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text. Convert it", code="lineage.not_text") from None
    except OSError as error:
        raise EnvironmentProblem(
            f"{name} can't be read ({type(error).__name__}). Check the path", code="lineage.unreadable"
        ) from None


def _schema(name: str | None) -> Any:
    if name is None:
        return {}
    try:
        tables = json.loads(_text(name))
    except ValueError as error:
        place = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(
            f"the schema is no JSON ({name}{place}). Give an object of table to columns", code="lineage.bad_schema"
        ) from None
    if not isinstance(tables, dict):
        raise UsageError(
            f"the schema in {name} is no object. Give an object of table to columns", code="lineage.bad_schema"
        )
    return tables
