"""Every notebook runs to its end in JupyterLab."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*_*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, lab, tab):
    lab.open(tab, notebook.name)
    lab.run_all(tab, 400)
    lab.close()
    assert tab.errors == []
