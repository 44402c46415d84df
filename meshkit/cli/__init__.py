"""The command line: one file per command group, each command parses, calls one public function and hands the value to an `Output`.

`meshkit` and `mesh-cli` are the same program; `platform-deploy` is `meshkit provision deploy`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from meshkit import __version__
from meshkit.errors import MeshkitError

__all__ = ["main", "meshkit", "platform_deploy"]

# command -> module below meshkit.cli, attribute; loaded when the command is named, so that `meshkit --help` imports nothing heavy.
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("product", "init", "Write a valid draft manifest"),
    "validate": ("product", "validate", "Check manifests, ODCS and ODPS files"),
    "manifest": ("product", "manifest", "Show a manifest, print the schema of the format"),
    "publish": ("publish", "publish", "Run products: read, transform, check, commit"),
    "demo": ("demo", "demo", "Run all of meshkit on a local mesh with real data"),
    "contract": ("contracts", "contract", "Diff, check, test and publish contracts"),
    "sql": ("sql", "sql", "Query products under your policies"),
    "policy": ("policy", "policy", "Test and explain access policies"),
    "audit": ("policy", "audit", "Verify and read the audit chain"),
    "gateway": ("gateway", "gateway", "Serve products over HTTP with identity and masking"),
    "publisher": ("publisher", "publisher", "Stream database changes as events"),
    "catalog": ("catalog", "catalog", "Crawl, search, request access"),
    "lineage": ("lineage", "lineage", "Show lineage and the impact of a change"),
    "slo": ("slo", "slo", "Compare promises with evidence"),
    "serve": ("serve", "serve", "Serve the control plane"),
    "provision": ("provision", "provision", "Plan and deploy resources of products"),
    "up": ("local", "up", "Start a local mesh"),
    "down": ("local", "down", "Stop the local mesh"),
    "status": ("local", "status", "Show the services of the local mesh"),
    "logs": ("local", "logs", "Show logs of local services"),
    "doctor": ("local", "doctor", "Check this machine and the local mesh"),
    "identity": ("identity", "identity", "Link records that are the same person"),
}


class LazyGroup(click.Group):
    """Lists all commands from a table and imports only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"meshkit.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        name = args[0] if args else ""
        if name and name not in _COMMANDS and not name.startswith("-"):
            near = get_close_matches(name, list(_COMMANDS), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"no such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="meshkit")
def meshkit() -> None:
    """One manifest and one function make a governed data product.

    \b
    meshkit init --name orders --domain sales
    meshkit validate manifest.yaml
    meshkit demo
    """


def run(command: click.Command, args: list[str] | None = None, *, name: str = "meshkit") -> int:
    """Run a command and return its exit code; the process edge where errors become text on stderr."""
    try:
        result: Any = command.main(args=args, prog_name=name, standalone_mode=False)
    except MeshkitError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as shown:
        shown.show()
        return 0
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped; nothing is half done.", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of `meshkit` and `mesh-cli`."""
    sys.exit(run(meshkit))


def platform_deploy() -> None:
    """Entry point of `platform-deploy`."""
    sys.exit(run(meshkit, ["provision", "deploy", *sys.argv[1:]], name="platform-deploy"))
