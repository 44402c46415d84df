"""Deploys on real servers: S3 (SeaweedFS with its IAM), PostgreSQL, the embedded broker."""

import asyncio
import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from provision_shop import HEAD, Killed, mesh_config

import meshkit
from meshkit.manifest import Manifest
from meshkit.provision import CredentialFiles, Provisioner, Target


@dataclass
class World:
    """One mesh of its own on the shared servers: names are unique, so that tests run side by side."""

    folder: Path
    s3: Any
    dsn: str | None
    bootstrap: str | None
    domain: str
    bucket: str

    @property
    def sources(self):
        text = f'  lake: {{kind: s3, endpoint: "{self.s3.endpoint}", key: "{self.s3.key}", secret: "{self.s3.secret}", serves: ["s3://"]}}\n'
        if self.dsn:
            text += f'  pg: {{kind: postgres, dsn: "{self.dsn}", serves: ["postgresql://db.shop/shop"]}}\n'
        if self.bootstrap:
            text += f'  bus: {{kind: kafka, bootstrap: "{self.bootstrap}", serves: ["kafka://"]}}\n'
        return text

    def open(self, *, name="acme"):
        return Provisioner(
            Target.from_config(mesh_config(self.folder, sources=self.sources, name=name), "local"), wait=lambda _: None
        )

    def deploy(self, *manifests, name="acme"):
        with self.open(name=name) as p:
            return p.apply(p.plan(manifests))

    def plan(self, *manifests, name="acme"):
        with self.open(name=name) as p:
            return p.plan(manifests)

    def files(self, name="orders", prefix=None):
        """A product with a file port."""
        text = HEAD.format(domain=self.domain, name=name) + (
            f"schema: {{{name}: {{fields: {{id: {{type: int64, required: true, key: 1}}}}}}}}\n"
            f'ports: {{lake: {{kind: file, location: "s3://{self.bucket}/{prefix or name}/*.parquet", format: parquet}}}}\n'
            "slos: {freshness: {within: 1h, target: 99%}}\n"
        )
        return Manifest.parse(text, source=f"{name}.yaml")

    def tables(self, name="orders", columns="order_id: id, total: amount"):
        """A product with a view over a private table, and a topic."""
        fields = ", ".join(f"{c.split(':')[0].strip()}: int64" for c in columns.split(","))
        text = HEAD.format(domain=self.domain, name=name) + (
            f"schema: {{{name}: {{fields: {{{fields}}}}}}}\n"
            f'ports:\n  warehouse: {{kind: postgres, location: "postgresql://db.shop/shop/mesh.{name}"}}\n'
            f'  events: {{kind: kafka, location: "kafka://bus/mesh.{self.domain}.{name}.v{{major}}", format: json}}\n'
            f"slos: {{freshness: {{within: 1h, target: 99%}}}}\n"
            f"source: {{database: shop, tables: [{{table: public.raw, map: {{{columns}}}}}]}}\n"
        )
        return Manifest.parse(text, source=f"{name}.yaml")

    def client(self, product=None, role=None, *, service="s3"):
        """Root's client, or that of a role's credential."""
        import boto3

        key, secret = self.s3.key, self.s3.secret
        if product:
            key, secret = self.credential(product, role)["s3"].values()
        return boto3.client(
            service,
            endpoint_url=self.s3.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )

    def credential(self, product, role):
        return json.loads((self.folder / ".mesh" / "credentials" / f"{product}.{role}.json").read_text())

    def login(self, product, role):
        import psycopg

        values = self.credential(product, role)["postgres"]
        parts = urlsplit(self.dsn)
        netloc = f"{quote(values['user'])}:{quote(values['password'])}@{parts.netloc.rpartition('@')[2]}"
        return psycopg.connect(parts._replace(netloc=netloc).geturl(), autocommit=True)

    def root(self):
        import psycopg

        return psycopg.connect(self.dsn, autocommit=True)

    def users(self):
        """Users of this domain with their keys: what a duplicate would show in."""
        iam = self.client(service="iam")
        names = [u["UserName"] for u in iam.list_users()["Users"] if u["UserName"].startswith(f"mk.{self.domain}.")]
        return {n: [k["AccessKeyId"] for k in iam.list_access_keys(UserName=n)["AccessKeyMetadata"]] for n in names}

    def keys(self):
        return sorted(o["Key"] for o in self.client().list_objects_v2(Bucket=self.bucket).get("Contents", ()))


