"""`meshkit serve`: when it starts, and that it answers."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from meshkit.cli import meshkit, run

BARE = "name: bare\nenvironment: {}\nproducts: []\n"


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (BARE.format("local"), []),
        (
            BARE.format("local") + "auth: {dev_principals: {me: {roles: [x]}}}\n",
            ["--dev-principal", "me", "--host", "0.0.0.0"],
        ),
        (
            BARE.format("local") + "default_principal: me\nauth: {dev_principals: {me: {roles: [x]}}}\n",
            ["--host", "192.0.2.1"],
        ),
    ],
)
def test_it_does_not_start_without_an_identity(tmp_path, config, options, capsys):
    """Exit 3, and it says what follows."""
    path = tmp_path / "mesh.yaml"
    path.write_text(config)
    assert run(meshkit, ["serve", "--config", str(path), *options]) == 3
    assert (
        "OpenID Connect follows in a later release" in capsys.readouterr().err.replace("\n", " ")
        or "sign-in by OpenID Connect" in capsys.readouterr().err
    )


def test_help_has_an_example(capsys):
    """Every command's help has one."""
    assert run(meshkit, ["serve", "--help"]) == 0
    assert "meshkit serve --dev-principal analyst" in capsys.readouterr().out


def test_it_serves_and_stops_on_sigterm(folder):
    """A real process on a free port."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "meshkit", "serve", "--config", str(folder / "mesh.yaml"), "--port", str(port)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        line = process.stderr.readline()
        assert re.search(rf"http://127\.0\.0\.1:{port}/ +\(reads as analyst", line)
        for _ in range(200):
            try:
                body = urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).read()
                break
            except OSError:
                import time

                time.sleep(0.05)
        assert body == b"ok\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in {0, -signal.SIGTERM}
        process.stderr.read()
