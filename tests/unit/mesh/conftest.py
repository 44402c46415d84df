"""The small mesh of `tests/support/mesh_folder.py`, opened."""

from pathlib import Path

import pytest
from mesh_folder import make_mesh_folder

from meshkit import Mesh


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_mesh_folder(tmp_path)


@pytest.fixture
def mesh(folder: Path):
    with Mesh.open(folder / "mesh.yaml") as opened:
        yield opened
