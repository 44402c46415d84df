"""`meshkit up | down | status | logs | doctor`: the local mesh."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from meshkit.cli.output import Output, format_option, is_terminal
from meshkit.errors import UsageError

if TYPE_CHECKING:
    from meshkit.local import Stack

__all__ = ["doctor", "down", "logs", "status", "up"]

F = TypeVar("F", bound=Callable[..., Any])
_RUNTIMES = click.Choice(["embedded", "jvm", "docker"])


def _directory(function: F) -> F:
    option = click.option("--dir", "directory", default=".mesh", show_default=True, help="Directory of the local mesh.")
    return option(function)


def _found(directory: str) -> Stack:
    """The stack of a directory, whatever its runtime."""
    from meshkit.local import Stack

    return Stack.find(directory)


@click.command()
@_directory
@click.option("--runtime", type=_RUNTIMES, default="embedded", show_default=True, help="How the servers are run.")
@click.option("--only", help="Services to start, with commas; what they need is started too.")
@click.option("--products", type=click.Path(exists=True), help="Manifests to deploy to the local mesh.")
@click.option("--durable", is_flag=True, help="Postgres survives a crash of the machine, at the price of speed.")
@click.option(
    "--web/--no-web", default=None, help="Start the gateway and the control plane; the default unless --only is given."
)
@click.option("--foreground", is_flag=True, help="Stay until Ctrl-C, then stop the services.")
@click.option("--print", "print_only", is_flag=True, help="Print what would be run, start nothing.")
@format_option()
def up(
    directory: str, runtime: Any, only: str | None, products: str | None, output: Output, *, durable: bool, web: bool | None,
    foreground: bool, print_only: bool,
) -> int:  # fmt: skip
    """Start a local mesh: Postgres, S3 and a broker. What runs already is left alone.

    \b
    meshkit up
    meshkit up --only s3,postgres
    meshkit up --runtime docker --print > compose.yaml
    """
    from meshkit.local import Stack

    names = tuple(n.strip() for n in only.split(",") if n.strip()) if only else None
    stack = Stack.open(directory, runtime, only=names, durable=durable, web=_with_web(web, only))
    if print_only:
        form: Literal["compose", "processes"] = "compose" if runtime == "docker" else "processes"
        click.echo(next(iter(stack.render(form).values())), nl=False)  # without services.env: it holds secrets
        return 0
    code = output.show(stack.up(products, on_event=_tell(output) if is_terminal() else None))
    if foreground:
        _stay(stack, output)
    return code


def _with_web(asked: bool | None, only: str | None) -> bool:
    """Gateway and control plane come along where their packages are installed."""
    from importlib.util import find_spec

    installed = all(find_spec(name) is not None for name in ("fastapi", "uvicorn", "jinja2"))
    return asked if asked is not None else only is None and installed


def _tell(output: Output) -> Callable[[Mapping[str, Any]], None]:
    def tell(event: Mapping[str, Any]) -> None:
        if event["event"] == "service" and event["state"] in {"starting", "backoff"}:
            output.note(f"{event['name']}: {event['state']}")

    return tell


def _stay(stack: Stack, output: Output) -> None:
    output.note("Press Ctrl-C to stop.")
    try:
        while stack.status().state != "down":
            time.sleep(2.0)
    except KeyboardInterrupt:
        output.note(stack.down().to_text())


@click.command()
@_directory
@click.option("--wipe", is_flag=True, help="Also remove the directory and all data in it.")
@click.option("--yes", is_flag=True, help="Don't ask before wiping.")
@format_option()
def down(directory: str, output: Output, *, wipe: bool, yes: bool) -> int:
    """Stop the local mesh; its data is kept for the next start.

    \b
    meshkit down
    meshkit down --wipe --yes
    """
    stack = _found(directory)
    if wipe and not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"--wipe removes all data in {stack.directory}. Add --yes", code="local.not_confirmed")
        click.confirm(f"Remove all data in {stack.directory}?", abort=True, err=True)
    return output.show(stack.down(wipe=wipe))


@click.command()
@_directory
@click.option("--capabilities", is_flag=True, help="Show what this runtime enforces and what not.")
@click.option("--env", "as_env", is_flag=True, help="Print lines for: eval $(meshkit status --env). They hold secrets.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds.")
@format_option()
def status(directory: str, output: Output, *, capabilities: bool, as_env: bool, watch: bool) -> int:
    """Show the services of the local mesh. Exit code 1 unless all are ready.

    \b
    meshkit status
    meshkit status --capabilities
    eval $(meshkit status --env)
    """
    stack = _found(directory)
    if as_env:
        values = stack.env()
        text = json.dumps(values, indent=2) if output.form == "json" else _exports(values)
        click.echo(text)
        return 0
    while True:
        found = stack.status()
        if capabilities and output.form == "text":
            click.echo(found.capabilities_text())
            return 0
        code = output.show(found)
        if not watch:
            return code
        time.sleep(2.0)


def _exports(values: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


@click.command()
@click.argument("service", required=False)
@_directory
@click.option("--lines", default=20, show_default=True, type=click.IntRange(0), help="Lines from the end.")
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C.")
def logs(service: str | None, directory: str, lines: int, *, follow: bool) -> int:
    """Show logs of local services.

    \b
    meshkit logs postgres --lines 50
    """
    stack = _found(directory)
    names = (service,) if service else stack.service_names
    for name in names:
        for line in stack.log_tail(name, lines):
            click.echo(line if service else f"{name:<9} | {line}")
    if follow:
        _follow({name: stack.log_path(name) for name in names})
    return 0


def _follow(paths: Mapping[str, Path]) -> None:
    at = {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}
    while True:
        for name, path in paths.items():
            size = path.stat().st_size if path.exists() else 0
            at[name] = 0 if size < at[name] else at[name]  # rotated
            if size > at[name]:
                with path.open("rb") as file:
                    file.seek(at[name])
                    new = file.read(size - at[name])
                at[name] = size
                click.echo(new.decode(errors="replace"), nl=False)
        time.sleep(0.3)


@click.command()
@_directory
@click.option("--runtime", type=_RUNTIMES, help="Check the needs of this runtime.  [default: that of the directory]")
@click.option("--fix", is_flag=True, help="Stop orphans and choose new ports for busy ones.")
@format_option()
def doctor(directory: str, runtime: Any, output: Output, *, fix: bool) -> int:
    """Check this machine and the local mesh. Exit code 1 when a check fails.

    \b
    meshkit doctor
    meshkit doctor --runtime jvm
    """
    return output.show(_found(directory).doctor(fix=fix, runtime=runtime))
