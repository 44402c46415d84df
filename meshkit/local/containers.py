"""Runtime `docker` as values: images, mounts and health checks of the same services. This version renders it and does not start it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

__all__ = ["Container", "images", "plan_containers"]


@dataclass(frozen=True, slots=True)
class Container:
    """One container: `port` inside, published on 127.0.0.1 under a port that the engine chooses unless `published` is given.

    `secrets` names the variables of `services.env` that it reads. `health` is a command inside the container. `memory_mb` is a limit.
    """

    name: str
    image: str
    port: int
    health: tuple[str, ...]
    memory_mb: int
    published: int | None = None
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: bool = False
    volume: str | None = None
    needs: tuple[str, ...] = ()


@cache
def images() -> Mapping[str, str]:
    """Image of each service, by exact tag; never `latest`."""
    found: dict[str, str] = tomllib.loads(files("meshkit.local").joinpath("versions.toml").read_text(encoding="utf-8"))[
        "images"
    ]
    return found


def plan_containers(environ: Mapping[str, str] | None = None) -> tuple[Container, ...]:
    """The graph of runtime docker. `MESHKIT_S3_IMAGE` replaces the archived MinIO image, which gets no more fixes."""
    image = dict(images())
    image["s3"] = (os.environ if environ is None else environ).get("MESHKIT_S3_IMAGE") or image["s3"]
    postgres = Container(
        "postgres", image["postgres"], 5432, ("CMD-SHELL", "psql -U postgres -h 127.0.0.1 -tAc 'SHOW wal_level' | grep -qx logical"), 512,
        command=("postgres", "-c", "wal_level=logical", "-c", "max_replication_slots=20", "-c", "max_wal_senders=20"),
        env={"POSTGRES_INITDB_ARGS": "--auth-host=scram-sha-256 --locale=C.UTF-8"}, secrets=True,
        volume="/var/lib/postgresql",  # the image of version 18 stops when something is mounted at the old path below it
    )  # fmt: skip
    s3 = Container(
        "s3", image["s3"], 9000, ("CMD", "mc", "ready", "local"), 512,
        command=("server", "/data", "--address", ":9000"), secrets=True, volume="/data",
    )  # fmt: skip
    return (postgres, s3, _kafka(image["broker"]), _trino(image["trino"]))


def _kafka(image: str) -> Container:
    # Plaintext and without ACLs: one of the reasons why this runtime is not started yet. Clients outside need a fixed port, because the broker tells them where it is.
    listeners = {
        "KAFKA_NODE_ID": "1", "KAFKA_PROCESS_ROLES": "broker,controller", "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "INSIDE://:19092,OUTSIDE://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": "INSIDE://broker:19092,OUTSIDE://127.0.0.1:9092",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE", "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1", "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1", "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false", "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
    }  # fmt: skip
    health = ("CMD-SHELL", "/opt/kafka/bin/kafka-topics.sh --bootstrap-server broker:19092 --list")
    return Container("broker", image, 9092, health, 1024, published=9092, env=listeners, volume="/var/lib/kafka/data")


def _trino(image: str) -> Container:
    health = ("CMD-SHELL", "trino --server http://127.0.0.1:8080 --execute 'SELECT 1'")
    return Container("trino", image, 8080, health, 2048, needs=("postgres", "s3"))
