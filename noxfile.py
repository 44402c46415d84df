"""Sessions: `nox` runs what CI runs. Extra on request: `nox -s benchmarks`, `nox -s jvm`.

The sessions use the environment nox itself runs in (`pip install -e ".[dev]"`), so that one installation serves them all.
"""

import os
import shutil
import sys

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "unit", "integration", "docs", "browser", "demo"]
WORKERS = os.environ.get("MESHKIT_TEST_WORKERS", "2")


def _run(session, *args):
    session.run(sys.executable, "-m", *args)


def _pytest(session, *args):
    session.run(sys.executable, "-m", "pytest", "-q", "-n", WORKERS, *args, *session.posargs)


@nox.session
def lint(session):
    """Style, and the layers of the package."""
    _run(session, "ruff", "check", ".")
    _run(session, "ruff", "format", "--check", ".")
    session.run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()")


@nox.session
def types(session):
    """mypy, strict."""
    _run(session, "mypy")


@nox.session
def unit(session):
    """Pure tests: unit and conformance."""
    _pytest(session, "tests/unit", "tests/conformance")


@nox.session
def integration(session):
    """Real servers: PostgreSQL, S3, a broker."""
    _pytest(session, "tests/integration", "-m", "not jvm")


@nox.session
def docs(session):
    """Every snippet and example."""
    _pytest(session, "tests/docs")


@nox.session
def browser(session):
    """The control plane in a real Chromium."""
    if shutil.which("chromium") is None and "CI" not in os.environ:
        session.skip("chromium is not installed: apt-get install chromium")
    _pytest(session, "tests/browser")


@nox.session
def demo(session):
    """`meshkit demo`, which checks each of its own steps."""
    _run(session, "meshkit", "demo", "--no-serve")


@nox.session
def benchmarks(session):
    """Ratios against a baseline in the same run."""
    session.run(sys.executable, "-m", "pytest", "-q", "-s", "tests/benchmarks", "-m", "benchmark", *session.posargs)


@nox.session
def jvm(session):
    """Apache Kafka and Trino on a JVM."""
    _pytest(session, "tests/integration", "-m", "jvm")
