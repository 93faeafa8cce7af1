"""JupyterLab opens each notebook and runs it to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(notebook, lab, tab, album):
    lab.open(tab, notebook.name)
    lab.run_all(tab, 180)
    lab.leaf_to_the_end(tab)
    album.keep(tab, notebook.stem, as_document=notebook.stem)
    lab.close()
    assert tab.complaints() == []
