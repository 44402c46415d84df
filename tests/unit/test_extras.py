"""Without an optional package the error names the extra that brings it; nothing is skipped in silence."""

import subprocess
import sys
from pathlib import Path

import pytest

RICH = Path(__file__).parent / "contracts" / "rich.yaml"
LOAD = f"from meshkit.manifest import Manifest; m = Manifest.load({str(RICH)!r})\n"
CASES = [
    ("duckdb", "quality", LOAD + "from meshkit.contracts import check_data; check_data(m, 'x.parquet')"),
    ("polars", "quality", LOAD + "from meshkit.contracts import compile_checks; compile_checks(m)"),
    ("fsspec", "sql", "from meshkit._storage import open_filesystem; open_filesystem('data')"),
    ("s3fs", "s3", "from meshkit._storage import open_filesystem; open_filesystem('s3://bucket/x')"),
]


@pytest.mark.parametrize("package, extra, code", CASES, ids=[c[0] for c in CASES])
def test_a_missing_package_names_its_extra(package, extra, code):
    program = f"import sys\nsys.modules[{package!r}] = None\nfrom meshkit.errors import MissingExtra\ntry:\n" + "".join(
        f"    {line}\n" for line in code.splitlines()
    )
    program += "except MissingExtra as error:\n    print(error.extra, error.exit_code)\n"
    shown = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert shown.stdout.split() == [extra, "3"], shown.stderr
