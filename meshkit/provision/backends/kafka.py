"""Kafka sources of mesh.yaml: topics under the reserved prefix `mesh.`. Kafka has no tags: a topic there belongs to whom its name spells."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from meshkit._portal import Portal
from meshkit.errors import MeshkitError, MissingExtra
from meshkit.provision.backend import Kind, Problem, by_source
from meshkit.provision.errors import AlreadyExists, BackendRefused, PermissionMissing, Retryable
from meshkit.provision.plan import Change
from meshkit.provision.resources import Marker, Node, Observed, ResourceGraph

if TYPE_CHECKING:
    from meshkit.provision.credentials import SecretSink
    from meshkit.provision.target import Target

__all__ = ["KafkaBackend", "open_backend"]

EMBEDDED = "meshkit-embedded"  # cluster id of the broker of the local mesh, which can't change topics
_SHAPE = ("partitions", "replication")
_EXISTS, _DENIED = 36, {29, 31}
_PASSING = {5, 6, 7, 8, 9, 13, 14, 15, 41}


def open_backend(target: Target, sink: SecretSink) -> KafkaBackend:  # noqa: ARG001  # topics have no secrets
    """The backend of all Kafka sources of a mesh."""
    return KafkaBackend(target)


class KafkaBackend:
    """All Kafka sources of mesh.yaml; satisfies `Backend`."""

    name = "kafka"

    def __init__(self, target: Target) -> None:
        self.target = target
        self.calls = 0
        self._lock = threading.RLock()
        self._portal: Portal | None = None
        self._admins: dict[str, tuple[Any, str]] = {}
        self.kinds: Mapping[str, Kind] = {"kafka.topic": Topics(self)}

    def call(self, source: str, method: str, *arguments: Any) -> Any:
        """One call of the admin client."""
        with self._lock:
            admin, _ = self._admin(source)
            self.calls += 1
            assert self._portal is not None
            return self._portal.call(getattr(admin, method)(*arguments), timeout_seconds=30)

    def is_embedded(self, source: str) -> bool:
        """Whether the broker is that of the embedded local mesh."""
        with self._lock:
            return self._admin(source)[1] == EMBEDDED

    def _admin(self, source: str) -> tuple[Any, str]:
        if source not in self._admins:
            self._portal = self._portal or Portal("meshkit-provision-kafka")
            self._admins[source] = self._portal.call(_connect(self.target.config.sources[source]), timeout_seconds=30)
        return self._admins[source]

    def check(self, nodes: Sequence[Node]) -> Sequence[Problem]:
        """Whether each broker answers."""
        problems = []
        for source in by_source(nodes):
            try:
                with translated("Describe", source):
                    self.call(source, "list_topics")
            except MeshkitError as error:
                problems.append(Problem(self.name, f"source {source}: {error.message}"))
        return problems

    def owned(self, graph: ResourceGraph) -> Iterator[tuple[Node, Observed]]:  # noqa: ARG002  # topics hold data, not rights
        """Nothing: topics are never orphans, they are data."""
        yield from ()

    def close(self) -> None:
        """Close connections and the loop thread."""
        with self._lock:
            if self._portal is None:
                return
            for admin, _ in self._admins.values():
                self._portal.call(admin.close(), timeout_seconds=10)
            self._admins.clear()
            self._portal.close()
            self._portal = None


async def _connect(source: Any) -> tuple[Any, str]:
    try:
        from aiokafka.admin import AIOKafkaAdminClient
    except ImportError:
        raise MissingExtra("kafka", package="aiokafka", purpose="making Kafka topics") from None
    security = source.security
    settings: dict[str, Any] = {"security_protocol": security.protocol.upper()}
    if security.mechanism:
        settings["sasl_mechanism"] = security.mechanism.upper()
        settings["sasl_plain_username"] = security.user
        settings["sasl_plain_password"] = security.password.reveal() if security.password else None
    if "ssl" in security.protocol:
        from aiokafka.helpers import create_ssl_context

        settings["ssl_context"] = create_ssl_context()
    admin = AIOKafkaAdminClient(bootstrap_servers=source.bootstrap, request_timeout_ms=20_000, **settings)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except BaseException:
        await admin.close()
        raise
    return admin, str(cluster.get("cluster_id"))


@contextmanager
def translated(action: str, resource: str) -> Iterator[None]:
    """Errors of aiokafka as errors of provisioning."""
    from aiokafka import errors

    try:
        yield
    except (
        errors.TopicAuthorizationFailedError,
        errors.ClusterAuthorizationFailedError,
        errors.AuthenticationFailedError,
    ) as error:
        raise PermissionMissing(action=action, resource=resource) from error
    except errors.IncompatibleBrokerVersion as error:
        raise BackendRefused(f"{action} on {resource}: this broker can't do that") from error
    except (errors.KafkaError, TimeoutError, OSError) as error:
        raise Retryable(f"{action} on {resource} got no answer ({type(error).__name__})") from error


def _judge(code: int, action: str, resource: str) -> None:
    if code == 0:
        return
    if code == _EXISTS:
        raise AlreadyExists(f"{resource} exists already")
    if code in _DENIED:
        raise PermissionMissing(action=action, resource=resource)
    if code in _PASSING:
        raise Retryable(f"{action} on {resource} failed in passing (error {code})")
    raise BackendRefused(
        f"{action} on {resource} was refused (Kafka error {code}). Check partitions and replication of the target"
    )


class Topics:
    """Topics with partitions, replication and the configuration that the node names; other keys are kept."""

    def __init__(self, backend: KafkaBackend) -> None:
        self._backend = backend

    def read(self, node: Node) -> Observed | None:
        with translated("Describe", node.id):
            if node.name not in self._backend.call(node.source, "list_topics"):
                return None
            described = self._backend.call(node.source, "describe_topics", [node.name])[0]
            configs = self._configs(node)
            embedded = self._backend.is_embedded(node.source)
        if described["error_code"]:
            _judge(described["error_code"], "Describe", node.id)
        parts = described["partitions"]
        fields: dict[str, Any] = {
            "partitions": len(parts),
            "replication": min((len(p["replicas"]) for p in parts), default=0),
        }
        for key, wanted in node.fields.items():
            if key not in _SHAPE:
                # the embedded broker accepts every key and reports those it keeps
                fields[key] = configs.get(key, wanted if embedded else None)
        marker = Marker(node.owner, self._backend.target.mesh, self._backend.target.environment)
        return Observed(fields, marker, fixed=frozenset(node.fields) if embedded else frozenset())

    def _configs(self, node: Node) -> dict[str, str]:
        from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

        answers = self._backend.call(
            node.source, "describe_configs", [ConfigResource(ConfigResourceType.TOPIC, node.name)]
        )
        return {e[0]: e[1] for answer in answers for resource in answer.resources for e in resource[4]}

    def create(self, node: Node) -> None:
        from aiokafka.admin import NewTopic

        configs = {k: str(v) for k, v in node.fields.items() if k not in _SHAPE}
        topic = NewTopic(node.name, node.fields["partitions"], node.fields["replication"], topic_configs=configs)
        with translated("Create", node.id):
            answer = self._backend.call(node.source, "create_topics", [topic])
        for error in answer.topic_errors:
            _judge(error[1], "Create", node.id)

    def update(self, node: Node, changes: Sequence[Change]) -> None:
        from aiokafka.admin import NewPartitions
        from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

        with translated("Alter", node.id):
            if any(c.path == "partitions" for c in changes):
                more = {node.name: NewPartitions(node.fields["partitions"])}
                answer = self._backend.call(node.source, "create_partitions", more)
                for error in getattr(answer, "topic_errors", ()):
                    _judge(error[1], "Alter", node.id)
            configs = {k: str(v) for k, v in node.fields.items() if k not in _SHAPE}
            if any(c.path in configs for c in changes):
                kept = self._own_configs(node)  # AlterConfigs replaces all keys that were set on the topic
                resource = ConfigResource(ConfigResourceType.TOPIC, node.name, configs={**kept, **configs})
                for answer in self._backend.call(node.source, "alter_configs", [resource]):
                    for error in answer.resources:
                        _judge(error[0], "AlterConfigs", node.id)

    def _own_configs(self, node: Node) -> dict[str, str]:
        """Keys set on the topic itself (source 1 of DescribeConfigs), not defaults of the broker."""
        from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

        answers = self._backend.call(
            node.source, "describe_configs", [ConfigResource(ConfigResourceType.TOPIC, node.name)]
        )
        return {e[0]: e[1] for a in answers for r in a.resources for e in r[4] if len(e) > 3 and e[3] == 1}
