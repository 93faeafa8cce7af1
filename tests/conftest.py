"""Shapes are checked throughout the tests: the hook has to stand before the first import of p2vlib."""

from __future__ import annotations

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# As in every type checker, an int is good where a float is asked for.
install_import_hook("p2vlib", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout: data, reports and work of the test go there."""
    monkeypatch.setenv("P2VLIB_HOME", str(tmp_path))
    return tmp_path
