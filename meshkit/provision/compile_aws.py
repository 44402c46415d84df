"""Resources on AWS: buckets, folders, Glue databases and tables, IAM roles. Source: provision sections 2 and 6."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from meshkit.provision.compile import ProductGraph
from meshkit.provision.policies import Place, count_actions, publisher_statements, reader_statements, to_document
from meshkit.provision.resources import generated_name, h8
from meshkit.provision.settings import AwsSettings, BucketSettings
from meshkit.types import DataType, Decimal, List, Map, Primitive, Struct, Temporal

if TYPE_CHECKING:
    from meshkit.manifest import DataObject

__all__ = ["compile_aws", "hive_type"]

POLICY_LIMIT, TRUST_LIMIT, BUCKET_POLICY_LIMIT = 10_240, 2_048, 20_480
_SERDES = {
    "parquet": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    "csv": "org.apache.hadoop.hive.serde2.OpenCSVSerde",
    "ndjson": "org.openx.data.jsonserde.JsonSerDe",
    "json": "org.openx.data.jsonserde.JsonSerDe",
    "orc": "org.apache.hadoop.hive.ql.io.orc.OrcSerde",
    "avro": "org.apache.hadoop.hive.serde2.avro.AvroSerDe",
}


def compile_aws(product: ProductGraph, aws: AwsSettings, principals: tuple[str, ...]) -> None:
    """Add everything that one product needs. `principals` hold live grants on it."""
    if "publisher" in product.readers:
        hint = "Call the role otherwise: `publisher` is the role that writes."
        product.problem("role_name", "a reader role is called publisher", hint, "roles", "publisher")
        return
    places: dict[Place, str] = {}
    tables: list[str] = []
    sensitive = False
    for name, port in product.manifest.ports.items():
        location = product.location(name)
        if location is None:
            continue
        if port.kind != "file" or not location.startswith("s3://"):
            word = (
                port.kind
                if port.kind != "file"
                else f"{location.partition('://')[0] if '://' in location else 'local'} files"
            )
            product.skip(name, f"no backend for {word} on target {product.target.name}")
            continue
        _file_port(product, aws, name, places, tables)
        sensitive = sensitive or bool(product.sensitive_columns(name))
    if places and not product.problems:
        _roles(product, aws, places, tables, _may_read(product, principals, sensitive=sensitive))


def _file_port(product: ProductGraph, aws: AwsSettings, port: str, places: dict[Place, str], tables: list[str]) -> None:
    for object_name in product.manifest.ports[port].objects or tuple(product.manifest.objects):
        location = product.location(port, object_name=object_name)
        named = (location or "").removeprefix("s3://").partition("/")[0]
        settings = product.target.settings.buckets.get(named, BucketSettings())
        place = product.place(port, location, whole_bucket=settings.owner == "product") if location else None
        if place is None:
            return
        real = Place(settings.name or place.bucket, place.prefix)
        places[real] = _container(product, aws, settings, real)
        product.endpoints.setdefault(port, f"s3://{real.bucket}/{f'{real.prefix}/' if real.prefix else ''}")
        table = _table(product, aws, port, object_name, real, places[real])
        if table is not None:
            tables.append(table)


def _container(product: ProductGraph, aws: AwsSettings, settings: BucketSettings, place: Place) -> str:
    """The node that stands for the files: the product's own bucket, or its folder in one that others have too."""
    if settings.owner == "product":
        return product.node(
            "aws.s3_bucket",
            place.bucket,
            "aws",
            fields=_bucket_fields(product, aws, place.bucket),
            context=_bucket_context(product),
        )
    needs: tuple[str, ...] = ()
    if settings.owner == "domain":
        bucket = product.node(
            "aws.s3_bucket", place.bucket, "aws", owner=product.domain_urn, fields=_bucket_fields(product, aws, place.bucket),
            context=_bucket_context(product),
        )  # fmt: skip
        needs = (bucket,)
    return product.node("aws.s3_prefix", f"{place.bucket}/{place.prefix}", "aws", needs=needs)


def _bucket_context(product: ProductGraph) -> dict[str, str]:
    """The hash that a generated bucket name carries: an empty bucket with it is one whose tags got lost on the way."""
    m, target = product.manifest, product.target
    return {"hash": h8(mesh=target.mesh, environment=target.environment, domain=m.domain, name=m.name, role="bucket")}


def _bucket_fields(product: ProductGraph, aws: AwsSettings, bucket: str) -> dict[str, Any]:
    return {
        "region": aws.region,
        "ownership": "BucketOwnerEnforced",
        "public_access": "blocked",
        "versioning": "on",
        "encryption": {"algorithm": "aws:kms", "key": aws.kms_key}
        if aws.kms_key
        else {"algorithm": "AES256", "key": None},
        "policy": _bucket_policy(product, aws, bucket),
        "lifecycle": {"abort_multipart_days": 7, "old_versions_days": 30},
    }


