"""`meshkit demo`."""

from __future__ import annotations

from pathlib import Path

import click

from meshkit.cli.output import Output, format_option

__all__ = ["demo"]


@click.command()
@click.option("--dir", "folder", default=".mesh-demo", show_default=True, help="Folder of the demo; made anew.")
@click.option("--no-serve", is_flag=True, help="Don't wait with the control plane at the end.")
@click.option("--keep", is_flag=True, help="Leave the folder in place.")
@click.option("--seed", default=7, show_default=True, help="Seed of the made-up people and orders.")
@format_option()
def demo(folder: str, seed: int, output: Output, *, no_serve: bool, keep: bool) -> int:
    """Run all of meshkit on a local mesh with real data; each step checks itself.

    \b
    meshkit demo --no-serve
    """
    from meshkit.demo.run import run_demo
    from meshkit.demo.steps import World

    def serve(world: World) -> None:
        from meshkit.controlplane import create_app
        from meshkit.demo.servers import serving

        with serving(create_app(world.opened, dev_principal="jane"), port=8400) as url:
            click.echo(f"Control plane: {url}   (Ctrl-C ends the demo)", err=True)
            try:
                _wait()
            except KeyboardInterrupt:
                click.echo("Stopping.", err=True)

    show = (
        (lambda r: click.echo(r.to_text()))
        if output.form == "text"
        else (lambda r: output.note(f"{r.name} {'ok' if r.ok else 'FAILED'}"))
    )
    report = run_demo(Path(folder), seed=seed, on_step=show, after=None if no_serve else serve, keep=keep)
    return output.show(report)


def _wait() -> None:
    import threading

    threading.Event().wait()
