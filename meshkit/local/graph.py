"""The service graph: what runs, on which ports, after what, and how it proves that it works. Values only, no I/O."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshkit.local.errors import UnknownService

__all__ = [
    "Account",
    "HttpProbe",
    "KafkaProbe",
    "PostgresProbe",
    "Probe",
    "S3Probe",
    "Service",
    "Setup",
    "Stop",
    "closure",
    "levels",
]


@dataclass(frozen=True, slots=True)
class PostgresProbe:
    """Ready when `SELECT 1` answers and `wal_level` is logical."""

    port: int
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class S3Probe:
    """Ready when an object can be put, got and deleted; makes `buckets` that are missing."""

    port: int
    key: str = field(repr=False)
    secret: str = field(repr=False)
    region: str = "us-east-1"
    buckets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KafkaProbe:
    """Ready when a record can be produced and fetched by `assign()`: without a group, which takes seconds to join."""

    port: int
    topic: str = "meshkit-probe"


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """Ready when the path answers 200."""

    port: int
    path: str = "/healthz"


Probe = PostgresProbe | S3Probe | KafkaProbe | HttpProbe


@dataclass(frozen=True, slots=True)
class Stop:
    """How a service is asked to end, and how long it may take before SIGKILL."""

    signal: signal.Signals
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that a service runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Setup:
    """A command that makes `result` once: it writes to `draft`, which is renamed when it succeeded, so a crash leaves no half."""

    command: tuple[str, ...]
    draft: Path
    result: Path


@dataclass(frozen=True, slots=True)
class Service:
    """One server of the stack. `command` for processes, `image` for containers.

    `label` is name and product as people read it. `ports` are named TCP ports on 127.0.0.1, `main_port` names the one that users connect to. `base` holds the service's own HOME and
    TMPDIR; `data_dir` is its working directory, by which its processes are known. `files` are written with mode 0600 before each start.
    """

    name: str
    label: str
    version: str
    ports: Mapping[str, int]
    ready: Probe | None
    stop: Stop
    base: Path
    data_dir: Path
    url: str
    main_port: str = "main"
    needs: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[Path, str] = field(default_factory=dict, repr=False)
    setup: Setup | None = None
    account: Account | None = None
    start_timeout_seconds: float = 60.0
    litter: tuple[Path, ...] = ()  # files that the server leaves outside its folders; removed after its end


def closure(names: Iterable[str], needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """`names` and all they need, in the order of `needs`.

    Raises: `UnknownService`.
    """
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in needs:
            raise UnknownService(name, tuple(needs))
        if name not in wanted:
            wanted.add(name)
            todo.extend(needs[name])
    return tuple(name for name in needs if name in wanted)


def levels(services: Iterable[Service]) -> tuple[tuple[str, ...], ...]:
    """Names by depth: a level needs only levels before it. Stopping goes the other way round."""
    open_ = {s.name: set(s.needs) for s in services}
    result: list[tuple[str, ...]] = []
    while open_:
        free = tuple(name for name, needs in open_.items() if not needs & open_.keys())
        if not free:
            raise ValueError(f"services need each other in a circle: {', '.join(open_)}")
        result.append(free)
        for name in free:
            del open_[name]
    return tuple(result)
