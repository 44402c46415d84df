"""The local mesh under everything that happens to processes: each test kills real servers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from click.testing import CliRunner

from meshkit.cli import meshkit
from meshkit.local import Stack, StackStatus
from meshkit.local.client import is_running, read_state
from meshkit.local.process import identify, is_alive
from meshkit.local.s3wire import S3Wire

WAIT_SECONDS = 40


def pid_of(status: StackStatus, name: str) -> int:
    return next(s.pid for s in status.services if s.name == name)


def wait_for(condition, what: str):
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"waited in vain for: {what}")


def processes_below(folder: Path, home: Path | None) -> list[psutil.Process]:
    """Processes that work in the directory of a stack: servers and orphaned backends."""
    found = []
    for process in psutil.process_iter():
        try:
            cwd = Path(process.cwd())
            if process.status() != psutil.STATUS_ZOMBIE and any(
                cwd.is_relative_to(f) for f in (folder, home) if f is not None
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wire_of(stack: Stack) -> S3Wire:
    found = stack.endpoints
    return S3Wire(int(found.s3_endpoint.rpartition(":")[2]), found.s3_key, found.s3_secret)


@pytest.fixture
def stack(tmp_path):
    """A stack of its own that is down at first and gone afterwards."""
    made = Stack.open(tmp_path / "a b" / ".mesh", only=("postgres", "s3"), ends_with_pid=os.getpid())
    yield made
    made.down(wipe=True)


def home_of(stack: Stack) -> Path | None:
    return stack._stack.home


def test_after_sigkill_of_the_supervisor_the_first_up_works_and_data_is_there(stack):
    """Servers die with their supervisor, busy Postgres backends too; the next start has all acknowledged data."""
    stack.up().raise_for_failures(stack.log_path)
    dsn, wire = stack.endpoints.postgres_dsn, wire_of(stack)
    assert wire.call("PUT", "/kept")[0] == 200
    assert wire.call("PUT", "/kept/a", b"acknowledged")[0] == 200
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    sleeper = psycopg.connect(dsn, autocommit=True)
    busy = threading.Thread(target=_run_until_killed, args=(sleeper,))
    busy.start()
    supervisor = stack.status().supervisor_pid
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not is_running(stack._layout), "the lock to be free")

    status = stack.up()
    assert status.state == "ready", status.to_text()
    busy.join(WAIT_SECONDS)
    assert not busy.is_alive()
    with psycopg.connect(stack.endpoints.postgres_dsn) as connection:
        assert connection.execute("SELECT a FROM t").fetchone() == (1,)
    assert wire_of(stack).call("GET", "/kept/a") == (200, b"acknowledged")


def test_up_right_after_a_kill_replaces_the_dying_supervisor(stack):
    """No wait between SIGKILL and `up`: a supervisor that dies while it answers is not the end of the call."""
    stack.up().raise_for_failures(stack.log_path)
    for _ in range(4):
        victim = stack.status().supervisor_pid
        os.kill(victim, signal.SIGKILL)
        status = stack.up()
        assert status.state == "ready", status.to_text()
        assert status.supervisor_pid != victim


def _run_until_killed(connection: psycopg.Connection) -> None:
    """A query that holds the shared memory for minutes unless its backend is ended."""
    try:
        connection.execute("SELECT pg_sleep(300)")
    except psycopg.OperationalError:
        pass
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["postgres", "s3"])
def test_a_killed_service_is_restarted_on_its_port(stack, name):
    """SIGKILL of a server: another process of the same service answers at the same address."""
    before = stack.up()
    os.kill(pid_of(before, name), signal.SIGKILL)

    def is_back() -> bool:
        now = stack.status()
        return now.state == "ready" and pid_of(now, name) not in {None, pid_of(before, name)}

    wait_for(is_back, f"{name} to come back")
    after = stack.status()
    assert [s.url for s in after.services] == [s.url for s in before.services]
    assert next(s.restarts for s in after.services if s.name == name) == 1


def test_up_changes_nothing_when_all_is_ready(stack):
    """A second `up` keeps every process; more services can be added to a running stack."""
    before = stack.up()
    again = Stack.open(stack.directory, only=("postgres",)).up()
    assert {s.name: s.pid for s in again.services} == {s.name: s.pid for s in before.services}


def test_two_callers_at_once_get_one_supervisor_and_both_their_services(tmp_path):
    """Racing starts with different wishes end in one stack that has them all."""
    stacks = [Stack.open(tmp_path / ".mesh", only=(n,), ends_with_pid=os.getpid()) for n in ("postgres", "s3")]
    found: list[StackStatus] = []
    threads = [threading.Thread(target=lambda s=s: found.append(s.up())) for s in stacks]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
        assert len(found) == 2
        assert len({s.supervisor_pid for s in found}) == 1
        wait_for(lambda: stacks[0].status().state == "ready", "both services")
        assert {s.name for s in stacks[0].status().services} == {"postgres", "s3"}
    finally:
        stacks[0].down(wipe=True)


def test_down_leaves_no_process_and_wipe_no_file(stack):
    """After `down` nothing of the stack runs and its data is kept; after `down --wipe` nothing of it is left on disk."""
    stack.up()
    supervisor = identify(stack.status().supervisor_pid)
    socket_path = Path(read_state(stack._layout)["supervisor"]["socket"])
    home = home_of(stack)
    assert stack.down().exit_code == 0
    assert processes_below(stack.directory, home) == []
    assert not is_alive(supervisor)
    assert not socket_path.parent.exists()
    assert stack.status().state == "down"
    assert (stack.directory / "stack.json").exists()
    assert stack.down(wipe=True).wiped
    assert not stack.directory.exists()
    assert home is None or not home.exists()


def test_a_busy_port_moves_and_says_so(stack):
    """Another program on the port of Postgres: the server gets a new one, the note names both."""
    stack.up()
    port = int(stack.endpoints.postgres_dsn.rpartition(":")[2].partition("/")[0])
    stack.down()
    with socket.socket() as intruder:
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        intruder.bind(("127.0.0.1", port))
        intruder.listen()
        assert stack.doctor().checks[-2].result == "warn"
        status = stack.up()
    assert status.state == "ready"
    assert any(f"port {port} is busy" in note for note in status.notes)
    with psycopg.connect(stack.endpoints.postgres_dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_corrupt_state_file_is_rebuilt(stack):
    """`state.json` is only a help: broken, the next `up` finds processes without it."""
    stack.up()
    os.kill(stack.status().supervisor_pid, signal.SIGKILL)
    wait_for(lambda: not is_running(stack._layout), "the lock to be free")
    (stack.directory / "state.json").write_text("{broken")
    assert stack.up().state == "ready"


def test_orphans_are_found_and_ended_by_the_doctor(stack):
    """A process that survived its supervisor is a failed check, `--fix` ends it."""
    stack.up()
    base = next(s for s in stack.services() if s.name == "s3")
    stack.down()
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        cwd=base.data_dir,
        env={"MESHKIT_LOCAL_STACK": stack._stack.id},
    )
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], cwd=base.data_dir)
    try:
        time.sleep(0.2)
        assert stack.doctor().checks[-1].result == "fail"
        assert stack.doctor(fix=True).checks[-1].result == "ok"
        orphan.wait(10)
        assert stranger.poll() is None
    finally:
        for process in (orphan, stranger):
            process.kill()
            process.wait()


def test_a_stack_ends_with_the_process_that_owns_it(tmp_path):
    """SIGKILL of a test run: its temporary servers stop and their folders are removed."""
    code = (
        "import sys, time; from meshkit.local import Stack\n"
        "with Stack.temporary(only=('s3',)) as s:\n"
        "    print(s.directory, s.status().supervisor_pid, s._stack.home, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    directory, pid, home = owner.stdout.readline().rsplit(maxsplit=2)
    supervisor = identify(int(pid))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_for(lambda: not is_alive(supervisor), "the supervisor to end")
    assert processes_below(Path(directory), None if home == "None" else Path(home)) == []
    assert not Path(directory).exists()
    assert home == "None" or not Path(home).exists()


def test_a_removed_directory_ends_the_stack(stack):
    """`rm -rf .mesh` under a running stack leaves no server behind."""
    import shutil

    stack.up()
    home = home_of(stack)
    supervisor = identify(stack.status().supervisor_pid)
    shutil.rmtree(stack.directory)
    wait_for(lambda: not is_alive(supervisor), "the supervisor to end")
    assert processes_below(stack.directory, home) == []


def test_the_command_line_starts_shows_and_stops(tmp_path):
    """`up`, `status`, `down --wipe` with their exit codes and texts."""
    run = CliRunner()
    where = ["--dir", str(tmp_path / ".mesh")]
    try:
        up = run.invoke(meshkit, ["up", "--only", "s3", *where], standalone_mode=False)
        assert up.return_value == 0, up.output
        assert "s3 (seaweedfs" in up.output
        assert "Not enforced here: s3.roles, s3.public_access_block, tls" in up.output
        shown = run.invoke(meshkit, ["status", "--env", *where], standalone_mode=False)
        assert "export AWS_ENDPOINT_URL_S3=http://127.0.0.1:" in shown.output
    finally:
        down = run.invoke(meshkit, ["down", "--wipe", "--yes", *where], standalone_mode=False)
    assert down.return_value == 0
    assert run.invoke(meshkit, ["status", *where], standalone_mode=False).return_value == 1


def test_an_acknowledged_record_survives_sigkill_of_the_broker(tmp_path):
    """The broker keeps its log in S3: what it acknowledged is there after it and S3 were killed."""
    with Stack.temporary(only=("broker",)) as stack:
        bootstrap = stack.endpoints.kafka_bootstrap
        asyncio.run(_produce(bootstrap, 200))
        before = stack.status()
        for name in ("broker", "s3"):
            os.kill(pid_of(before, name), signal.SIGKILL)

        def is_back() -> bool:
            now = stack.status()
            return now.state == "ready" and pid_of(now, "broker") != pid_of(before, "broker")

        wait_for(is_back, "broker and s3 to come back")
        assert asyncio.run(_count(bootstrap)) == 200


async def _produce(bootstrap: str, count: int) -> None:
    from aiokafka import AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    for number in range(count):
        await producer.send("kept", str(number).encode())
    await producer.stop()


async def _count(bootstrap: str) -> int:
    """Records that can be fetched; `end_offsets` of this broker counts a batch as one."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    where = TopicPartition("kept", 0)
    consumer.assign([where])
    consumer.seek(where, 0)
    seen: list[int] = []
    try:
        while len(seen) < 200:
            seen.append((await asyncio.wait_for(consumer.getone(), 10)).offset)
    finally:
        await consumer.stop()
    assert seen == list(range(len(seen)))
    return len(seen)


