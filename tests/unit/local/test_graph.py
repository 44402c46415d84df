"""The service graph of the embedded runtime, its ports, and both renderers."""

import json
import re
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from meshkit.local import embedded, portbook
from meshkit.local.capabilities import capabilities, not_enforced
from meshkit.local.containers import images, plan_containers
from meshkit.local.errors import RuntimeNotAvailable, UnknownService
from meshkit.local.graph import Account, closure, levels
from meshkit.local.jvm import Homes, plan_jvm
from meshkit.local.layout import Layout, StackFile
from meshkit.local.render import render_compose, render_processes
from meshkit.local.s3wire import S3Wire, sign
from meshkit.local.stack import Stack

LAYOUT = Layout(Path("/home/ada/mesh/.mesh"))
KEYS = embedded.Secrets("pw-secret", "key-secret", "s3-secret")
BINARIES = embedded.Binaries(
    Path("/w/pg"), Path("/w/weed"), Path("/w/tansu"), {"postgres": "18.4", "s3": "4.48", "broker": "0.6.0"}
)
NAMES = [f"{service}.{port}" for service, ports in embedded.PORTS.items() for port in ports]
STACK = StackFile(ports={name: 20000 + i for i, name in enumerate(NAMES)}, web=True)


def plan(stack: StackFile = STACK, account: Account | None = None):
    made = embedded.plan_embedded(LAYOUT, stack, BINARIES, KEYS, postgres=BINARIES.postgres, account=account)
    return {s.name: s for s in made}


def test_weed_gets_every_port_flag_and_each_port_once():
    """A port flag left out makes it move off busy defaults in silence."""
    command = plan()["s3"].command
    flags = dict(part[1:].split("=") for part in command if re.match(r"-[a-z0-9.]+=\d+$", part))
    for component in ("master", "volume", "filer", "s3", "admin"):
        assert f"{component}.port" in flags
        assert f"{component}.port.grpc" in flags
    numbers = [v for k, v in flags.items() if ".port" in k and v != "0"]
    assert len(numbers) == len(set(numbers)) == len(embedded.PORTS["s3"])
    assert flags["s3.port"] == str(STACK.ports["s3.main"])


def test_every_server_listens_on_loopback_only_and_phones_nobody():
    """No address but 127.0.0.1 stands in any command; telemetry is off."""
    for service in plan().values():
        addresses = set(re.findall(r"\d+\.\d+\.\d+\.\d+", " ".join(service.command)))
        assert addresses == {"127.0.0.1"}, service.name
    assert "-master.telemetry=false" in plan()["s3"].command


def test_secrets_stand_in_no_command():
    """Command lines are visible to all users of a machine."""
    for service in plan().values():
        assert not any(key in part for part in service.command for key in ("pw-secret", "key-secret", "s3-secret"))
        assert "secret" not in repr(service)


def test_postgres_stops_fast_and_survives_by_settings():
    """SIGINT, because SIGTERM waits for clients; fsync only when durable."""
    service = plan()["postgres"]
    assert (service.stop.signal, service.stop.grace_seconds) == (signal.SIGINT, 10.0)
    assert "wal_level=logical" in service.command
    assert "fsync=off" in service.command
    assert "fsync=on" in plan(STACK.model_copy(update={"durable": True}))["postgres"].command


def test_as_root_postgres_lies_outside_the_closed_directory():
    """`home` and account of another user apply to Postgres alone."""
    made = plan(STACK.model_copy(update={"home": Path("/var/tmp/meshkit-1")}), Account("nobody", 65534, 65534))
    assert made["postgres"].data_dir == Path("/var/tmp/meshkit-1/postgres/data")
    assert made["postgres"].account is not None
    assert made["s3"].account is None
    assert made["s3"].data_dir.is_relative_to(LAYOUT.root)


def test_the_broker_starts_after_s3_and_stops_before_it():
    """Levels follow needs."""
    order = levels(plan().values())
    depth = {name: i for i, level in enumerate(order) for name in level}
    assert depth["broker"] > depth["s3"]
    assert depth["gateway"] > depth["postgres"]


def test_asking_for_a_service_brings_what_it_needs():
    """`--only broker` starts S3 too; an unknown name lists the known ones."""
    assert closure(["broker"], embedded.NEEDS) == ("s3", "broker")
    with pytest.raises(UnknownService, match="Known are: postgres, s3"):
        closure(["kafka"], embedded.NEEDS)


