"""The AWS kinds against moto in server mode, and the compiled policies against an evaluator of our own."""

import json
import uuid
from fnmatch import fnmatchcase

import boto3
import pytest
from provision_shop import AWS, Killed, KilledAt, file_product, mesh_config

from meshkit.manifest import Manifest
from meshkit.provision import BackendUnavailable, Provisioner, Target
from meshkit.provision.resources import h8

ACCOUNT = "123456789012"  # the one account of moto


@pytest.fixture(scope="module")
def endpoint():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(endpoint, monkeypatch, tmp_path):
    """A factory of provisioners on a mesh of its own name, with a fresh moto."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()

    def make(*, more="", account=ACCOUNT, wrap=None):
        text = (AWS % f', endpoint: "{endpoint}"').replace("111122223333", account) + more
        target = Target.from_config(mesh_config(tmp_path, environment="prod", provision=text), "prod")
        backends = [wrap(target)] if wrap else None
        return Provisioner(target, backends=backends, wait=lambda _: None)

    make.client = lambda service: boto3.client(service, endpoint_url=endpoint, region_name="eu-central-1")
    return make


def bucket_name():
    suffix = h8(mesh="acme", environment="prod", domain="sales", name="orders", role="bucket")
    return f"acme-prod-{uuid.uuid4().hex[:6]}-{suffix}"


def product(bucket, **more):
    return file_product(location=f"s3://{bucket}/sales/orders/v{{major}}/*.parquet", **more)


def test_bucket_table_and_roles_are_made_and_a_second_deploy_changes_nothing(aws):
    """Closed, versioned, encrypted, owned; the table says where; the roles have one policy."""
    bucket = bucket_name()
    with aws() as p:
        report = p.apply(p.plan([product(bucket)]))
        assert report.ok, report.to_text()
        assert report.changes == 5
        assert {n.action for n in p.plan([product(bucket)]).nodes} == {"noop"}
        assert p.apply(p.plan([product(bucket)])).changes == 0
        renamed = Manifest.parse(product(bucket).dump() + "roles: {analyst: {access: read}}\n")
        assert [n.action for n in p.plan([renamed]).nodes if "-reader-" in n.node.name] == ["orphan"]
    s3, iam = aws.client("s3"), aws.client("iam")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    table = aws.client("glue").get_table(DatabaseName="acme_sales", Name="orders_v1")["Table"]
    assert table["StorageDescriptor"]["Location"] == f"s3://{bucket}/sales/orders/v1/"
    assert table["Parameters"]["meshkit:owner"] == "urn:mesh:sales:orders"
    roles = iam.list_roles(PathPrefix="/meshkit/acme/prod/sales/")["Roles"]
    assert len(roles) == 2
    assert iam.list_role_policies(RoleName=roles[0]["RoleName"])["PolicyNames"] == ["meshkit"]


def test_changes_by_hand_are_found_and_repaired(aws):
    """Over bucket, table and role: each one difference, then none."""
    bucket = bucket_name()
    with aws() as p:
        p.apply(p.plan([product(bucket)]))
        role = next(n.name for n in p.graph([product(bucket)]).nodes if "reader" in n.name)
        s3, iam, glue = (aws.client(s) for s in ("s3", "iam", "glue"))
        wide = json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        )
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
        }
        lax = {
            "BlockPublicAcls": False,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        }
        managed = iam.create_policy(PolicyName="more", PolicyDocument=wide)["Policy"]["Arn"]

        def retype():
            table = glue.get_table(DatabaseName="acme_sales", Name="orders_v1")["Table"]
            storage = {**table["StorageDescriptor"], "Columns": [{"Name": "id", "Type": "string"}]}
            glue.update_table(DatabaseName="acme_sales", TableInput={"Name": "orders_v1", "StorageDescriptor": storage, "PartitionKeys": [],
                                                                       "Parameters": {**table["Parameters"], "crawler": "kept"}})  # fmt: skip

        mutations = {
            "public_access": lambda: s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=lax),
            "versioning": lambda: s3.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
            ),
            "lifecycle": lambda: s3.delete_bucket_lifecycle(Bucket=bucket),
            "ownership": lambda: s3.delete_bucket_ownership_controls(Bucket=bucket),
            "columns": retype,
            "policy": lambda: iam.put_role_policy(RoleName=role, PolicyName="meshkit", PolicyDocument=wide),
            "other_policies": lambda: iam.put_role_policy(RoleName=role, PolicyName="other", PolicyDocument=wide),
            "attached": lambda: iam.attach_role_policy(RoleName=role, PolicyArn=managed),
            "trust": lambda: iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust)),
            "session_seconds": lambda: iam.update_role(RoleName=role, MaxSessionDuration=7200),
        }
        for path, mutate in mutations.items():
            mutate()
            plan = p.plan([product(bucket)])
            assert [c.path for n in plan.nodes for c in n.changes] == [path]
            assert p.apply(plan).ok
            assert p.plan([product(bucket)]).changes == 0
        assert glue.get_table(DatabaseName="acme_sales", Name="orders_v1")["Table"]["Parameters"]["crawler"] == "kept"


@pytest.mark.parametrize("what", ["bucket", "role", "database", "table"])
def test_foreign_resources_are_conflicts_with_no_write(aws, what):
    """Whatever has our name without our marker is somebody's."""
    bucket = bucket_name().removesuffix("0") + "x"
    s3, iam, glue = (aws.client(s) for s in ("s3", "iam", "glue"))
    with aws() as p:
        names = {n.kind: n.name for n in p.graph([product(bucket)]).nodes}
        if what == "bucket":
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        elif what == "role":
            iam.create_role(RoleName=names["aws.iam_role"], AssumeRolePolicyDocument="{}")
        else:
            glue.create_database(DatabaseInput={"Name": "acme_sales", "Parameters": {} if what == "database" else
                                                {"meshkit:owner": "urn:mesh:sales", "meshkit:mesh": "acme", "meshkit:env": "prod"}})  # fmt: skip
        if what == "table":
            glue.create_table(DatabaseName="acme_sales", TableInput={"Name": "orders_v1"})
        plan = p.plan([product(bucket)])
        kind = {"bucket": "s3_bucket", "role": "iam_role", "database": "glue_database", "table": "glue_table"}[what]
        assert [n.node.kind for n in plan.nodes if n.action == "conflict"] == [f"aws.{kind}"]
        assert plan.changes == 0
        report = p.apply(plan)
        assert report.exit_code == 1
        assert report.changes == 0
        assert len(iam.list_roles()["Roles"]) == (what == "role")
        assert len(s3.list_buckets()["Buckets"]) == (what == "bucket")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_call_a_rerun_converges(aws, after):
    """Before and after every create of a deploy."""
    from meshkit.provision.backends.aws import AwsBackend

    for n in range(1, 6):
        bucket = bucket_name()
        with aws(wrap=lambda target, n=n: KilledAt(AwsBackend(target), n, after=after)) as dying, pytest.raises(Killed):
            dying.apply(dying.plan([product(bucket)]))
        with aws() as p:
            assert p.apply(p.plan([product(bucket)])).ok
            assert p.plan([product(bucket)]).changes == 0
        for role in aws.client("iam").list_roles(PathPrefix="/meshkit/")["Roles"]:
            aws.client("iam").delete_role_policy(RoleName=role["RoleName"], PolicyName="meshkit")
            aws.client("iam").delete_role(RoleName=role["RoleName"])
        aws.client("glue").delete_database(Name="acme_sales")


