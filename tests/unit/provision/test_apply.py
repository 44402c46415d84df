"""Diff, plan and apply over services in memory."""

import json
import threading
from datetime import UTC, datetime

import pytest
from provision_shop import AWS, Killed, KilledAt, MemoryBackend, database_product, file_product, mesh_config

from meshkit.errors import UsageError
from meshkit.ports import Grant
from meshkit.provision import Allow, Marker, Observed, Provisioner, Retryable, Target
from meshkit.testing import StaticGrants

PRODUCTS = (file_product(), database_product(name="items"), file_product(name="b", location="s3://acme-lake/b/*.csv"))
PREFIX = "aws.s3_prefix/acme-lake/sales/orders/v1"


@pytest.fixture
def target(tmp_path):
    return Target.from_config(mesh_config(tmp_path), "local")


@pytest.fixture
def memory(target):
    return MemoryBackend(target)


def provisioner(target, backend):
    return Provisioner(target, backends=[backend], wait=lambda _: None)


def test_a_second_deploy_changes_nothing(target, memory):
    """Apply, then plan: every node noop; apply again: no write."""
    p = provisioner(target, memory)
    report = p.apply(p.plan(PRODUCTS))
    assert report.ok
    assert report.changes == len(memory.writes) > 10
    plan = p.plan(PRODUCTS)
    assert {n.action for n in plan.nodes} == {"noop"}
    written = len(memory.writes)
    assert p.apply(plan).changes == 0
    assert len(memory.writes) == written


def test_nothing_that_grants_a_right_is_written_before_what_it_is_on(target, memory):
    """Containers, then folders and views, then users and roles."""
    order = []
    p = provisioner(target, memory)
    p.apply(p.plan(PRODUCTS), on_event=lambda e: order.append(e.result.id.partition("/")[0]))
    first_right = min(i for i, kind in enumerate(order) if kind in {"s3.identity", "postgres.role"})
    assert not {"s3.bucket", "aws.s3_prefix", "kafka.topic", "postgres.view"} & set(order[first_right:])


def test_what_belongs_to_somebody_else_is_a_conflict_and_blocks_its_product_only(target, memory):
    """Zero writes for the product, none at the foreign resource; the others deploy."""
    memory.put(PREFIX, Observed({}, Marker("urn:mesh:evil:x", "acme", "local")))
    p = provisioner(target, memory)
    plan = p.plan(PRODUCTS)
    assert plan.exit_code == 1
    assert "belongs to urn:mesh:evil:x of acme/local" in plan.to_text()
    report = p.apply(plan)
    assert report.exit_code == 1
    assert not any("sales.orders" in w or "sales/orders" in w for _, w in memory.writes)
    assert ("create", "s3.identity/mk.sales.b.reader") in memory.writes


@pytest.mark.parametrize(
    "marker", [None, Marker("urn:mesh:sales:orders", "other", "local"), Marker("urn:mesh:sales:orders", "acme", "prod")]
)
def test_no_marker_another_mesh_or_environment_is_foreign(target, memory, marker):
    """The same product of another environment is somebody else."""
    memory.put(PREFIX, Observed({}, marker))
    actions = {n.node.id: n.action for n in provisioner(target, memory).plan([file_product()]).nodes}
    assert actions[PREFIX] == "conflict"
    assert set(actions.values()) == {"conflict", "blocked"}


def test_an_unmarked_view_is_used_as_it_is(target, memory):
    """It blocks nothing: the reader's grant is on its name."""
    memory.put("postgres.view/pg/mesh.items", Observed({}, None))
    p = provisioner(target, memory)
    plan = p.plan([database_product(name="items", view="mesh.items")])
    assert {n.action for n in plan.nodes if n.node.kind == "postgres.view"} == {"skipped"}
    assert p.apply(plan).ok


def test_a_field_taken_out_of_the_manifest_is_reset(target, memory):
    """Hand-made changes too: the plan shows before and after with how bad it is."""
    p = provisioner(target, memory)
    p.apply(p.plan([file_product()]))
    user = "s3.identity/mk.sales.orders.reader"
    seen = memory.thing(user)
    memory.put(user, Observed({**seen.fields, "other_policies": ["admin"]}, seen.marker))
    (changed,) = [n for n in p.plan([file_product()]).nodes if n.action == "update"]
    assert [(c.path, c.before, c.after, c.severity) for c in changed.changes] == [
        ("other_policies", ["admin"], [], "security")
    ]
    assert p.apply(p.plan([file_product()])).changes == 1
    assert memory.thing(user).fields["other_policies"] == []


