"""A real Chromium in front of real servers: one mesh per worker, one server per reader.

Without Chromium (`apt install chromium`) or, for the accessibility rules, without npm, tests fail in CI (`CI=true`) and are skipped by name elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import portal_mesh
import pytest

from meshkit import Mesh
from meshkit.ports import QueryLogRecord

if TYPE_CHECKING:
    from playwright.sync_api import Browser

AXE = "axe-core@4.14.1"
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
LONG = "customer_lifetime_value_by_acquisition_channel_and_first_touch"
WIDE = f"""\
apiVersion: meshkit/v1
kind: DataProduct
domain: calendar
name: {LONG}
version: 12.104.3
status: active
owner: {{team: calendar_and_fiscal_periods_of_all_legal_entities_of_the_group_including_discontinued_brands, contact: c@x.org}}
description: {{purpose: "قيمة العميل مدى الحياة حسب قناة الاكتساب، صف واحد لكل عميل وشهر"}}
support: [{{channel: "#calendar"}}]
schema:
  {LONG}:
    fields:
      {"x" * 60}: {{type: string}}
      nested: {{type: list, items: {{type: struct, fields: {{deep: {{type: struct, fields: {{deeper: string}}}}}}}}}}
ports: {{lake: {{kind: file, location: "s3://a-bucket-with-a-long-name/and/a/long/path/{LONG}/v{{major}}/*.parquet", format: parquet}}}}
slos: {{freshness: {{within: 30h}}}}
"""


def missing(reason: str) -> None:
    """A failure in CI, a named skip elsewhere."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh behind all servers of this worker: one breaching, one without evidence, one with 300 readers and long words."""
    folder = tmp_path_factory.mktemp("portal")
    path = portal_mesh.write_mesh(folder)
    home = folder / "products" / "calendar"
    home.mkdir()
    (home / "manifest.yaml").write_text(WIDE)
    with Mesh.open(path) as mesh:
        portal_mesh.fill(mesh)
        now = datetime.now(UTC)
        for number in range(300):
            name = f"reader-{number:03d}" + ("-of-a-team-with-a-very-long-name-that-does-not-end" if number < 3 else "")
            mesh.query_log.append(
                QueryLogRecord(
                    f"wide-{number}", now - timedelta(hours=1), name, relations={f"calendar.{LONG}": ("nested",)}
                )
            )
        yield mesh


@pytest.fixture(scope="session")
def serve(portal: Mesh) -> Iterator[Callable[[str], str]]:
    """`serve("jane")`: base URL of a server that reads as that principal."""
    import uvicorn

    from meshkit.controlplane import create_app

    running: dict[str, tuple[Any, threading.Thread, str]] = {}

    def start(name: str) -> str:
        if name not in running:
            config = uvicorn.Config(
                create_app(portal, dev_principal=name),
                host="127.0.0.1",
                port=0,
                log_level="warning",
                access_log=False,
                ws="none",
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.02)
            port = server.servers[0].sockets[0].getsockname()[1]
            running[name] = (server, thread, f"http://127.0.0.1:{port}")
        return running[name][2]

    yield start
    for server, thread, _ in running.values():
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        missing("chromium is not installed. Run: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=ARGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core, fetched by npm once into the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshkit-tests"
    cache.mkdir(parents=True, exist_ok=True)
    script = cache / AXE.replace("@", "-") / "axe.min.js"
    with (cache / "axe.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not script.is_file():
            _fetch(cache, script)
    return script.read_text(encoding="utf-8")


def _fetch(cache: Path, script: Path) -> None:
    if shutil.which("npm") is None:
        missing("npm is not installed, so axe-core can't be fetched. Run: apt install npm")
    done = subprocess.run(
        ["npm", "pack", AXE, "--silent", "--pack-destination", str(cache)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cache,
    )
    archive = cache / f"{AXE.replace('@', '-')}.tgz"
    if done.returncode or not archive.is_file():
        missing(f"npm could not fetch {AXE}: {done.stderr.strip()[-300:]}")
    with tarfile.open(archive) as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        script.parent.mkdir(exist_ok=True)
        partial = script.with_suffix(".part")
        partial.write_bytes(member.read())
        partial.replace(script)
    archive.unlink()
