"""`run_demo`: prepare a folder, run the steps, leave nothing behind unless asked to."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from meshkit.demo.report import DemoReport, StepFailed, StepResult
from meshkit.demo.steps import STEPS, Step, World, make_world
from meshkit.errors import MeshkitError, UsageError

__all__ = ["prepare_folder", "run_demo"]

_MARK = ".meshkit-demo"


def prepare_folder(folder: Path) -> None:
    """Make the demo's folder anew. Raises: `UsageError` for a folder that the demo did not make."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise UsageError(
            f"{folder} is not empty and was not made by the demo. Choose another --dir", code="demo.foreign_folder"
        )
    if (folder / ".mesh").exists():
        from meshkit.local import Stack

        Stack.open(folder / ".mesh").down(wipe=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    with as_file(files("meshkit.demo") / "files") as source:
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def run_demo(
    folder: Path,
    *,
    seed: int = 7,
    on_step: Callable[[StepResult], None] = lambda _: None,
    after: Callable[[World], None] | None = None,
    keep: bool = False,
) -> DemoReport:
    """Run every step; a failed one is reported and ends the run. `after` is called with the world while its servers still run.

    Raises: `UsageError` for a foreign folder; `EnvironmentProblem` if servers can't be started at all.
    """
    from meshkit.local import Stack

    prepare_folder(folder)
    stack = Stack.open(folder / ".mesh")
    began = time.monotonic()
    results: list[StepResult] = []
    world = make_world(folder, stack, seed=seed)
    with _peak_memory() as peak:
        try:
            for step in STEPS:
                results.append(_run(step, world))
                on_step(results[-1])
                if not results[-1].ok:
                    break
            seconds = time.monotonic() - began
            if after is not None and all(r.ok for r in results):
                after(world)
        finally:
            if world.mesh is not None:
                world.mesh.close()
            stack.down(wipe=not keep)
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
    return DemoReport(tuple(results), seconds, peak[0])


def _run(step: Step, world: World) -> StepResult:
    began = time.monotonic()
    try:
        shown = step.run(world)
    except (StepFailed, MeshkitError) as error:
        return StepResult(step.name, ok=False, seconds=time.monotonic() - began, call=step.call, problem=str(error))
    return StepResult(step.name, True, time.monotonic() - began, shown.facts, shown.lines, step.call)


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Highest sum of proportional set sizes of this process and everything it started, sampled."""
    import os

    peak, done = [0], threading.Event()

    def sample() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], sum(map(_pss, _family(os.getpid()))))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _family(root: int) -> set[int]:
    """The process, its children, and the detached supervisor's (by the session they were started in)."""
    import psutil

    found = {root}
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if "meshkit.local" in words:
            found.add(process.info["pid"])
    for pid in list(found):
        try:
            found |= {c.pid for c in psutil.Process(pid).children(recursive=True)}
        except psutil.Error:
            continue
    return found


def _pss(pid: int) -> int:
    try:
        with Path(f"/proc/{pid}/smaps_rollup").open() as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0