@pytest.fixture
def lake(tmp_path, s3, s3_bucket):
    return World(tmp_path, s3, None, None, f"d{uuid.uuid4().hex[:10]}", s3_bucket)


@pytest.fixture
def world(tmp_path, s3, s3_bucket, fresh_database, kafka_bootstrap):
    made = World(tmp_path, s3, fresh_database(), kafka_bootstrap, f"d{uuid.uuid4().hex[:10]}", s3_bucket)
    with made.root() as connection:
        connection.execute("CREATE TABLE raw (id bigint PRIMARY KEY, amount bigint, secret text)")
        connection.execute("INSERT INTO raw VALUES (1, 99, 'x')")
    return made


def denied(call):
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return False


def root_policy(world, name, role):
    """What the server holds for a user: for the message of a right that should not be."""
    return world.client(service="iam").get_user_policy(
        UserName=f"mk.{world.domain}.{name}.{role}", PolicyName="meshkit"
    )["PolicyDocument"]


def test_a_second_deploy_changes_nothing_on_any_server(world):
    """Every kind of the local target; the second run makes no write call at all."""
    products = (world.files("clicks"), world.tables())
    first = world.deploy(*products)
    assert first.ok, first.to_text()
    assert first.changes == 10
    before = world.keys(), world.users()
    second = world.deploy(*products)
    assert second.ok
    assert second.changes == 0
    assert (world.keys(), world.users()) == before
    assert {n.action for n in world.plan(*products).nodes} == {"noop"}


def test_credentials_are_private_files(lake):
    """0600 in a 0700 folder, with the documented keys."""
    lake.deploy(lake.files())
    folder = lake.folder / ".mesh" / "credentials"
    path = folder / f"{lake.domain}.orders.reader.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(json.loads(path.read_text())["s3"]) == {"access_key", "secret_key"}


def test_a_reader_reads_its_folder_and_is_denied_all_else(lake):
    """Real refusals: write, delete, a sibling, a look-alike, the rest of the bucket, IAM itself."""
    lake.deploy(lake.files("orders"), lake.files("finance"))
    root, bucket = lake.client(), lake.bucket
    for key in ("orders/a.parquet", "orders-evil/a.parquet", "finance/a.parquet"):
        root.put_object(Bucket=bucket, Key=key, Body=b"rows")
    reader = lake.client(f"{lake.domain}.orders", "reader")
    assert reader.get_object(Bucket=bucket, Key="orders/a.parquet")["Body"].read() == b"rows"
    assert len(reader.list_objects_v2(Bucket=bucket, Prefix="orders/")["Contents"]) == 2
    for at, call in enumerate(
        (
            lambda: reader.put_object(Bucket=bucket, Key="orders/b.parquet", Body=b""),
            lambda: reader.delete_object(Bucket=bucket, Key="orders/a.parquet"),
            lambda: reader.get_object(Bucket=bucket, Key="orders-evil/a.parquet"),
            lambda: reader.get_object(Bucket=bucket, Key="finance/a.parquet"),
            lambda: reader.list_objects_v2(Bucket=bucket, Prefix="orders-evil/"),
            lambda: reader.list_objects_v2(Bucket=bucket, Prefix="orders"),
            lambda: reader.list_objects_v2(Bucket=bucket),
            lambda: reader.copy_object(
                Bucket=bucket, Key="orders/c", CopySource={"Bucket": bucket, "Key": "finance/a.parquet"}
            ),
            lambda: reader.create_bucket(Bucket=f"x-{uuid.uuid4().hex[:8]}"),
            lambda: reader.delete_bucket(Bucket=bucket),
        )
    ):
        assert denied(call), f"call {at} was allowed under {root_policy(lake, 'orders', 'reader')}"
    iam = lake.client(f"{lake.domain}.orders", "reader", service="iam")
    assert denied(lambda: iam.create_access_key(UserName=f"mk.{lake.domain}.finance.publisher"))