def test_a_policy_in_other_words_is_no_change(target, memory):
    """SeaweedFS and IAM give lists of one as scalars."""
    p = provisioner(target, memory)
    p.apply(p.plan([file_product()]))
    user = "s3.identity/mk.sales.orders.reader"
    seen = memory.thing(user)
    text = json.dumps(seen.fields["policy"]).replace('["s3:GetObject"]', '"s3:getobject"')
    memory.put(user, Observed({**seen.fields, "policy": json.loads(text)}, seen.marker))
    assert p.plan([file_product()]).changes == 0


def test_disruptive_changes_need_leave(target, memory):
    """Fewer days of retention lose data: blocked, unless allowed."""
    p = provisioner(target, memory)
    products = [database_product()]
    p.apply(p.plan(products))
    topic = "kafka.topic/mesh.sales.orders.v1.dlq"
    seen = memory.thing(topic)
    memory.put(topic, Observed({**seen.fields, "retention.ms": "-1"}, seen.marker))
    blocked = p.plan(products)
    assert {n.node.id: n.reason for n in blocked.nodes}[topic] == "disruptive: needs --allow disruptive"
    allowed = p.plan(products, allow=Allow(disruptive=True))
    with pytest.raises(UsageError, match="--allow disruptive"):
        p.apply(allowed)
    assert p.apply(allowed, allow=Allow(disruptive=True)).changes == 1


@pytest.mark.parametrize(("field", "value"), [("partitions", 9), ("replication", 3)])
def test_what_can_not_be_changed_in_place_is_left_to_a_person(target, memory, field, value):
    """Never made anew: data would be lost."""
    p = provisioner(target, memory)
    p.apply(p.plan([database_product()]))
    topic = "kafka.topic/mesh.sales.orders.v1"
    seen = memory.thing(topic)
    memory.put(topic, Observed({**seen.fields, field: value}, seen.marker))
    item = next(n for n in p.plan([database_product()]).nodes if n.node.id == topic)
    assert item.action == "manual"
    assert field in item.reason


def test_a_resource_that_changed_since_the_plan_is_not_overwritten(target, memory):
    """Outcome `moved`, exit 1: plan again."""
    p = provisioner(target, memory)
    p.apply(p.plan([file_product()]))
    user = "s3.identity/mk.sales.orders.reader"
    seen = memory.thing(user)
    memory.put(user, Observed({**seen.fields, "other_policies": ["a"]}, seen.marker))
    plan = p.plan([file_product()])
    memory.put(user, Observed({**seen.fields, "other_policies": ["a", "b"]}, seen.marker))
    report = p.apply(plan)
    assert {r.id: r.outcome for r in report.results}[user] == "moved"
    assert report.exit_code == 1


def test_two_deploys_at_once_converge(target, memory):
    """Both planned a create; the second finds ours and goes on."""
    p = provisioner(target, memory)
    plans = [p.plan(PRODUCTS) for _ in range(2)]
    assert [p.apply(plan).ok for plan in plans] == [True, True]
    assert len(set(memory.writes)) == len(memory.writes)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_call_a_rerun_converges(target, after):
    """Before and after each write of a whole deploy: no duplicate, nothing missing."""
    whole = MemoryBackend(target)
    p = provisioner(target, whole)
    p.apply(p.plan(PRODUCTS))
    for n in range(1, len(whole.writes) + 1):
        memory = MemoryBackend(target)
        dying = provisioner(target, KilledAt(memory, n, after=after))
        with pytest.raises(Killed):
            dying.apply(dying.plan(PRODUCTS))
        again = provisioner(target, memory)
        assert again.apply(again.plan(PRODUCTS)).ok
        assert {k: v.things for k, v in memory.kinds.items()} == {k: v.things for k, v in whole.kinds.items()}
        assert len(set(memory.writes)) == len(memory.writes)


def test_a_call_that_acted_but_gave_no_answer_is_read_again(target, memory):
    """The create happened, the answer was lost: created once, reported as created."""
    kind = memory.kinds["aws.s3_prefix"]
    create = kind.create

    def lost(node):
        create(node)
        raise Retryable("no answer")

    kind.create = lost
    p = provisioner(target, memory)
    report = p.apply(p.plan([file_product()]))
    assert report.ok
    assert {r.id: r.outcome for r in report.results}[PREFIX] == "created"
    assert memory.writes.count(("create", PREFIX)) == 1