def test_ports_are_kept_and_only_a_busy_one_moves():
    """The kernel chooses once; a foreign listener moves that port and no other."""
    first, moved = portbook.allot(["a.main", "b.main"], {})
    assert moved == {}
    assert portbook.allot(["a.main", "b.main"], first) == (first, {})
    with socket.socket() as intruder:
        intruder.bind(("127.0.0.1", first["a.main"]))
        intruder.listen()
        second, moved = portbook.allot(["a.main", "b.main"], first)
        assert moved == {"a.main": (first["a.main"], second["a.main"])}
        assert second["b.main"] == first["b.main"]
        assert portbook.allot(["a.main"], first, in_use=["a.main"]) == (first, {})


def test_many_ports_are_all_different():
    """Chosen ports are held until the last one is chosen."""
    ports, _ = portbook.allot([f"s{i}.main" for i in range(200)], {})
    assert len(set(ports.values())) == 200


def test_compose_publishes_on_loopback_pins_images_and_holds_no_secret():
    """The two traps of a local compose file: `0.0.0.0` and `latest`; secrets go to an env file."""
    made = render_compose(plan_containers({}), secrets={"POSTGRES_PASSWORD": "pw-secret"})
    compose = yaml.safe_load(made["compose.yaml"])
    assert set(compose["services"]) == {"postgres", "s3", "broker", "trino"}
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert re.search(r":(?!latest)[\w.-]+$", service["image"])
        assert {"healthcheck", "mem_limit"} <= set(service)
    assert "pw-secret" not in made["compose.yaml"]
    assert made["services.env"] == "POSTGRES_PASSWORD=pw-secret\n"
    assert compose["services"]["postgres"]["volumes"] == ["postgres-data:/var/lib/postgresql"]


def test_the_s3_image_can_be_replaced():
    """`MESHKIT_S3_IMAGE`, because the archived default gets no fixes."""
    by_name = {c.name: c for c in plan_containers({"MESHKIT_S3_IMAGE": "example/s3:1"})}
    assert by_name["s3"].image == "example/s3:1"
    assert {c.image for c in plan_containers({})} == set(images().values())


def test_processes_show_commands_without_values_of_variables():
    """For people and bug reports: names of variables only."""
    text = render_processes(plan().values())["processes.json"]
    assert "secret" not in text
    facts = {s["name"]: s for s in json.loads(text)["services"]}
    assert "AWS_SECRET_ACCESS_KEY" in facts["broker"]["env"]
    assert facts["postgres"]["stop"] == {"signal": "SIGINT", "grace_seconds": 10.0}


def test_the_jvm_graph_names_what_is_missing_and_is_not_started(tmp_path):
    """It renders with `$JAVA_HOME` in place of a home; `up` refuses with the runtime's name before it writes anything."""
    services = {s.name: s for s in plan_jvm(LAYOUT, StackFile(runtime="jvm"), Homes.from_env({}))}
    assert services["broker"].command[0] == "$JAVA_HOME/bin/java"
    assert services["trino"].needs == ("postgres", "s3")
    for runtime in ("jvm", "docker"):
        with pytest.raises(RuntimeNotAvailable, match=runtime):
            Stack.open(tmp_path / ".mesh", runtime).up()
    assert not (tmp_path / ".mesh").exists()


def test_capabilities_of_all_runtimes_have_the_same_names():
    """One table; what is absent in embedded and safety hangs on is listed at the start."""
    tables = [capabilities(r) for r in ("embedded", "jvm", "docker")]
    assert set(tables[0]) == set(tables[1]) == set(tables[2])
    assert tables[0]["kafka.transactions"].note == "publishers run at_least_once"
    assert ", ".join(not_enforced("embedded")) == (
        "kafka.acls, kafka.transactions, kafka.idempotence, s3.roles, s3.public_access_block, tls"
    )
    assert not_enforced("embedded", ("postgres",)) == ("tls",)


@pytest.mark.parametrize("path", ["/", "/bucket", "/bucket/a%20b/c.parquet"])
@pytest.mark.parametrize("body", [b"", b"rows"])
def test_signatures_agree_with_botocore(path, body):
    """Oracle: the signer of the AWS SDK, given the same headers and time."""
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    now = datetime(2026, 11, 24, 12, 30, 5, tzinfo=UTC)
    host = "127.0.0.1:9000"
    ours = sign("PUT", path, body, host=host, wire=S3Wire(9000, "k", "s"), now=now)
    request = AWSRequest("PUT", f"http://{host}{path}", data=body)
    for name in ("host", "x-amz-content-sha256", "x-amz-date"):
        request.headers[name] = ours[name]
    request.context["timestamp"] = ours["x-amz-date"]
    signer = auth.S3SigV4Auth(Credentials("k", "s"), "s3", "us-east-1")
    canonical = signer.canonical_request(request)
    text = signer.string_to_sign(request, canonical)
    assert ours["authorization"].endswith(f"Signature={signer.signature(text, request)}")