def test_a_publisher_writes_its_folder_and_can_not_touch_another_product(lake):
    """Neither write nor delete nor read, nor by copying."""
    lake.deploy(lake.files("orders"), lake.files("finance"))
    bucket = lake.bucket
    lake.client().put_object(Bucket=bucket, Key="finance/a.parquet", Body=b"rows")
    publisher = lake.client(f"{lake.domain}.orders", "publisher")
    publisher.put_object(Bucket=bucket, Key="orders/a.parquet", Body=b"rows")
    assert publisher.get_object(Bucket=bucket, Key="orders/a.parquet")["Body"].read() == b"rows"
    publisher.delete_object(Bucket=bucket, Key="orders/a.parquet")
    for call in (
        lambda: publisher.put_object(Bucket=bucket, Key="finance/b.parquet", Body=b""),
        lambda: publisher.put_object(Bucket=bucket, Key="orders-evil/b.parquet", Body=b""),
        lambda: publisher.put_object(Bucket=bucket, Key="orders", Body=b""),
        lambda: publisher.delete_object(Bucket=bucket, Key="finance/a.parquet"),
        lambda: publisher.get_object(Bucket=bucket, Key="finance/a.parquet"),
        lambda: publisher.copy_object(
            Bucket=bucket, Key="orders/c", CopySource={"Bucket": bucket, "Key": "finance/a.parquet"}
        ),
    ):
        assert denied(call)
    assert lake.client().get_object(Bucket=bucket, Key="finance/a.parquet")["Body"].read() == b"rows"


def test_database_roles_see_what_they_need(world):
    """The reader the view, the publisher the mapped columns and the log; nobody the rest."""
    import psycopg

    world.deploy(world.tables())
    product = f"{world.domain}.orders"
    with world.login(product, "reader") as reader:
        assert reader.execute("SELECT order_id, total FROM mesh.orders").fetchall() == [(1, 99)]
        for statement in ("SELECT * FROM raw", "INSERT INTO mesh.orders VALUES (2, 2)", "DELETE FROM mesh.orders", "CREATE TABLE mesh.x (a int)",
                          "ALTER ROLE CURRENT_USER SUPERUSER", "SELECT rolpassword FROM pg_authid"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)
    with world.login(product, "publisher") as publisher:
        assert publisher.execute("SELECT id, amount FROM raw").fetchall() == [(1, 99)]
        assert publisher.execute("SELECT rolreplication FROM pg_roles WHERE rolname = current_user").fetchone() == (
            True,
        )
        for statement in ("SELECT secret FROM raw", "UPDATE raw SET amount = 0", "SELECT * FROM mesh.orders"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                publisher.execute(statement)


def test_foreign_resources_are_conflicts_with_no_write(world):
    """A folder, a user, a role and a view of somebody else: each blocks its product, and nothing of it is written."""
    from psycopg import sql

    other = {"meshkit:owner": "urn:mesh:evil:x", "meshkit:mesh": "acme", "meshkit:env": "local"}
    root, iam = world.client(), world.client(service="iam")
    root.put_object(Bucket=world.bucket, Key="a/.meshkit-owner.json", Body=json.dumps(other).encode())
    root.put_object(Bucket=world.bucket, Key="c/.meshkit-owner.json", Body=json.dumps(other).encode())
    root.put_object(Bucket=world.bucket, Key="d/deep/.meshkit-owner.json", Body=json.dumps(other).encode())
    user = f"mk.{world.domain}.b.reader"
    iam.create_user(UserName=user)
    iam.create_access_key(UserName=user)
    with world.root() as connection:
        connection.execute(f"CREATE ROLE mk_{world.domain}_e_reader LOGIN")
        connection.execute("CREATE SCHEMA mesh; CREATE VIEW mesh.f AS SELECT 1 AS order_id")
        connection.execute(sql.SQL("COMMENT ON VIEW mesh.f IS {}").format(sql.Literal("meshkit " + json.dumps(other))))
    before = world.keys(), world.users()
    products = [
        world.files("a"),
        world.files("b"),
        world.files("inner", "c/deeper"),
        world.files("outer", "d"),
        world.tables("e"),
        world.tables("f"),
    ]
    plan = world.plan(*products)
    conflicts = {n.node.id.rpartition("/")[2] for n in plan.nodes if n.action == "conflict"}
    assert conflicts == {"a", user, "deeper", "d", f"mk_{world.domain}_e_reader", "mesh.f"}
    assert plan.changes == 0 or {n.node.kind for n in plan.nodes if n.writes} == {"kafka.topic"}
    report = world.deploy(*products)
    assert report.exit_code == 1
    assert (world.keys(), world.users()) == before
    with world.root() as connection:
        roles = connection.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE %s", [f"mk_{world.domain}_%"]
        ).fetchone()
        assert roles == (1,)


