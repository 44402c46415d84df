"""Real servers for tests: one local mesh per test run, shared by all pytest-xdist workers, each service started at its first use.

    def test_x(postgres_dsn, fresh_database, s3, s3_bucket, kafka_bootstrap): ...

`postgres_dsn`      superuser DSN of the shared server; don't make tables there
`fresh_database`    call it for the DSN of a new, empty database (session-scoped, so module fixtures can use it too)
`s3`                endpoint, key, secret, region of the shared object store
`s3_bucket`         the name of a new, empty bucket
`kafka_bootstrap`   `host:port` of the broker; use topic names of your own

Where a server can't be had, tests fail in CI (`CI=true`) and are skipped by name elsewhere. The stack belongs to the process that
started the run: it stops and is removed when that ends, also by SIGKILL.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from meshkit.errors import EnvironmentProblem

if TYPE_CHECKING:
    from meshkit.local import Endpoints


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server on 127.0.0.1, addressed path-style."""

    endpoint: str
    key: str
    secret: str = field(repr=False)
    region: str


def _run_directory(factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder that all workers of this run share, and the process that the run ends with."""
    # in a folder of its own: a running mesh above a test's folder would be the one that applies there
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder, owner = factory.getbasetemp().parent / "servers", os.getppid()
    else:
        folder, owner = factory.getbasetemp() / "servers", os.getpid()
    folder.mkdir(exist_ok=True)
    return folder, owner


@pytest.fixture(scope="session")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Endpoints]]:
    folder, owner = _run_directory(tmp_path_factory)
    stacks = []

    def start(name: str) -> Endpoints:
        from meshkit.local import Stack

        with (folder / "stack.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                stack = Stack.open(folder / ".mesh", only=(name,), ends_with_pid=owner)
                stack.up().raise_for_failures(stack.log_path)
            except EnvironmentProblem as problem:
                if os.environ.get("CI", "").lower() in {"1", "true"}:
                    pytest.fail(f"{name}: {problem}")
                pytest.skip(f"no {name} here: {problem}")
            stacks.append(stack)
            return stack.endpoints

    yield start
    if stacks and owner == os.getpid():
        stacks[0].down(wipe=True)


@pytest.fixture(scope="session")
def postgres_dsn(_service: Callable[[str], Endpoints]) -> str:
    """DSN of the superuser on the shared Postgres."""
    dsn = _service("postgres").postgres_dsn
    assert dsn is not None
    return dsn


@pytest.fixture(scope="session")
def fresh_database(postgres_dsn: str) -> Callable[[], str]:
    """Makes a new, empty database at each call and returns its DSN."""
    import psycopg

    def make() -> str:
        name = f"t_{uuid.uuid4().hex[:16]}"
        with psycopg.connect(postgres_dsn, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()

    return make


@pytest.fixture(scope="session")
def s3(_service: Callable[[str], Endpoints]) -> S3Server:
    """The shared object store."""
    found = _service("s3")
    assert found.s3_endpoint is not None
    assert found.s3_key is not None
    assert found.s3_secret is not None
    return S3Server(found.s3_endpoint, found.s3_key, found.s3_secret, found.s3_region)


@pytest.fixture
def s3_bucket(s3: S3Server) -> str:
    """A new, empty bucket."""
    from meshkit.local.s3wire import S3Wire

    name = f"t-{uuid.uuid4().hex[:16]}"
    port = urlsplit(s3.endpoint).port
    assert port is not None
    status, _ = S3Wire(port, s3.key, s3.secret, s3.region).call("PUT", f"/{name}")
    assert status == 200
    return name


@pytest.fixture(scope="session")
def kafka_bootstrap(_service: Callable[[str], Endpoints]) -> str:
    """`host:port` of the shared broker."""
    found = _service("broker").kafka_bootstrap
    assert found is not None
    return found
