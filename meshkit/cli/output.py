"""How results reach people and programs: a value that knows its text and JSON forms and its exit code is shown once, here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import click

__all__ = ["Output", "Shown", "format_option", "is_terminal"]

F = TypeVar("F", bound=Callable[..., Any])


class Shown(Protocol):
    """A result that a command can print. `exit_code` is 0 when absent."""

    def to_text(self) -> str:
        """For people; without trailing newline."""

    def to_json(self) -> dict[str, Any]:
        """For programs; has `format: meshkit.<group>.<thing>/<n>` on top."""


class Output:
    """Where a command's result goes: stdout, as text or JSON."""

    def __init__(self, form: str = "text") -> None:
        self.form = form

    def show(self, value: Shown) -> int:
        """Print `value` and return its exit code."""
        text = dump_json(value.to_json()) if self.form == "json" else value.to_text()
        if text:
            click.echo(text)
        return int(getattr(value, "exit_code", 0))

    def note(self, text: str) -> None:
        """A remark on stderr: progress, warnings, hints."""
        click.echo(text, err=True)


def dump_json(value: dict[str, Any]) -> str:
    """JSON text of a result; keys in the documented order."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def is_terminal() -> bool:
    """Whether colour and progress are welcome on stdout."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def format_option(*more: str) -> Callable[[F], F]:
    """`--format text|json|...`; the command gets `output: Output`."""

    def wrap(function: F) -> F:
        option = click.option(
            "--format",
            "output",
            type=click.Choice(["text", "json", *more]),
            default="text",
            show_default=True,
            callback=lambda _ctx, _param, value: Output(value),
            help="Form of the result on stdout.",
        )
        return option(function)

    return wrap