def test_another_mesh_can_not_take_over_a_product(lake):
    """The same manifest deployed from a mesh of another name."""
    lake.deploy(lake.files())
    plan = lake.plan(lake.files(), name="rival")
    assert {n.action for n in plan.nodes if not n.node.shared} == {"conflict"}
    assert f"belongs to urn:mesh:{lake.domain}:orders of acme/local" in plan.to_text()


def test_a_view_of_somebodys_own_is_used_and_breaks_nothing(world):
    """It has no marker: skipped, its readers are made."""
    with world.root() as connection:
        connection.execute(
            "CREATE SCHEMA mesh; CREATE VIEW mesh.orders AS SELECT id AS order_id, amount AS total FROM raw"
        )
    report = world.deploy(world.tables())
    assert report.ok
    with world.login(f"{world.domain}.orders", "reader") as reader:
        assert reader.execute("SELECT total FROM mesh.orders").fetchone() == (99,)


def test_topics_that_a_publisher_made_first_are_as_they_shall_be(world):
    """On a local mesh a publisher makes its topics itself: a later deploy finds nothing to change in them."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    topic = f"mesh.{world.domain}.orders.v1"
    shapes = {topic: (3, {"cleanup.policy": "compact", "delete.retention.ms": "604800000"}), f"mesh.{world.domain}._positions": (1, {"cleanup.policy": "compact"}),
              f"{topic}.dlq": (3, {"cleanup.policy": "delete", "retention.ms": "2592000000"})}  # fmt: skip

    async def make():
        admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(n, count, 1, topic_configs=c) for n, (count, c) in shapes.items()])
        await admin.close()

    asyncio.run(make())
    assert {n.action for n in world.plan(world.tables()).nodes if n.node.kind == "kafka.topic"} == {"noop"}


def test_a_relation_that_nothing_makes_is_named(world):
    """No grant on air: manual, with what to do; exit 1."""
    text = world.tables().dump()
    manifest = Manifest.parse(text[: text.index("source:")])
    plan = world.plan(manifest)
    assert "mesh.orders is not there" in plan.to_text()
    assert plan.exit_code == 1


def test_a_changed_mapping_makes_the_view_anew_with_its_grants(world):
    """Postgres can't drop a column of a view in place: dropped and made again, and the reader still reads."""
    world.deploy(world.tables())
    narrowed = world.tables(columns="total: amount")
    report = world.deploy(narrowed)
    assert report.ok, report.to_text()
    assert world.plan(narrowed).changes == 0
    with world.login(f"{world.domain}.orders", "reader") as reader:
        assert reader.execute("SELECT * FROM mesh.orders").fetchall() == [(99,)]


def test_changes_by_hand_are_found_and_repaired(world):
    """A wider policy, a second key, a grant, a role attribute, a password, a view: each one difference, then none."""
    products = (world.files("clicks"), world.tables())
    world.deploy(*products)
    iam, user = world.client(service="iam"), f"mk.{world.domain}.clicks.reader"
    wide = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}]}
    role = f"mk_{world.domain}_orders_reader"
    mutations = {
        "policy": lambda _: iam.put_user_policy(UserName=user, PolicyName="meshkit", PolicyDocument=json.dumps(wide)),
        "other_policies": lambda _: iam.put_user_policy(
            UserName=user, PolicyName="more", PolicyDocument=json.dumps(wide)
        ),
        "credential": lambda _: iam.create_access_key(UserName=user),
        "grants": lambda c: c.execute(f"GRANT SELECT (secret) ON raw TO {role}"),
        "attributes": lambda c: c.execute(f"ALTER ROLE {role} CREATEDB"),
        "member_of": lambda c: c.execute(f"GRANT pg_read_all_data TO {role}"),
        "definition": lambda c: c.execute(
            "CREATE OR REPLACE VIEW mesh.orders AS SELECT id AS order_id, id AS total FROM raw"
        ),
    }
    for path, mutate in mutations.items():
        with world.root() as connection:
            mutate(connection)
        changed = [c.path for n in world.plan(*products).nodes for c in n.changes]
        assert changed == [path]
        assert world.deploy(*products).ok
        assert world.plan(*products).changes == 0
    with world.root() as connection:
        connection.execute(f"ALTER ROLE {role} PASSWORD 'other'")
    assert world.deploy(*products).changes == 1
    world.login(f"{world.domain}.orders", "reader").close()