def _bucket_policy(product: ProductGraph, aws: AwsSettings, bucket: str) -> dict[str, Any] | None:
    """Deny what is not encrypted in transit and, with `org_id`, whoever is outside the organisation."""
    both = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statements: list[dict[str, Any]] = []
    endpoint = aws.endpoint or product.target.environ.get("AWS_ENDPOINT_URL", "")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": both}
    if endpoint.startswith("http://"):
        product.not_enforced["tls"] = None
    else:
        statements.append({**deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
    if aws.org_id:
        outside = {
            "StringNotEqualsIfExists": {"aws:PrincipalOrgID": aws.org_id},
            "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
        }
        statements.append({**deny, "Condition": outside})
    return to_document(statements) if statements else None


# Glue -----------------------------------------------------------------------------------------------------------------------------


def _database_name(product: ProductGraph) -> str:
    return f"{product.target.mesh}_{product.manifest.domain}".replace("-", "_").replace(".", "_")


def _table(
    product: ProductGraph, aws: AwsSettings, port: str, object_name: str, place: Place, container: str
) -> str | None:
    m = product.manifest
    form = m.ports[port].format or ""
    if form not in _SERDES:
        product.skip(port, f"no Glue table for format {form}")
        return None
    database = _database_name(product)
    parent = product.node("aws.glue_database", database, "aws", owner=product.domain_urn)
    many = len(m.objects) > 1
    name = f"{m.name}_v{m.major}{f'__{object_name}' if many else ''}".lower()
    columns, keys = _columns(m.objects[object_name])
    fields = {
        "columns": columns, "partition_keys": keys, "location": f"s3://{place.bucket}/{f'{place.prefix}/' if place.prefix else ''}",
        "format": _SERDES[form], "meshkit.product": m.id, "meshkit.object": object_name, "meshkit.port": port,
    }  # fmt: skip
    context = {"database": database, "table": name, "account": aws.account}
    return product.node(
        "aws.glue_table", f"{database}.{name}", "aws", fields=fields, needs=(parent, container), context=context
    )


def _columns(item: DataObject) -> tuple[list[list[str]], list[list[str]]]:
    parts = sorted((f.partition, n) for n, f in item.fields.items() if f.partition)
    names = [n for _, n in parts]
    plain = [[n.lower(), hive_type(f.data_type)] for n, f in item.fields.items() if n not in names]
    return plain, [[n.lower(), hive_type(item.fields[n].data_type)] for n in names]


_HIVE = {
    "bool": "boolean", "int8": "tinyint", "int16": "smallint", "int32": "int", "int64": "bigint", "float32": "float", "float64": "double",
    "string": "string", "bytes": "binary", "date": "date", "interval": "string", "uuid": "string", "json": "string",
}  # fmt: skip


def hive_type(data_type: DataType) -> str:
    """A canonical type as Glue and Athena write it. Hive timestamps are instants or wall clocks as the reader decides; times are text."""
    match data_type:
        case Primitive(name):
            return _HIVE[name]
        case Decimal(precision, scale):
            return f"decimal({precision},{scale})"
        case Temporal(name):
            return "string" if name == "time" else "timestamp"
        case List(item):
            return f"array<{hive_type(item)}>"
        case Map(key, value):
            return f"map<{hive_type(key)},{hive_type(value)}>"
        case Struct(fields):
            return f"struct<{','.join(f'{f.name.lower()}:{hive_type(f.type)}' for f in fields)}>"
    raise AssertionError(f"no Hive type for {data_type}")


# Roles ----------------------------------------------------------------------------------------------------------------------------


def _may_read(product: ProductGraph, principals: tuple[str, ...], *, sensitive: bool) -> list[str]:
    """ARNs that may read directly: engines always, holders of grants only where no mask would have to apply."""
    target = product.target.settings
    unmapped = [p for p in principals if p not in target.principals]
    for principal in unmapped:
        product.notes[
            f"{principal} holds a grant and has no entry in `principals` of target {product.target.name}: no direct access"
        ] = None
    if sensitive:
        if principals:
            product.notes[
                "its data has personal columns: direct access for engines only, people read through the gateway"
            ] = None
        return sorted(set(target.engines))
    return sorted({*target.engines, *(arn for p in principals for arn in target.principals.get(p, ()))})


def _roles(
    product: ProductGraph, aws: AwsSettings, places: dict[Place, str], tables: list[str], readers: list[str]
) -> None:
    m = product.manifest
    publishers = product.target.settings.publishers.get(m.domain, [])
    if not publishers:
        hint = f"Add `publishers: {{{m.domain}: [arn:aws:iam::...]}}` to target {product.target.name} in mesh.yaml."
        product.problem("no_publisher", f"nobody may assume the publisher role of domain {m.domain}", hint, "domain")
        return
    partitioned = any(f.partition for o in m.objects.values() for f in o.fields.values())
    needs = tuple(sorted({*places.values(), *tables}))
    writing = [
        *publisher_statements(places, with_parts=True), *_glue(product, aws, writing=True, partitioned=partitioned),
        *_kms(aws, ["kms:GenerateDataKey", "kms:Decrypt"]),
    ]  # fmt: skip
    _role(product, aws, "publisher", writing, sorted(set(publishers)), needs)
    reading = [
        *reader_statements(places),
        *_glue(product, aws, writing=False, partitioned=partitioned),
        *_kms(aws, ["kms:Decrypt"]),
    ]
    for role in product.readers:
        if readers:
            _role(product, aws, role, reading, readers, needs)
        else:
            product.notes[f"role {role} is not made: no engine and no live grant may assume it"] = None


def _glue(product: ProductGraph, aws: AwsSettings, *, writing: bool, partitioned: bool) -> list[dict[str, Any]]:
    tables = [n.context for n in product.nodes.values() if n.kind == "aws.glue_table"]
    if not tables:
        return []
    actions = ["glue:GetDatabase", "glue:GetTable"]
    if partitioned and writing:
        actions += ["glue:BatchCreatePartition", "glue:UpdatePartition", "glue:GetPartition", "glue:GetPartitions"]
    elif not writing:
        actions += ["glue:GetPartitions"]
    base = f"arn:aws:glue:{aws.region}:{aws.account}"
    resources = [f"{base}:catalog", f"{base}:database/{tables[0]['database']}", *sorted(f"{base}:table/{t['database']}/{t['table']}" for t in tables)]  # fmt: skip
    return [{"Effect": "Allow", "Action": actions, "Resource": resources}]


def _kms(aws: AwsSettings, actions: list[str]) -> list[dict[str, Any]]:
    if not aws.kms_key:
        return []
    through = {"StringEquals": {"kms:ViaService": f"s3.{aws.region}.amazonaws.com"}}
    return [{"Effect": "Allow", "Action": actions, "Resource": [aws.kms_key], "Condition": through}]


def _trust(product: ProductGraph, aws: AwsSettings, principals: list[str]) -> dict[str, Any]:
    """Who may assume a role; another account has to say whose role it means (confused deputy)."""
    own = [p for p in principals if p.split(":")[4:5] == [aws.account]]
    others = [p for p in principals if p not in own]
    external = hashlib.sha256(f"{product.target.mesh}\x1f{product.manifest.id}".encode()).hexdigest()[:32]
    statements: list[dict[str, Any]] = []
    if own:
        statements.append({"Effect": "Allow", "Principal": {"AWS": own}, "Action": "sts:AssumeRole"})
    if others:
        condition = {"StringEquals": {"sts:ExternalId": external}}
        statements.append(
            {"Effect": "Allow", "Principal": {"AWS": others}, "Action": "sts:AssumeRole", "Condition": condition}
        )
        product.notes[f"other accounts assume its roles with the external id {external}"] = None
    return to_document(statements)


def _role(
    product: ProductGraph,
    aws: AwsSettings,
    role: str,
    statements: list[dict[str, Any]],
    principals: list[str],
    needs: tuple[str, ...],
) -> None:
    m, target = product.manifest, product.target
    policy, trust = to_document(statements), _trust(product, aws, principals)
    for what, document, limit in (("inline policy", policy, POLICY_LIMIT), ("trust policy", trust, TRUST_LIMIT)):
        size = len(_compact(document))
        if size > limit:
            hint = "Split the product, or name fewer principals."
            product.problem(
                "policy_too_long", f"the {what} of {role} has {size} characters, AWS takes {limit}", hint, "ports"
            )
            return
    name = generated_name(mesh=target.mesh, environment=target.environment, domain=m.domain, name=m.name, role=role)
    path = f"/meshkit/{target.mesh}/{target.environment}/{m.domain}/"
    counts = count_actions(policy)
    titles = {"s3": "S3", "glue": "Glue", "kms": "KMS"}
    product.node(
        "aws.iam_role", name, "aws", needs=needs, context={"path": path}, summary=", ".join(f"{n} {titles[s]}" for s, n in counts.items()) + " actions",
        fields={
            "trust": trust, "policy": policy, "other_policies": [], "attached": [], "boundary": aws.permissions_boundary, "session_seconds": 3600,
        },
    )  # fmt: skip
    product.roles[role] = f"arn:aws:iam::{aws.account}:role{path}{name}"


def _compact(document: dict[str, Any]) -> str:
    import json

    return json.dumps(document, separators=(",", ":"))
