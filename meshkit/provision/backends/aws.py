"""AWS: buckets, folders in buckets, Glue databases and tables, IAM roles. Source: provision sections 2, 4 and 13."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshkit.errors import MeshkitError
from meshkit.provision.backend import Kind, Problem
from meshkit.provision.backends.boto import Clients, absent, error_code, translated
from meshkit.provision.backends.s3 import Prefixes
from meshkit.provision.errors import AlreadyExists, BackendRefused
from meshkit.provision.plan import Change
from meshkit.provision.resources import Marker, Node, Observed, ResourceGraph

if TYPE_CHECKING:
    from meshkit.provision.credentials import SecretSink
    from meshkit.provision.target import Target

__all__ = ["AwsBackend", "open_backend"]

POLICY = "meshkit"
_BLOCKED = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}


def open_backend(target: Target, sink: SecretSink) -> AwsBackend:  # noqa: ARG001  # roles have no secrets
    """The backend of an AWS target."""
    return AwsBackend(target)


class AwsBackend:
    """One account and region; satisfies `Backend`."""

    name = "aws"

    def __init__(self, target: Target) -> None:
        assert target.aws is not None
        self.target, self.settings = target, target.aws
        endpoint = target.aws.endpoint or target.environ.get("AWS_ENDPOINT_URL")
        self.clients = Clients(region_name=target.aws.region, **({"endpoint_url": endpoint} if endpoint else {}))
        marker = Marker("", target.mesh, target.environment)
        self.kinds: Mapping[str, Kind] = {
            "aws.s3_bucket": Buckets(self),
            "aws.s3_prefix": Prefixes(lambda _node: self.clients, marker),
            "aws.glue_database": Databases(self),
            "aws.glue_table": Tables(self),
            "aws.iam_role": Roles(self),
        }

    @property
    def calls(self) -> int:
        """Requests so far."""
        return self.clients.calls

    def marker(self, node: Node) -> Marker:
        """The marker a node carries."""
        return Marker(node.owner, self.target.mesh, self.target.environment)

    def check(self, nodes: Sequence[Node]) -> Sequence[Problem]:  # noqa: ARG002  # one account for all
        """Whether we are logged in to the account that the target names: before the first write."""
        try:
            with translated("sts:GetCallerIdentity", self.settings.account):
                account = self.clients("sts").get_caller_identity()["Account"]
        except MeshkitError as error:
            return [Problem(self.name, error.message)]
        if account != self.settings.account:
            return [
                Problem(self.name, f"the credentials are of account {account}, the target is {self.settings.account}")
            ]
        return []

    def owned(self, graph: ResourceGraph) -> Iterator[tuple[Node, Observed]]:
        """Roles of the products that no manifest asks for any more: one paged list per domain."""
        paths = {n.context["path"]: n.source for n in graph.nodes if n.kind == "aws.iam_role"}
        for path, source in paths.items():
            with translated("iam:ListRoles", path):
                pages = self.clients("iam").get_paginator("list_roles").paginate(PathPrefix=path)
                names = [r["RoleName"] for page in pages for r in page["Roles"]]
                unknown = [n for n in names if f"aws.iam_role/{n}" not in graph.by_id]
                tags = {n: self.clients("iam").list_role_tags(RoleName=n)["Tags"] for n in unknown}
            for name, product in ((n, p) for n in unknown for p in graph.products):
                marker = Marker.from_json({t["Key"]: t["Value"] for t in tags[name]})
                node = Node("aws.iam_role", name, product.urn, product.id, source)
                if marker == graph.marker(node):
                    yield node, Observed({}, marker)

    def close(self) -> None:
        """Close connections."""
        self.clients.close()


class Buckets:
    """Buckets of products and domains, closed to the public, versioned and encrypted. Every call names the expected owner."""

    def __init__(self, backend: AwsBackend) -> None:
        self._backend = backend

    def _named(self, node: Node) -> dict[str, str]:
        return {"Bucket": node.name, "ExpectedBucketOwner": self._backend.settings.account}

    def read(self, node: Node) -> Observed | None:
        from botocore.exceptions import ClientError

        s3, named = self._backend.clients("s3"), self._named(node)
        with translated("s3:ListBucket", node.name):
            try:
                s3.head_bucket(**named)
            except ClientError as error:
                if error_code(error) in {"404", "NoSuchBucket"}:
                    return None
                if error_code(error) in {"403", "AccessDenied"}:
                    return Observed(foreign="the name is taken in another account, or access is denied")
                raise
            region = s3.get_bucket_location(**named).get("LocationConstraint") or "us-east-1"
            tags = (absent(s3.get_bucket_tagging, **named) or {}).get("TagSet", [])
            marker = Marker.from_json({t["Key"]: t["Value"] for t in tags})
            if marker is None and not tags and self._is_begun(node):
                marker = self._backend.marker(node)
            return Observed({"region": region, **self._settings(named)}, marker)

    def _is_begun(self, node: Node) -> bool:
        """A server that drops tags at create, and a run that was killed there: an empty bucket whose name carries our hash."""
        if not node.name.endswith(node.context["hash"]):
            return False
        listed = self._backend.clients("s3").list_objects_v2(MaxKeys=1, **self._named(node))
        return not listed.get("KeyCount", 0)

    def _settings(self, named: Mapping[str, str]) -> dict[str, Any]:
        s3 = self._backend.clients("s3")
        block = absent(s3.get_public_access_block, **named)
        closed = block is not None and block["PublicAccessBlockConfiguration"] == _BLOCKED
        owners = absent(s3.get_bucket_ownership_controls, **named)
        encryption = absent(s3.get_bucket_encryption, **named)
        policy = absent(s3.get_bucket_policy, **named)
        return {
            "public_access": "blocked" if closed else "open",
            "ownership": owners["OwnershipControls"]["Rules"][0]["ObjectOwnership"] if owners else None,
            "versioning": {"Enabled": "on", "Suspended": "suspended"}.get(
                s3.get_bucket_versioning(**named).get("Status", ""), "off"
            ),
            "encryption": _encryption(encryption),
            "policy": json.loads(policy["Policy"]) if policy else None,
            "lifecycle": _lifecycle(absent(s3.get_bucket_lifecycle_configuration, **named)),
        }

    def create(self, node: Node) -> None:
        region = node.fields["region"]
        tags = [{"Key": k, "Value": v} for k, v in self._backend.marker(node).to_json().items()]
        configuration: dict[str, Any] = {"Tags": tags}
        if region != "us-east-1":
            configuration["LocationConstraint"] = region
        with translated("s3:CreateBucket", node.name):
            # us-east-1 answers 200 to making one's own bucket again: the read before and the marker after tell whose it is
            self._backend.clients("s3").create_bucket(
                Bucket=node.name, ObjectOwnership=node.fields["ownership"], CreateBucketConfiguration=configuration
            )
        self._write(node, set(node.fields))

    def update(self, node: Node, changes: Sequence[Change]) -> None:
        self._write(node, {c.path for c in changes})

    def _write(self, node: Node, paths: set[str]) -> None:
        s3, named, fields = self._backend.clients("s3"), self._named(node), node.fields
        self._tag(node)
        if "public_access" in paths:
            with translated("s3:PutBucketPublicAccessBlock", node.name):
                s3.put_public_access_block(**named, PublicAccessBlockConfiguration=_BLOCKED)
        if "ownership" in paths:
            with translated("s3:PutBucketOwnershipControls", node.name):
                s3.put_bucket_ownership_controls(
                    **named, OwnershipControls={"Rules": [{"ObjectOwnership": fields["ownership"]}]}
                )
        if "versioning" in paths:
            with translated("s3:PutBucketVersioning", node.name):
                s3.put_bucket_versioning(**named, VersioningConfiguration={"Status": "Enabled"})
        if "encryption" in paths:
            with translated("s3:PutEncryptionConfiguration", node.name):
                s3.put_bucket_encryption(
                    **named, ServerSideEncryptionConfiguration=_encryption_rule(fields["encryption"])
                )
        if "lifecycle" in paths:
            with translated("s3:PutLifecycleConfiguration", node.name):
                s3.put_bucket_lifecycle_configuration(
                    **named, LifecycleConfiguration=_lifecycle_rules(fields["lifecycle"])
                )
        if "policy" in paths:
            with translated("s3:PutBucketPolicy", node.name):
                if fields["policy"] is None:
                    s3.delete_bucket_policy(**named)
                else:
                    s3.put_bucket_policy(**named, Policy=json.dumps(fields["policy"]))

    def _tag(self, node: Node) -> None:
        """PutBucketTagging replaces all tags: those of others are read and kept; nothing is written where ours stand."""
        s3, named, wanted = self._backend.clients("s3"), self._named(node), self._backend.marker(node).to_json()
        with translated("s3:PutBucketTagging", node.name):
            tags = {t["Key"]: t["Value"] for t in (absent(s3.get_bucket_tagging, **named) or {}).get("TagSet", [])}
            owner = Marker.from_json(tags)
            if owner is not None and owner != self._backend.marker(node):
                raise AlreadyExists(f"{node.id} belongs to {owner}")
            if owner is None:
                merged = [{"Key": k, "Value": v} for k, v in {**tags, **wanted}.items()]
                s3.put_bucket_tagging(**named, Tagging={"TagSet": merged})


def _encryption(answer: Any) -> dict[str, Any] | None:
    if answer is None:
        return None
    rule = answer["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    return {"algorithm": rule["SSEAlgorithm"], "key": rule.get("KMSMasterKeyID")}


def _encryption_rule(wanted: Mapping[str, Any]) -> dict[str, Any]:
    rule = {"SSEAlgorithm": wanted["algorithm"], **({"KMSMasterKeyID": wanted["key"]} if wanted["key"] else {})}
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": rule, "BucketKeyEnabled": bool(wanted["key"])}]}


def _lifecycle(answer: Any) -> dict[str, Any] | None:
    """Our two numbers, if the rules are exactly ours; else what there is, so that the plan shows it."""
    if answer is None:
        return None
    rules = answer["Rules"]
    if len(rules) == 1 and rules[0].get("ID") == POLICY and rules[0].get("Status") == "Enabled":
        return {
            "abort_multipart_days": rules[0].get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
            "old_versions_days": rules[0].get("NoncurrentVersionExpiration", {}).get("NoncurrentDays"),
            **({"expiration": "set"} if rules[0].get("Expiration", {}).get("Days") else {}),
        }
    return {"rules": sorted(str(r.get("ID")) for r in rules)}


def _lifecycle_rules(wanted: Mapping[str, int]) -> dict[str, Any]:
    return {"Rules": [{
        "ID": POLICY, "Status": "Enabled", "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": wanted["abort_multipart_days"]},
        "NoncurrentVersionExpiration": {"NoncurrentDays": wanted["old_versions_days"]},
    }]}  # fmt: skip


class Databases:
    """Glue databases, one per domain; the marker stands in the parameters."""

    def __init__(self, backend: AwsBackend) -> None:
        self._backend = backend

    def read(self, node: Node) -> Observed | None:
        with translated("glue:GetDatabase", node.name):
            found = absent(self._backend.clients("glue").get_database, Name=node.name)
        return Observed({}, Marker.from_json(found["Database"].get("Parameters", {}))) if found else None

    def create(self, node: Node) -> None:
        with translated("glue:CreateDatabase", node.name):
            self._backend.clients("glue").create_database(
                DatabaseInput={"Name": node.name, "Parameters": self._backend.marker(node).to_json()}
            )

    def update(self, node: Node, changes: Sequence[Change]) -> None:  # noqa: ARG002  # of the port
        raise BackendRefused(f"{node.id} has no fields")


_FORMATS = {
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe": (
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat", "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"),
    "org.apache.hadoop.hive.ql.io.orc.OrcSerde": (
        "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat", "org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat"),
    "org.apache.hadoop.hive.serde2.avro.AvroSerDe": (
        "org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat", "org.apache.hadoop.hive.ql.io.avro.AvroContainerOutputFormat"),
}  # fmt: skip
_TEXT = ("org.apache.hadoop.mapred.TextInputFormat", "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat")
_INPUT = {
    "Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention", "StorageDescriptor", "PartitionKeys",
    "ViewOriginalText", "ViewExpandedText", "TableType", "Parameters", "TargetTable",
}  # fmt: skip


class Tables:
    """Glue tables over the files of a port. UpdateTable replaces all, and crawlers write parameters: read, merge, put."""

    def __init__(self, backend: AwsBackend) -> None:
        self._backend = backend

    def _found(self, node: Node) -> dict[str, Any] | None:
        with translated("glue:GetTable", node.name):
            found = absent(
                self._backend.clients("glue").get_table,
                DatabaseName=node.context["database"],
                Name=node.context["table"],
            )
        table: dict[str, Any] | None = found["Table"] if found else None
        return table

    def read(self, node: Node) -> Observed | None:
        table = self._found(node)
        if table is None:
            return None
        storage, parameters = table.get("StorageDescriptor", {}), table.get("Parameters", {})
        fields = {
            "columns": _pairs(storage.get("Columns", [])), "partition_keys": _pairs(table.get("PartitionKeys", [])),
            "location": storage.get("Location"), "format": storage.get("SerdeInfo", {}).get("SerializationLibrary"),
            **{k: v for k, v in parameters.items() if k.startswith("meshkit.")},
        }  # fmt: skip
        return Observed(fields, Marker.from_json(parameters))

    def create(self, node: Node) -> None:
        with translated("glue:CreateTable", node.name):
            self._backend.clients("glue").create_table(
                DatabaseName=node.context["database"], TableInput=self._input(node, {})
            )

    def update(self, node: Node, changes: Sequence[Change]) -> None:  # noqa: ARG002  # all at once
        table = self._found(node)
        if table is None:
            raise BackendRefused(f"{node.id} is gone. Plan again")
        version = {"VersionId": table["VersionId"]} if "VersionId" in table else {}
        with translated("glue:UpdateTable", node.name):
            self._backend.clients("glue").update_table(
                DatabaseName=node.context["database"], TableInput=self._input(node, table), **version
            )

    def _input(self, node: Node, before: Mapping[str, Any]) -> dict[str, Any]:
        fields = node.fields
        reads, writes = _FORMATS.get(fields["format"], _TEXT)
        storage = {
            **before.get("StorageDescriptor", {}), "Columns": _named(fields["columns"]), "Location": fields["location"], "InputFormat": reads,
            "OutputFormat": writes, "SerdeInfo": {**before.get("StorageDescriptor", {}).get("SerdeInfo", {}), "SerializationLibrary": fields["format"]},
        }  # fmt: skip
        parameters = {
            **before.get("Parameters", {}), **self._backend.marker(node).to_json(), "EXTERNAL": "TRUE",
            **{k: v for k, v in fields.items() if k.startswith("meshkit.")},
        }  # fmt: skip
        return {
            **{k: v for k, v in before.items() if k in _INPUT}, "Name": node.context["table"], "TableType": "EXTERNAL_TABLE",
            "StorageDescriptor": storage, "PartitionKeys": _named(fields["partition_keys"]), "Parameters": parameters,
        }  # fmt: skip


def _pairs(columns: Sequence[Mapping[str, str]]) -> list[list[str]]:
    return [[c["Name"], c.get("Type", "")] for c in columns]


def _named(columns: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    return [{"Name": name, "Type": kind} for name, kind in columns]


class Roles:
    """IAM roles with one inline policy and no other, tagged in the create call."""

    def __init__(self, backend: AwsBackend) -> None:
        self._backend = backend

    def read(self, node: Node) -> Observed | None:
        iam, name = self._backend.clients("iam"), node.name
        with translated("iam:GetRole", name):
            found = absent(iam.get_role, RoleName=name)
            if found is None:
                return None
            role = found["Role"]
            tags = {t["Key"]: t["Value"] for t in iam.list_role_tags(RoleName=name)["Tags"]}
            names = iam.list_role_policies(RoleName=name)["PolicyNames"]
            policy = (
                iam.get_role_policy(RoleName=name, PolicyName=POLICY)["PolicyDocument"] if POLICY in names else None
            )
            attached = [p["PolicyArn"] for p in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]]
        fields = {
            "trust": role["AssumeRolePolicyDocument"], "policy": policy, "other_policies": sorted(n for n in names if n != POLICY),
            "attached": sorted(attached), "boundary": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
            "session_seconds": role.get("MaxSessionDuration", 3600),
        }  # fmt: skip
        foreign = (
            None if role["Path"] == node.context["path"] else f"it stands at path {role['Path']}, which is not ours"
        )
        return Observed(fields, Marker.from_json(tags), foreign=foreign)

    def create(self, node: Node) -> None:
        fields = node.fields
        boundary = {"PermissionsBoundary": fields["boundary"]} if fields["boundary"] else {}
        tags = [{"Key": k, "Value": v} for k, v in self._backend.marker(node).to_json().items()]
        with translated("iam:CreateRole", node.name):
            self._backend.clients("iam").create_role(
                RoleName=node.name, Path=node.context["path"], AssumeRolePolicyDocument=json.dumps(fields["trust"]), Tags=tags,
                MaxSessionDuration=fields["session_seconds"], **boundary,
            )  # fmt: skip
        self._write(node, {"policy"})

    def update(self, node: Node, changes: Sequence[Change]) -> None:
        self._write(node, {c.path for c in changes})

    def _write(self, node: Node, paths: set[str]) -> None:
        """What narrows comes first: boundary and foreign policies before the policy of our own."""
        iam, name, fields = self._backend.clients("iam"), node.name, node.fields
        with translated("iam:PutRolePermissionsBoundary", name):
            if "boundary" in paths and fields["boundary"]:
                iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=fields["boundary"])
            elif "boundary" in paths:
                iam.delete_role_permissions_boundary(RoleName=name)
        with translated("iam:DetachRolePolicy", name):
            for policy in (
                iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] if "attached" in paths else ()
            ):
                iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        with translated("iam:DeleteRolePolicy", name):
            for other in iam.list_role_policies(RoleName=name)["PolicyNames"] if "other_policies" in paths else ():
                if other != POLICY:
                    iam.delete_role_policy(RoleName=name, PolicyName=other)
        if "trust" in paths:
            with translated("iam:UpdateAssumeRolePolicy", name):
                iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(fields["trust"]))
        if "session_seconds" in paths:
            with translated("iam:UpdateRole", name):
                iam.update_role(RoleName=name, MaxSessionDuration=fields["session_seconds"])
        if "policy" in paths:
            with translated("iam:PutRolePolicy", name):
                iam.put_role_policy(RoleName=name, PolicyName=POLICY, PolicyDocument=json.dumps(fields["policy"]))