def test_rights_that_a_renamed_role_left_behind_are_named(world):
    """They go on working until somebody removes them, so the plan shows them; other products' are none of its business."""

    def renamed(manifest):
        return Manifest.parse(manifest.dump() + "roles: {analyst: {access: read}}\n")

    products = (world.files("clicks"), world.tables())
    world.deploy(*products, world.files("other"))
    assert world.plan(*products).summary["orphan"] == 0
    plan = world.plan(*map(renamed, products))
    orphans = {n.node.name for n in plan.nodes if n.action == "orphan"}
    assert orphans == {f"mk.{world.domain}.clicks.reader", f"pg/mk_{world.domain}_orders_reader"}
    assert "orphan: no manifest asks for it any more" in plan.to_text()
    assert world.deploy(*map(renamed, products)).ok
    assert f"mk.{world.domain}.clicks.reader" in world.users()


def test_a_lost_credential_file_gives_a_new_key_and_ends_the_old_one(world):
    """Keys that nobody knows any more must not go on working."""
    products = (world.files("clicks"), world.tables())
    world.deploy(*products)
    old = world.client(f"{world.domain}.clicks", "reader")
    shutil.rmtree(world.folder / ".mesh" / "credentials")
    assert world.deploy(*products).ok
    assert world.client(f"{world.domain}.clicks", "reader").list_objects_v2(Bucket=world.bucket, Prefix="clicks/")
    with pytest.raises(Exception, match="InvalidAccessKeyId|AccessDenied|Forbidden"):
        old.list_objects_v2(Bucket=world.bucket, Prefix="clicks/")
    world.login(f"{world.domain}.orders", "reader").close()


WRITES = ("CreateBucket", "PutObject", "CreateUser", "TagUser", "PutUserPolicy", "CreateAccessKey")


def kill_at_request(p, n, *, after):
    """The process dies before the `n`-th writing request leaves, or after its effect; from then on nothing works."""
    state = {"seen": 0, "dead": False}

    def hook(**rest):
        name = rest["event_name"].rpartition(".")[2]
        if state["dead"]:
            raise Killed
        if name in WRITES:
            state["seen"] += 1
            if state["seen"] == n:
                state["dead"] = True
                raise Killed

    s3 = next(b for b in p.backends if b.name == "s3")
    for service in ("s3", "iam"):
        s3._clients["lake"](service).meta.events.register("after-call" if after else "before-send", hook)
    return state


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_request_to_s3_a_rerun_converges(lake, after):
    """Also between the calls that make one user: one user, one key, and the key is the stored one."""
    lake.bucket = f"t-{uuid.uuid4().hex[:16]}"
    killed = 0
    for n in range(1, 30):
        manifest = lake.files(f"p{n}")
        with lake.open() as p:
            kill_at_request(p, max(1, n), after=after)
            try:
                p.apply(p.plan([manifest]))
            except Killed:
                killed += 1
            else:
                break
        report = lake.deploy(manifest)
        assert report.ok, report.to_text()
        assert lake.plan(manifest).changes == 0
    users = lake.users()
    assert killed >= 9
    assert len(users) == 2 * n
    for name, keys in users.items():
        product, _, role = name.removeprefix("mk.").rpartition(".")
        assert keys == [lake.credential(product, role)["s3"]["access_key"]]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_statement_a_rerun_converges(world, after):
    """Roles, grants and comments are one transaction: a cut one leaves nothing; the stored password works."""
    killed = 0
    for n in range(1, 40):
        manifest = world.tables(f"p{n}")
        with world.open() as p:
            postgres = next(b for b in p.backends if b.name == "postgres")
            run, seen = postgres.run, []

            def dying(connection, statement, values=None, run=run, seen=seen, n=n):
                if not re.match(r"\W*(SQL\(')?(CREATE|ALTER|GRANT|COMMENT)", str(statement).removeprefix("Composed([")):
                    return run(connection, statement, values)
                seen.append(1)
                if len(seen) >= n and not after:
                    raise Killed
                result = run(connection, statement, values)
                if len(seen) >= n:
                    raise Killed
                return result

            postgres.run = dying
            try:
                p.apply(p.plan([manifest]))
            except Killed:
                killed += 1
            else:
                break
        report = world.deploy(manifest)
        assert report.ok, report.to_text()
        assert world.plan(manifest).changes == 0
        world.login(f"{world.domain}.p{n}", "reader").close()
    assert killed >= 10


