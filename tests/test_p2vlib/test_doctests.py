"""The examples in the docstrings of the geometry, the metrics and the configuration."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / "p2vlib/geometry").glob("[!_]*.py"), *(ROOT / "p2vlib/evaluation").glob("[!_]*.py")]
MODULES = sorted(".".join(file.relative_to(ROOT).with_suffix("").parts) for file in FILES)


@pytest.mark.parametrize("name", [*MODULES, "p2vlib.config"])
def test_the_examples_of_the_docstrings_give_what_they_show(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name == "p2vlib.evaluation.metrics_csv"