def test_throttling_is_waited_for_and_what_never_works_fails_alone(target, memory):
    """Eight tries; dependents are not begun; other products are done; exit 3: run again."""
    kind = memory.kinds["aws.s3_prefix"]
    create, tries = kind.create, []

    def throttled(node):
        if "orders" in node.id:
            tries.append(node.id)
            raise Retryable("slow down")
        create(node)

    kind.create = throttled
    p = provisioner(target, memory)
    report = p.apply(p.plan(PRODUCTS))
    outcomes = {r.id: r.outcome for r in report.results}
    assert len(tries) == 8
    assert outcomes[PREFIX] == "failed"
    assert outcomes["s3.identity/mk.sales.orders.reader"] == "not_started"
    assert outcomes["s3.identity/mk.sales.b.reader"] == "created"
    assert report.exit_code == 3


def test_once_stopped_nothing_new_is_begun(target, memory):
    """The report says what is left."""
    stop = threading.Event()
    stop.set()
    p = provisioner(target, memory)
    report = p.apply(p.plan([file_product()]), stop=stop)
    assert {r.outcome for r in report.results} == {"not_started"}
    assert memory.writes == []


def test_the_documented_text_and_json(target, memory):
    """Signs, counts, ports without resource; the JSON has the documented keys."""
    p = provisioner(target, memory)
    plan = p.plan([file_product()])
    assert plan.to_text().splitlines() == [
        "sales.orders 1.2.0 -> local (lake, pg, bus)",
        "  + s3.bucket      acme-lake",
        "  + aws.s3_prefix  acme-lake/sales/orders/v1",
        "  + s3.identity    mk.sales.orders.publisher      5 S3 actions",
        "  + s3.identity    mk.sales.orders.reader      2 S3 actions",
        "Not enforced here: s3.public_access_block, tls",
        "Plan: 4 to create, 0 to update, 0 to delete, 0 conflicts.",
    ]
    data = plan.to_json()
    assert list(data) == ["format", "target", "account", "graph", "expires_at", "summary", "skipped", "nodes"]
    assert set(data["nodes"][0]) == {
        "id",
        "kind",
        "owner",
        "action",
        "reason",
        "disruptive",
        "fingerprint",
        "needs",
        "changes",
    }
    report = p.apply(plan)
    assert report.to_json()["deployments"][0]["endpoints"] == {"lake": "s3://acme-lake/sales/orders/v1/"}
    assert "4 created" in report.to_text()
    assert "Start publishing:  meshkit publish orders.yaml" in report.to_text()


def test_access_alone_never_plans_storage(target, memory):
    """A subscription or its end touches roles only."""
    p = provisioner(target, memory)
    assert {n.node.kind for n in p.plan(PRODUCTS, only="access").nodes} == {"s3.identity", "postgres.role"}
    assert not {"s3.identity", "postgres.role"} & {n.node.kind for n in p.plan(PRODUCTS, only="infra").nodes}


@pytest.mark.parametrize(
    ("limits", "reads"), [({}, True), ({"columns": frozenset({"order_id"})}, False), ({"port": "api"}, False)]
)
def test_a_live_grant_on_the_whole_product_lets_its_holder_assume_the_reader_role(tmp_path, limits, reads):
    """One on some columns or one port reads through the gateway: a role can't narrow it."""
    more = '      principals: {"group:m": ["arn:aws:iam::222233334444:role/m"]}\n'
    target = Target.from_config(mesh_config(tmp_path, provision=AWS % "" + more), "prod")
    grants = StaticGrants(Grant("g", "sales.orders", "group:m", datetime(2026, 1, 1, tzinfo=UTC), **limits))
    graph = Provisioner(target, grants=grants).graph([file_product()])
    (role,) = (n for n in graph.nodes if n.kind == "aws.iam_role" and "reader" in n.name)
    assert ("222233334444" in json.dumps(role.fields["trust"])) is reads


def test_a_plan_for_another_target_is_refused(tmp_path, target, memory):
    """A plan holds its target."""
    other = Target.from_config(mesh_config(tmp_path, provision=AWS % ""), "prod")
    plan = provisioner(target, memory).plan([file_product()])
    with pytest.raises(UsageError, match="target local, not prod"):
        provisioner(other, MemoryBackend(other)).apply(plan)