def test_a_bucket_that_a_killed_run_began_is_adopted_only_while_empty(aws):
    """A server that drops tags in CreateBucket: empty and with our hash in its name it is ours, with data it is not."""
    s3, bucket = aws.client("s3"), bucket_name()
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    with aws() as p:
        item = next(n for n in p.plan([product(bucket)]).nodes if n.node.kind == "aws.s3_bucket")
        assert item.action == "update"
        s3.put_object(Bucket=bucket, Key="x", Body=b"")
        item = next(n for n in p.plan([product(bucket)]).nodes if n.node.kind == "aws.s3_bucket")
        assert item.action == "conflict"


def test_the_wrong_account_is_refused_before_anything_is_read(aws):
    """Exit 3, and it names both."""
    with (
        aws(account="999988887777") as p,
        pytest.raises(BackendUnavailable, match=f"account {ACCOUNT}, the target is 999988887777"),
    ):
        p.plan([product(bucket_name())])


def test_a_domain_bucket_is_shared_by_folders(aws):
    """One bucket of the domain; each product's folder has its owner file; a nested one of another product is refused."""
    bucket = bucket_name()
    more = f"      buckets: {{{bucket}: {{owner: domain}}}}\n"
    both = [product(bucket), file_product(name="b", location=f"s3://{bucket}/b/*.parquet")]
    with aws(more=more) as p:
        assert p.apply(p.plan(both)).ok
        assert p.plan(both).changes == 0
        plan = p.plan([file_product(name="c", location=f"s3://{bucket}/b/deep/*.parquet")])
        assert any("lies inside b/" in str(n.reason) for n in plan.nodes)
    body = aws.client("s3").get_object(Bucket=bucket, Key="b/.meshkit-owner.json")["Body"].read()
    assert json.loads(body)["meshkit:owner"] == "urn:mesh:sales:b"


