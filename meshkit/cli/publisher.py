"""`meshkit publisher run | status | doctor`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshkit.cli.output import Output, format_option

if TYPE_CHECKING:
    from meshkit.config import MeshConfig
    from meshkit.publisher import Publisher

__all__ = ["publisher"]

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def publisher() -> None:
    """Stream database changes as events."""


def publisher_options(function: F) -> F:
    """MANIFEST and `--config`; the command gets `target: Publisher`."""

    @click.argument("manifest", type=click.Path(exists=True, dir_okay=False))
    @click.option("--config", type=click.Path(dir_okay=False), envvar="MESHKIT_CONFIG",
                  help="mesh.yaml to use; default: the one that applies here.")  # fmt: skip
    @wraps(function)
    def run(*args: Any, manifest: str, config: str | None, **kwargs: Any) -> Any:
        return function(*args, target=_publisher(manifest, config), **kwargs)

    return run  # type: ignore[return-value]


def _publisher(manifest: str, config: str | None) -> Publisher:
    from meshkit.config import Settings
    from meshkit.manifest import Manifest
    from meshkit.publisher import Publisher

    dsn = Settings.from_env().source_dsn
    return Publisher.from_config(
        Manifest.load(manifest), _config(config), source_dsn=dsn.get_secret_value() if dsn else None
    )


def _config(config: str | None) -> MeshConfig:
    from meshkit.config import find_config, load_config
    from meshkit.errors import UsageError

    path = Path(config) if config is not None else find_config()
    if path is None:
        raise UsageError("no mesh.yaml is here or above. Name one by --config, or start a local mesh: meshkit up")
    return load_config(path)


@publisher.command()
@publisher_options
@click.option("--plan", is_flag=True, help="Show SQL, topic and columns; change nothing.")
@click.option("--until", type=click.Choice(["stopped", "caught-up"]), default="stopped", show_default=True,
              help="When to end: never by itself, or when all that is committed now is published.")  # fmt: skip
@click.option("--adopt-slot", is_flag=True, help="Go on from a slot that no position belongs to.")
@click.option(
    "--retry-for",
    type=float,
    metavar="SECONDS",
    help="Give up when database or sinks stay away for so long; default: never.",
)
@click.option("--resync", is_flag=True, hidden=True)
@click.option("--take-over", is_flag=True, hidden=True)
@format_option()
def run(target: Publisher, output: Output, *, plan: bool, until: str, adopt_slot: bool, retry_for: float | None,
        resync: bool, take_over: bool) -> int:  # fmt: skip
    """Publish committed changes until stopped (SIGTERM, Ctrl-C: the open chunk is finished). Exit 1 if it can't go on safely.

    \b
    meshkit publisher run manifest.yaml --plan
    meshkit publisher run manifest.yaml --until caught-up
    """
    if plan:
        return output.show(target.plan())
    if retry_for is not None:
        target.settings = target.settings.model_copy(update={"retry_for_seconds": retry_for})
    with _stopped_by_signals() as stop:
        return output.show(
            target.run(
                stop=stop,
                until="caught_up" if until == "caught-up" else "stopped",
                adopt_slot=adopt_slot,
                resync=resync,
                take_over=take_over,
            )
        )


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT ask the run to end; a second one ends the process as usual."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@publisher.command()
@publisher_options
@click.option("--max-lag-seconds", type=float, help="Exit 1 if events are older than this.")
@format_option()
def status(target: Publisher, output: Output, *, max_lag_seconds: float | None) -> int:
    """Slot and positions, from any process.

    \b
    meshkit publisher status manifest.yaml --max-lag-seconds 60
    """
    return output.show(target.status(max_lag_seconds=max_lag_seconds))


@publisher.command()
@publisher_options
@format_option()
def doctor(target: Publisher, output: Output) -> int:
    """Check server, slot, publication and tables; print the SQL that repairs. Exit 1 if a check fails.

    \b
    meshkit publisher doctor manifest.yaml
    """
    return output.show(target.doctor())
