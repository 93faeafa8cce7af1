"""Shapes are checked throughout the tests: the hook has to stand before the first import of p2vlib."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

# As in every type checker, an int is good where a float is asked for.
install_import_hook("p2vlib", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


if TYPE_CHECKING:
    from p2vlib.config import Config
    from p2vlib.datasets import Captures


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout: data, reports and work of the test go there."""
    monkeypatch.setenv("P2VLIB_HOME", str(tmp_path))
    return tmp_path


@dataclass(frozen=True)
class Smoke:
    """The smallest whole data set: really rendered, made once, then found."""

    config: Config
    captures: Captures
    objects: Path


@pytest.fixture(scope="session")
def smoke() -> Smoke:
    """The smoke data of the checkout itself, which the notebooks then find as well."""
    from p2vlib.config import from_params
    from p2vlib.datasets import load
    from p2vlib.runs import data_folder

    config = from_params("smoke")
    return Smoke(config, load(config), data_folder("objects", "smoke"))
