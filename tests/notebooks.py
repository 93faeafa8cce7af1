"""Writes small notebooks for the runner."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

EVALUATION = """
import pandas as pd
from p2vtools.study import notebook_run
run = notebook_run.begin("{name}", "A small notebook", globals())
row = dict(model="rays", variant="main", training="feet-phone", dataset="feet", look="phone", cameras="none",
           placement="true", taxonomy="foot", order="clockwise", threshold=0.4, selected=True, views=views)
people = [dict(subject=f"p{{n}}", sample=f"p{{n}}-left", iou=0.5 + views / 100 + n / 1000) for n in range(6)]
run.save_metrics(pd.DataFrame([{{**row, **person}} for person in people]))
"""
"""The rows of a network that is better with more views, which are a parameter."""

ANSWER = 'run.answer("An answer.")'


def write_notebook(path: Path, parameters: str, *cells: str) -> Path:
    """A notebook with a cell of parameters and ``cells``."""
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[first, *map(new_code_cell, cells)], metadata={"kernelspec": kernel})
    for number, cell in enumerate(notebook.cells):
        cell["id"] = str(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path
