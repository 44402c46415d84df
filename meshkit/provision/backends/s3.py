"""S3-compatible stores of mesh.yaml `sources`: buckets, folders with an owner, users with one policy and one access key (SeaweedFS)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshkit.errors import MeshkitError
from meshkit.provision.backend import Kind, Problem, by_source
from meshkit.provision.backends.boto import Clients, absent, error_code, translated
from meshkit.provision.credentials import SecretSink
from meshkit.provision.errors import BackendRefused
from meshkit.provision.plan import Change
from meshkit.provision.resources import Marker, Node, Observed, ResourceGraph

if TYPE_CHECKING:
    from meshkit.provision.target import Target

__all__ = ["OWNER_FILE", "Prefixes", "S3Backend", "open_backend"]

OWNER_FILE = ".meshkit-owner.json"
POLICY = "meshkit"


def open_backend(target: Target, sink: SecretSink) -> S3Backend:
    """The backend of all S3 sources of a mesh."""
    return S3Backend(target, sink)


class S3Backend:
    """All S3 sources of mesh.yaml; satisfies `Backend`."""

    name = "s3"

    def __init__(self, target: Target, sink: SecretSink) -> None:
        self.target = target
        self._clients: dict[str, Clients] = {}
        for name, source in target.config.sources.items():
            if source.kind == "s3":
                keys = {"aws_access_key_id": source.key.reveal(), "aws_secret_access_key": source.secret.reveal()} if source.key and source.secret else {}  # fmt: skip
                self._clients[name] = Clients(endpoint_url=source.endpoint, region_name=source.region, **keys)
        marker = Marker("", target.mesh, target.environment)
        self.kinds: Mapping[str, Kind] = {
            "s3.bucket": Buckets(self),
            "aws.s3_prefix": Prefixes(self.clients, marker),
            "s3.identity": Identities(self, marker, sink),
        }

    @property
    def calls(self) -> int:
        """Requests so far."""
        return sum(c.calls for c in self._clients.values())

    def clients(self, node: Node) -> Clients:
        """Clients of the source that a node lives on."""
        return self._clients[node.source]

    def check(self, nodes: Sequence[Node]) -> Sequence[Problem]:
        """Whether each store answers, and makes users where users are wanted."""
        problems = []
        for source, group in by_source(nodes).items():
            try:
                if any(n.kind == "s3.identity" for n in group):
                    with translated("iam:ListUsers", source):
                        self._clients[source]("iam").list_users(MaxItems=1)
                else:
                    with translated("s3:ListAllMyBuckets", source):
                        self._clients[source]("s3").list_buckets()
            except MeshkitError as error:
                problems.append(Problem(self.name, f"source {source}: {error.message}"))
        return problems

    def owned(self, graph: ResourceGraph) -> Iterator[tuple[Node, Observed]]:
        """Users of the products that no manifest asks for any more."""
        for source in by_source(n for n in graph.nodes if n.kind == "s3.identity"):
            with translated("iam:ListUsers", source):
                pages = self._clients[source]("iam").get_paginator("list_users").paginate()
                names = [u["UserName"] for page in pages for u in page["Users"]]
            for name, product in ((n, p) for n in names for p in graph.products if n.startswith(f"mk.{p.id}.")):
                role = name.removeprefix(f"mk.{product.id}.")
                node = Node(
                    "s3.identity", name, product.urn, product.id, source, context={"product": product.id, "role": role}
                )
                seen = None if node.id in graph.by_id else self.kinds["s3.identity"].read(node)
                if seen is not None and seen.marker == graph.marker(node):
                    yield node, seen

    def close(self) -> None:
        """Close connections."""
        for clients in self._clients.values():
            clients.close()


class Buckets:
    """Buckets that products share: made where missing, never changed."""

    def __init__(self, backend: S3Backend) -> None:
        self._backend = backend

    def read(self, node: Node) -> Observed | None:
        from botocore.exceptions import ClientError

        with translated("s3:ListBucket", node.name):
            try:
                self._backend.clients(node)("s3").head_bucket(Bucket=node.name)
            except ClientError as error:
                if error_code(error) in {"404", "NoSuchBucket"}:
                    return None
                raise
        return Observed()

    def create(self, node: Node) -> None:
        with translated("s3:CreateBucket", node.name):
            self._backend.clients(node)("s3").create_bucket(Bucket=node.name)

    def update(self, node: Node, changes: Sequence[Change]) -> None:  # noqa: ARG002  # of the port
        raise BackendRefused(f"{node.id} is shared and never changed")


class Prefixes:
    """Folders: owned by an object that only the first writer can put. Files that lie there already stay as they are."""

    def __init__(self, clients: Any, marker: Marker) -> None:
        self._clients, self._marker = clients, marker

    def read(self, node: Node) -> Observed | None:
        bucket, _, prefix = node.name.partition("/")
        segments = prefix.split("/")
        for depth in range(1, len(segments)):
            outer = self._owner(node, bucket, "/".join(segments[:depth]))
            if outer is not None and outer.owner != node.owner:
                return Observed(foreign=f"lies inside {'/'.join(segments[:depth])}/, which belongs to {outer}")
        found = self._owner(node, bucket, prefix)
        if found is not None:
            return Observed({}, found)
        return self._inner(node, bucket, prefix)

    def _inner(self, node: Node, bucket: str, prefix: str) -> Observed | None:
        """A folder is claimed once; then no other owner may have a folder below, which the new one would see."""
        from botocore.exceptions import ClientError

        with translated("s3:ListBucket", f"{bucket}/{prefix}/"):
            try:
                pages = (
                    self._clients(node)("s3")
                    .get_paginator("list_objects_v2")
                    .paginate(Bucket=bucket, Prefix=f"{prefix}/")
                )
                keys = [o["Key"] for p in pages for o in p.get("Contents", ()) if o["Key"].endswith(f"/{OWNER_FILE}")]
            except ClientError as error:
                if error_code(error) == "NoSuchBucket":
                    return None
                raise
        for key in keys:
            folder = key.removesuffix(f"/{OWNER_FILE}")
            owner = self._owner(node, bucket, folder)
            if owner is not None and owner.owner != node.owner:
                return Observed(foreign=f"holds {folder}/, which belongs to {owner}")
        return None

    def _owner(self, node: Node, bucket: str, prefix: str) -> Marker | None:
        from botocore.exceptions import ClientError

        key = f"{prefix}/{OWNER_FILE}"
        with translated("s3:GetObject", f"{bucket}/{key}"):
            try:
                body = self._clients(node)("s3").get_object(Bucket=bucket, Key=key)["Body"].read(65536)
            except ClientError as error:
                if error_code(error) in {"NoSuchKey", "NoSuchBucket", "404"}:
                    return None
                raise
        try:
            data = json.loads(body)
        except ValueError:
            data = None
        unreadable = Marker("somebody (its owner file is unreadable)", "?", "?")
        return (Marker.from_json(data) if isinstance(data, dict) else None) or unreadable

    def create(self, node: Node) -> None:
        bucket, _, prefix = node.name.partition("/")
        marker = Marker(node.owner, self._marker.mesh, self._marker.environment)
        with translated("s3:PutObject", f"{bucket}/{prefix}/{OWNER_FILE}"):
            self._clients(node)("s3").put_object(
                Bucket=bucket, Key=f"{prefix}/{OWNER_FILE}", Body=json.dumps(marker.to_json()).encode(),
                ContentType="application/json", IfNoneMatch="*",
            )  # fmt: skip

    def update(self, node: Node, changes: Sequence[Change]) -> None:  # noqa: ARG002  # of the port
        raise BackendRefused(f"{node.id} has no fields")


class Identities:
    """Users of the store's own IAM. SeaweedFS drops tags at CreateUser, so they follow; a bare user of our reserved name is a begun one."""

    def __init__(self, backend: S3Backend, marker: Marker, sink: SecretSink) -> None:
        self._backend, self._marker, self._sink = backend, marker, sink
        self._turn = threading.Lock()  # SeaweedFS rewrites its identities as a whole: writes take turns

    def read(self, node: Node) -> Observed | None:
        from botocore.exceptions import ClientError

        iam, user = self._backend.clients(node)("iam"), node.name
        with translated("iam:GetUser", user):
            try:
                iam.get_user(UserName=user)
            except ClientError as error:
                if error_code(error) == "NoSuchEntity":
                    return None
                raise
            names = iam.list_user_policies(UserName=user)["PolicyNames"]
            attached = [p["PolicyName"] for p in iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]]
            policy = (
                iam.get_user_policy(UserName=user, PolicyName=POLICY)["PolicyDocument"] if POLICY in names else None
            )
            keys = [k["AccessKeyId"] for k in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]
            # Last: a racing run tags before it writes anything else, so what it wrote has its tags by now.
            tags = {t["Key"]: t["Value"] for t in iam.list_user_tags(UserName=user)["Tags"]}
        marker = Marker.from_json(tags)
        if marker is None and not tags and not names and not keys:
            marker = Marker(node.owner, self._marker.mesh, self._marker.environment)
        stored = self._stored(node)
        credential = "stored" if stored is not None and keys == [stored] else "missing" if not keys else "unknown"
        others = sorted({n for n in names if n != POLICY} | set(attached))
        return Observed({"policy": policy, "other_policies": others, "credential": credential}, marker, fixed=frozenset({"other_policies"} if attached else ()))  # fmt: skip

    def _stored(self, node: Node) -> str | None:
        values = self._sink.read(node.context["product"], node.context["role"], "s3")
        return values.get("access_key") if values else None

    def create(self, node: Node) -> None:
        with self._turn:
            with translated("iam:CreateUser", node.name):
                self._backend.clients(node)("iam").create_user(UserName=node.name)
            self._write(node, {"policy", "credential"})

    def update(self, node: Node, changes: Sequence[Change]) -> None:
        with self._turn:
            self._write(node, {c.path for c in changes})

    def _write(self, node: Node, paths: set[str]) -> None:
        iam, user = self._backend.clients(node)("iam"), node.name
        marker = Marker(node.owner, self._marker.mesh, self._marker.environment)
        with translated("iam:TagUser", user):
            iam.tag_user(UserName=user, Tags=[{"Key": k, "Value": v} for k, v in marker.to_json().items()])
        if "other_policies" in paths:
            with translated("iam:DeleteUserPolicy", user):
                for name in iam.list_user_policies(UserName=user)["PolicyNames"]:
                    if name != POLICY:
                        iam.delete_user_policy(UserName=user, PolicyName=name)
        if "policy" in paths:
            with translated("iam:PutUserPolicy", user):
                iam.put_user_policy(UserName=user, PolicyName=POLICY, PolicyDocument=json.dumps(node.fields["policy"]))
        if "credential" in paths:
            self._one_key(node)

    def _one_key(self, node: Node) -> None:
        """Keys that the sink does not know are deleted: a run was killed after making them, or somebody else did."""
        iam, user = self._backend.clients(node)("iam"), node.name
        stored = self._stored(node)
        with translated("iam:CreateAccessKey", user):
            keys = [k["AccessKeyId"] for k in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]
            for key in keys:
                if key != stored:
                    absent(iam.delete_access_key, UserName=user, AccessKeyId=key)  # another run may have been faster
            if stored in keys:
                return
            made = iam.create_access_key(UserName=user)["AccessKey"]
        values = {"access_key": made["AccessKeyId"], "secret_key": made["SecretAccessKey"]}
        self._sink.write(node.context["product"], node.context["role"], "s3", values)