def test_up_with_products_deploys_them_and_changes_nothing_the_second_time(tmp_path):
    """Bucket, keys and catalog entry are there after one command; a second one finds all done."""
    from meshkit.mesh import Mesh

    home = tmp_path / "products" / "orders"
    home.mkdir(parents=True)
    (home / "manifest.yaml").write_text(
        "apiVersion: meshkit/v1\nkind: DataProduct\ndomain: sales\nname: orders\nversion: 1.0.0\nstatus: active\n"
        "owner: {team: t, contact: t@x.org}\ndescription: {purpose: p}\nsupport: [{channel: x}]\n"
        "schema: {orders: {fields: {id: {type: int64}}}}\n"
        'ports: {lake: {kind: file, location: "s3://up-lake/sales/orders/v{major}/*.parquet", format: parquet}}\n'
        "slos: {freshness: {within: 1h}}\n"
    )
    stack = Stack.open(tmp_path / ".mesh", only=("s3",))
    try:
        first, second = stack.up(tmp_path / "products"), stack.up(tmp_path / "products")
        assert "1 products deployed" in " ".join(first.notes)
        assert "1 products deployed, 0 resources changed" in " ".join(second.notes)
        assert (tmp_path / ".mesh" / "credentials" / "sales.orders.publisher.json").exists()
        with Mesh.open(stack.mesh_file) as mesh:
            assert mesh.catalog.find("sales.orders").version == "1.0.0"
    finally:
        stack.down(wipe=True)