@pytest.mark.parametrize(("answer", "code", "made"), [("n", 1, 0), ("y", 0, 3)])
def test_on_a_terminal_it_asks_first(lake, answer, code, made):
    """No writes nothing and exits 1."""
    (lake.folder / "mesh.yaml").write_text(f"name: acme\nsources:\n{lake.sources}")
    (lake.folder / "manifest.yaml").write_text(lake.files().dump())
    program = str(Path(sys.executable).parent / "platform-deploy")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [program, "manifest.yaml", "--config", "mesh.yaml"], cwd=lake.folder, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Deploy? [y/N]" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, f"{answer}\n".encode())
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # how a terminal says that its other end is gone
                break
        assert process.wait(timeout=60) == code
    os.close(ours)
    assert b"Plan: 3 to create, 0 to update, 0 to delete, 0 conflicts. Deploy? [y/N]" in shown
    assert len(lake.keys()) + len(lake.users()) == made


def test_racing_deploys_converge(world, tmp_path_factory):
    """Three at once without a common lock: one user with one key, which is the stored one; then nothing to change."""
    products = (world.files("clicks"), world.tables())
    sink = CredentialFiles(world.folder / "credentials")

    def deploy(folder):
        target = Target.from_config(mesh_config(folder, sources=world.sources), "local")
        with Provisioner(target, sink=sink) as p:
            return p.apply(p.plan(products))

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(deploy, [tmp_path_factory.mktemp("race") for _ in range(3)]))
    assert all(r.ok for r in reports), [r.to_text() for r in reports]
    with Provisioner(Target.from_config(mesh_config(world.folder, sources=world.sources), "local"), sink=sink) as p:
        assert p.plan(products).changes == 0
    for name, keys in world.users().items():
        role = name.rpartition(".")[2]
        assert keys == [sink.read(f"{world.domain}.clicks", role, "s3")["access_key"]]


def test_the_demo_products_deploy_from_the_command_line(world, tmp_path_factory):
    """`platform-deploy`: refused without --yes where nobody can be asked; then all is made; then nothing changes."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(Path(meshkit.__file__).parent / "demo" / "files", folder, dirs_exist_ok=True)
    with world.root() as connection:
        connection.execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(12,2), status text, campaign_id integer, email text, placed_at timestamptz);"
            "CREATE SCHEMA mesh; CREATE VIEW mesh.users AS SELECT 1 AS user_id"
        )
    mesh = re.sub(r"sources:\n(  .*\n)+", f"sources:\n{world.sources}", (folder / "mesh.yaml").read_text())
    mesh = mesh.replace("postgresql://db.shop/shop", "postgresql://db.sales.acme/sales_db").replace(
        "name: acme", f"name: m{uuid.uuid4().hex[:8]}"
    )
    (folder / "mesh.yaml").write_text(mesh)
    for path in (folder / "products").rglob("manifest.yaml"):
        path.write_text(path.read_text().replace("s3://acme-lake/", f"s3://{world.bucket}/"))
    program = str(Path(sys.executable).parent / "platform-deploy")

    def run(*arguments):
        done = subprocess.run(
            [program, *arguments, "--config", "mesh.yaml"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout, done.stderr

    code, out, err = run("products/sales/orders/manifest.yaml")
    assert code == 2, err
    assert "+ postgres.view  pg/mesh.orders" in out
    assert "--yes" in err
    code, out, err = run("products", "--yes")
    assert code == 0, err
    assert "40 created" in out
    code, out, _ = run("products", "--yes", "--format", "json")
    assert code == 0
    assert {r["outcome"] for r in json.loads(out)["results"]} == {"unchanged"}
