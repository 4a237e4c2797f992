"""What tests of the data share."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def published() -> SimpleNamespace:
    """The functions of `mesh_records.py`, an independent writer of published data."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("mesh_records.py"))))
