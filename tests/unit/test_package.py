"""The package: cheap to import, whole without extras, its public names as documented."""

import subprocess
import sys

import meshkit
from meshkit import _registry

HEAVY = (
    "duckdb",
    "polars",
    "pyarrow",
    "pandas",
    "numpy",
    "sqlglot",
    "fastapi",
    "sqlalchemy",
    "boto3",
    "aiokafka",
    "psycopg",
    "jinja2",
    "rich",
)


def test_public_names_are_sorted_and_exist():
    assert list(meshkit.__all__) == sorted(meshkit.__all__)
    for name in meshkit.__all__:
        assert getattr(meshkit, name) is not None


def test_import_meshkit_and_its_public_names_load_no_heavy_package():
    code = f"import sys, meshkit\nfor n in meshkit.__all__: getattr(meshkit, n)\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_an_unknown_extension_names_the_nearest():
    try:
        _registry.load("config_sections", "maskin")
    except _registry.UnknownExtension as error:
        assert "masking" in str(error)
    else:
        raise AssertionError
