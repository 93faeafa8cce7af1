"""Notebooks with each kind of interactive view run to their ends in JupyterLab; `make test` runs all without it."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = [path for number in ("00", "01", "02", "04") for path in FOLDER.glob(f"{number}_*.ipynb")]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, lab, tab):
    lab.open(tab, notebook.name)
    lab.run_all(tab, 180)
    lab.close()
    assert tab.errors == []
