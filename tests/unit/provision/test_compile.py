"""From manifests to resources, names and policies."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provision_shop import AWS, database_product, file_product, mesh_config

from meshkit.manifest import Manifest
from meshkit.provision import CompileFailed, Target, UnknownTarget, canonical_policy, compile_graph
from meshkit.provision.compile_aws import hive_type
from meshkit.provision.resources import generated_name
from meshkit.types import parse_type


@pytest.fixture
def local(tmp_path):
    return replace(Target.from_config(mesh_config(tmp_path), "local"), environ={"UP": ".."})


@pytest.fixture
def prod(tmp_path):
    return Target.from_config(mesh_config(tmp_path, environment="prod", provision=AWS % ""), "prod")


def node(graph, node_id):
    return graph.by_id[node_id]


def test_a_file_port_becomes_a_folder_with_an_owner_and_two_users(local):
    """A bucket that only has to be there, the folder, a publisher and a reader."""
    graph = compile_graph([file_product()], local)
    assert [n.id for n in graph.nodes] == [
        "s3.bucket/acme-lake",
        "aws.s3_prefix/acme-lake/sales/orders/v1",
        "s3.identity/mk.sales.orders.publisher",
        "s3.identity/mk.sales.orders.reader",
    ]
    assert node(graph, "s3.bucket/acme-lake").shared
    assert graph.products[0].endpoints == {"lake": "s3://acme-lake/sales/orders/v1/"}


def test_a_publisher_may_write_its_folder_and_nothing_else(local):
    """Exact actions, object ARNs that end in `/*` after a whole segment, listing bound to the folder."""
    policy = node(compile_graph([file_product()], local), "s3.identity/mk.sales.orders.publisher").fields["policy"]
    assert policy["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": ["arn:aws:s3:::acme-lake/sales/orders/v1/*"],
        },
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": ["arn:aws:s3:::acme-lake"],
            "Condition": {"StringLike": {"s3:prefix": ["sales/orders/v1/", "sales/orders/v1/*"]}},
        },
    ]


def test_a_reader_may_only_get_and_list(local):
    """One user per manifest role with read access; roles that write get none."""
    manifest = file_product(extra="roles: {analyst: {access: read}, loader: {access: write}}\n")
    graph = compile_graph([manifest], local)
    users = [n.name for n in graph.nodes if n.kind == "s3.identity"]
    assert users == ["mk.sales.orders.analyst", "mk.sales.orders.publisher"]
    policy = node(graph, "s3.identity/mk.sales.orders.analyst").fields["policy"]
    assert [s["Action"] for s in policy["Statement"]] == [["s3:GetObject"], ["s3:ListBucket"]]


def test_a_database_product_becomes_view_roles_and_topics(local):
    """The view maps names, the reader sees the view, the publisher sees the mapped columns only."""
    graph = compile_graph([database_product()], local)
    assert node(graph, "postgres.view/pg/mesh.orders").fields["definition"] == {
        "table": "public.orders",
        "columns": {"id": "id", "total": "amount"},
    }
    assert node(graph, "postgres.role/pg/mk_sales_orders_reader").fields["grants"] == [
        ["select", "mesh", "orders"],
        ["usage", "mesh"],
    ]
    publisher = node(graph, "postgres.role/pg/mk_sales_orders_publisher").fields
    assert publisher["grants"] == [
        ["select", "public", "orders", "amount"],
        ["select", "public", "orders", "id"],
        ["usage", "public"],
    ]
    assert publisher["attributes"] == ["login", "replication"]
    assert [n.name for n in graph.nodes if n.kind == "kafka.topic"] == [
        "mesh.sales._positions",
        "mesh.sales.orders.v1",
        "mesh.sales.orders.v1.dlq",
    ]
    assert graph.products[0].not_enforced == ("kafka.acls",)


def test_relative_and_file_locations_need_no_resource(local):
    """A product on files of a laptop deploys to nothing."""
    assert compile_graph([file_product(location="data/*.parquet")], local).nodes == ()


def test_a_port_without_backend_is_named(local):
    """Never silent: what gets no resource stands in the graph with its reason."""
    text = file_product().dump().replace("s3://acme-lake/sales/orders/v{major}/*.parquet", "gs://acme-lake/x/*.parquet")
    manifest = Manifest.parse(text)
    skipped = compile_graph([manifest], local).skipped
    assert [(s.port, s.reason) for s in skipped] == [("lake", "no backend for gs:// on target local")]


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("s3://acme-lake/*.parquet", "provision.whole_bucket"),
        ("s3://acme-lake/sales/${UP}/finance/*.parquet", "provision.prefix"),
        ("s3://acme-lake/sales//orders/*.parquet", "provision.prefix"),
        ("s3://Acme_Lake/sales/*.parquet", "provision.bucket_name"),
    ],
)
def test_a_location_that_is_no_safe_border_is_refused(local, location, code):
    """A right on a whole shared bucket or a folder with dots is no least privilege."""
    with pytest.raises(CompileFailed) as caught:
        compile_graph([file_product(location=location)], local)
    assert [d.code for d in caught.value.diagnostics] == [code]
    assert "orders.yaml:" in str(caught.value)


def test_all_problems_of_all_manifests_come_at_once(local):
    """Before anything is read."""
    bad = [
        file_product(name="a", location="s3://acme-lake/*.csv"),
        file_product(name="b", location="s3://acme-lake/x//y/*.csv"),
    ]
    with pytest.raises(CompileFailed) as caught:
        compile_graph(bad, local)
    assert len(caught.value.diagnostics) == 2


@pytest.mark.parametrize("inner", ["s3://acme-lake/sales/orders/v1/*.csv", "s3://acme-lake/sales/orders/v1/eu/*.csv"])
def test_a_folder_of_another_product_is_a_collision(local, inner):
    """Equal and nested folders would give two products rights on the same files; a look-alike would not."""
    with pytest.raises(CompileFailed, match="collides"):
        compile_graph([file_product(), file_product(name="other", location=inner)], local)
    assert compile_graph(
        [file_product(), file_product(name="other", location="s3://acme-lake/sales/orders/v1-evil/*.csv")], local
    )


def test_an_unknown_target_is_a_usage_error(tmp_path):
    """It names those that there are."""
    with pytest.raises(UnknownTarget, match="Known are: local"):
        Target.from_config(mesh_config(tmp_path), "prod")


def test_documented_settings_of_later_releases_are_refused_by_name(tmp_path):
    """Ignoring a lease would be a broken promise."""
    config = mesh_config(tmp_path, provision='provision: {targets: {prod: {lease: "s3://x/"}}}\n')
    with pytest.raises(Exception, match="`lease` comes with a later release"):
        Target.from_config(config, "prod")


@given(
    st.lists(
        st.tuples(*[st.text("ab._", min_size=1, max_size=6)] * 2, st.sampled_from(["publisher", "reader"])),
        min_size=2,
        max_size=8,
        unique=True,
    )
)
@settings(deadline=None, max_examples=60)
def test_generated_names_are_injective_and_legal(products):
    """`a.b` and `a_b` have the same readable part and different names."""
    names = [generated_name(mesh="acme", environment="prod", domain=d, name=n, role=r) for d, n, r in products]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{10,64}", n) for n in names)


# AWS


def test_aws_resources_of_a_file_port(prod):
    """Bucket, database, table, publisher and reader, with documented names."""
    graph = compile_graph([file_product(location="s3://acme-prod-sales-orders/sales/orders/v{major}/*.parquet")], prod)
    assert [n.id for n in graph.nodes] == [
        "aws.glue_database/acme_sales",
        "aws.s3_bucket/acme-prod-sales-orders",
        "aws.glue_table/acme_sales.orders_v1",
        f"aws.iam_role/{generated_name(mesh='acme', environment='prod', domain='sales', name='orders', role='publisher')}",
        f"aws.iam_role/{generated_name(mesh='acme', environment='prod', domain='sales', name='orders', role='reader')}",
    ]
    bucket = node(graph, "aws.s3_bucket/acme-prod-sales-orders").fields
    assert bucket["policy"]["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    publisher = graph.nodes[3]
    assert publisher.summary == "6 S3, 2 Glue actions"
    assert (
        graph.products[0].roles["publisher"]
        == f"arn:aws:iam::111122223333:role/meshkit/acme/prod/sales/{publisher.name}"
    )


def test_no_action_has_a_wildcard_and_no_resource_is_everything(prod):
    """Over every role of several products."""
    graph = compile_graph([file_product(), file_product(name="b", location="s3://other-bucket/b/*.csv")], prod)
    policies = [n.fields["policy"] for n in graph.nodes if n.kind == "aws.iam_role"]
    assert len(policies) == 4
    for statement in (s for p in policies for s in p["Statement"]):
        assert not any("*" in a for a in statement["Action"])
        assert "*" not in statement["Resource"]
        assert statement["Effect"] == "Allow"


def test_nobody_to_publish_is_a_compile_error(tmp_path):
    """It names the setting to add."""
    target = Target.from_config(
        mesh_config(tmp_path, provision='provision: {targets: {prod: {aws: {account: "111122223333", region: x}}}}\n'),
        "prod",
    )
    with pytest.raises(CompileFailed, match=r"publishers: \{sales:"):
        compile_graph([file_product()], target)


def test_another_account_has_to_name_the_product(tmp_path):
    """The confused deputy: trust across accounts needs the external id, within the account it does not."""
    settings_text = (AWS % "").replace("111122223333:role/sales-ci", "999988887777:role/ci")
    target = Target.from_config(mesh_config(tmp_path, provision=settings_text), "prod")
    roles = {
        n.name.split("-")[-2]: n for n in compile_graph([file_product()], target).nodes if n.kind == "aws.iam_role"
    }
    (abroad,) = roles["publisher"].fields["trust"]["Statement"]
    assert len(abroad["Condition"]["StringEquals"]["sts:ExternalId"]) == 32
    assert "Condition" not in roles["reader"].fields["trust"]["Statement"][0]


def test_personal_columns_keep_subscribers_from_direct_reads(tmp_path):
    """Direct reads pass no mask: with personal data only engines may assume the reader role, and the plan says so."""
    more = '      principals: {"group:m": ["arn:aws:iam::222233334444:role/m"]}\n'
    target = Target.from_config(mesh_config(tmp_path, provision=AWS % "" + more), "prod")

    def readers(manifest):
        graph = compile_graph([manifest], target, principals={"sales.orders": ("group:m", "user:x")})
        role = next(n for n in graph.nodes if "reader" in n.name)
        return json.dumps(role.fields["trust"]), graph.products[0].notes

    trust, notes = readers(file_product())
    assert "222233334444" in trust
    assert any("user:x holds a grant" in n for n in notes)
    trust, notes = readers(
        file_product(email=', email: {type: string, tags: ["pii:email"], classification: confidential}')
    )
    assert "222233334444" not in trust
    assert any("engines only" in n for n in notes)


def test_an_external_bucket_is_never_a_resource(tmp_path):
    """Only the folder in it is."""
    more = "      buckets: {acme-lake: {name: acme-lake-prod, owner: external}}\n"
    target = Target.from_config(mesh_config(tmp_path, provision=AWS % "" + more), "prod")
    graph = compile_graph([file_product()], target)
    assert [n.id for n in graph.nodes if "s3" in n.kind] == ["aws.s3_prefix/acme-lake-prod/sales/orders/v1"]


def test_a_second_product_in_a_products_bucket_is_refused_by_naming_the_setting(prod):
    """Its owner's policies would reach the other's files."""
    with pytest.raises(CompileFailed, match="owner: domain"):
        compile_graph([file_product(), file_product(name="b", location="s3://acme-lake/b/*.csv")], prod)


@pytest.mark.parametrize(
    ("text", "hive"),
    [("decimal(12,2)", "decimal(12,2)"), ("list<int64>", "array<bigint>"), ("map<string, float32>", "map<string,float>"),
     ("struct<a: int32, b: timestamptz>", "struct<a:int,b:timestamp>"), ("time", "string"), ("uuid", "string")],
)  # fmt: skip
def test_types_as_glue_writes_them(text, hive):
    """Nested ones too."""
    assert hive_type(parse_type(text)) == hive


# Canonical policies


def test_policies_that_mean_the_same_are_equal():
    """Order, Sid, scalars, case of actions, account ids."""
    one = {"Statement": [
        {"Sid": "a", "Effect": "Allow", "Action": "S3:GetObject", "Resource": ["b", "a"], "Principal": {"AWS": "111122223333"}},
        {"Effect": "Deny", "Action": ["s3:*"], "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": False}}},
    ]}  # fmt: skip
    two = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": "s3:*", "Resource": ["*"], "Condition": {"Bool": {"AWS:securetransport": ["false"]}}},
        {"Effect": "Allow", "Action": ["s3:getobject"], "Resource": ["a", "b"], "Principal": {"AWS": ["arn:aws:iam::111122223333:root"]}},
    ]}  # fmt: skip
    assert canonical_policy(one) == canonical_policy(json.dumps(two))


@pytest.mark.parametrize(
    "change",
    [
        {"Effect": "Deny"},
        {"Resource": ["a/*"]},
        {"Action": ["s3:PutObject"]},
        {"Principal": "*"},
        {"Condition": {"Bool": {"a": "true"}}},
    ],
)
def test_policies_that_mean_something_else_differ(change):
    """Each part counts."""
    one = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["a"]}
    assert canonical_policy({"Statement": [one]}) != canonical_policy({"Statement": [{**one, **change}]})