# The policies themselves: moto ignores s3:prefix and denies correct Glue ARNs, so the text is judged here.


def allows(policy, action, resource, **context):
    """IAM's evaluation for identity policies with Allow only: action and resource match, and every condition holds."""
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        if not any(fnmatchcase(action.lower(), a.lower()) for a in statement["Action"]):
            continue
        if not any(fnmatchcase(resource, r.replace("[", "[[]")) for r in statement["Resource"]):
            continue
        if all(_holds(operator, keys, context) for operator, keys in statement.get("Condition", {}).items()):
            return True
    return False


def _holds(operator, keys, context):
    match = {"StringEquals": lambda a, b: a == b, "StringLike": fnmatchcase}[operator]
    for key, wanted in keys.items():
        value = context.get(key.replace(":", "_"))
        values = wanted if isinstance(wanted, list) else [wanted]
        if value is None or not any(match(value, w) for w in values):
            return False
    return True


OWN = "arn:aws:s3:::acme-lake/sales/orders/v1"
GLUE = "arn:aws:glue:eu-central-1:123456789012"
WRITES = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
FOREIGN = ("s3:PutObjectAcl", "s3:DeleteObjectVersion", "s3:PutBucketPolicy", "s3:BypassGovernanceRetention", "iam:PassRole", "sts:AssumeRole", "glue:DeleteTable",
           "glue:UpdateTable", "glue:CreateTable", "kms:Decrypt", "s3:ListAllMyBuckets")  # fmt: skip


@pytest.fixture
def policies(tmp_path):
    text = (AWS % "").replace("111122223333", ACCOUNT)
    target = Target.from_config(mesh_config(tmp_path, environment="prod", provision=text), "prod")
    with Provisioner(target, backends=[]) as p:
        graph = p.graph([file_product()])
    return {r: next(n.fields["policy"] for n in graph.nodes if f"-{r}-" in n.name) for r in ("publisher", "reader")}


@pytest.mark.parametrize("role", ["publisher", "reader"])
@pytest.mark.parametrize(
    ("place", "own"),
    [(f"{OWN}/a.parquet", True), (f"{OWN}/x/y/a.parquet", True), (f"{OWN}-evil/a.parquet", False), (OWN, False), ("arn:aws:s3:::acme-lake/sales/orders/v10/a", False),
     ("arn:aws:s3:::acme-lake/sales/other/v1/a", False), ("arn:aws:s3:::acme-lake/finance/x", False), ("arn:aws:s3:::acme-lake-evil/sales/orders/v1/a", False)],
)  # fmt: skip
def test_object_rights_end_at_the_folder(policies, role, place, own):
    """Role by action by own, sibling, look-alike and foreign resource."""
    policy = policies[role]
    assert allows(policy, "s3:GetObject", place) == own
    for action in WRITES:
        assert allows(policy, action, place) == (own and role == "publisher")
    assert not any(allows(policy, action, place) for action in FOREIGN)


@pytest.mark.parametrize("role", ["publisher", "reader"])
@pytest.mark.parametrize(
    ("prefix", "own"),
    [("sales/orders/v1/", True), ("sales/orders/v1/x", True), ("sales/orders/v1", False), ("sales/orders/v1-evil/", False), ("sales/", False), ("", False), (None, False)],
)  # fmt: skip
def test_listing_ends_at_the_folder(policies, role, prefix, own):
    """Also for a list without prefix, which is the whole bucket."""
    assert allows(policies[role], "s3:ListBucket", "arn:aws:s3:::acme-lake", s3_prefix=prefix) == own
    assert not allows(policies[role], "s3:ListBucket", "arn:aws:s3:::other", s3_prefix=prefix)


@pytest.mark.parametrize("role", ["publisher", "reader"])
def test_catalog_rights_are_on_the_own_table(policies, role):
    """Not on the neighbour's, not on another database."""
    policy = policies[role]
    assert allows(policy, "glue:GetTable", f"{GLUE}:table/acme_sales/orders_v1")
    for other in (
        "table/acme_sales/orders_v10",
        "table/acme_sales/users_v1",
        "table/acme_finance/orders_v1",
        "database/acme_finance",
    ):
        assert not allows(policy, "glue:GetTable", f"{GLUE}:{other}")
    assert not any(allows(policy, action, f"{GLUE}:table/acme_sales/orders_v1") for action in FOREIGN)
