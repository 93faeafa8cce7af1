from __future__ import annotations

import html

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from p2vlib.report.executed import SCRIPTS, offline_page, outside_addresses, write_page
from p2vlib.report.markup import Way


def executed(folder, *, markdown="# Feet", **data):
    """An executed notebook with an output for each of ``data``, by MIME type."""
    outputs = [new_output("display_data", data={kind.replace("__", "/"): value}) for kind, value in data.items()]
    notebook = new_notebook(cells=[new_markdown_cell(markdown), new_code_cell("show()", outputs=outputs)])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}
    nbformat.write(notebook, folder / "01.ipynb")
    return folder / "01.ipynb"


def test_a_page_asks_nothing_of_the_network(tmp_path):
    page = offline_page(executed(tmp_path, text__html="<b>IoU .63</b>", image__png="AAAA"), "01_collection", tmp_path)
    assert "IoU .63" in page and "data:image/png;base64,AAAA" in page and "<title>01_collection</title>" in page
    assert outside_addresses(page) == []
    assert "embed-amd.js" not in page and "cdnjs" not in page, "a script that loads another later"


def test_a_script_fetched_by_an_output_is_dropped(tmp_path):
    """Every plotly figure asks for MathJax, and shows without it."""
    figure = '<div>plot</div><script src="https://cdn.example/mathjax.js"></script><script>draw()</script>'
    page = offline_page(executed(tmp_path, text__html=figure), "01", tmp_path)
    assert "cdn.example" not in page and "draw()" in page


def test_a_picture_fetched_by_an_output_is_refused(tmp_path):
    notebook = executed(tmp_path, text__html='<img src="https://example.org/foot.png">')
    with pytest.raises(ValueError, match="01: its page would fetch https://example.org/foot.png"):
        offline_page(notebook, "01", tmp_path)


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="//cdn.example/x.js"></script>', ["//cdn.example/x.js"]),
        ('<link rel="stylesheet" href="http://example.org/x.css">', ["http://example.org/x.css"]),
        ('<img src="figures/01-feet.png"><img src="data:image/png;base64,AAAA">', []),
        ('<a href="https://example.org">the paper</a>', []),
        ('<script>"<img src=https://example.org/x.png>"</script>', []),
        (
            f'<iframe srcdoc="{html.escape("<img src=https://example.org/x.png>")}"></iframe>',
            ["https://example.org/x.png"],
        ),
        ("<style>p { background: url(https://example.org/x.png) }</style>", ["https://example.org/x.png"]),
        ('<p style="background: url(//example.org/x.png)">', ["//example.org/x.png"]),
        ('<style>@import "https://example.org/x.css";</style>', ["https://example.org/x.css"]),
    ],
)
def test_outside_addresses(page, found):
    assert outside_addresses(page) == found


def test_plotly_and_k3d_show_without_a_network(tmp_path):
    import k3d
    import numpy as np
    import plotly.graph_objects as go
    import plotly.io

    plotly.io.renderers["notebook"].activate()
    figure = plotly.io.renderers["notebook"].to_mimebundle(go.Figure(go.Scatter(y=[1, 2])).to_dict())["text/html"]
    plot = k3d.plot()
    plot += k3d.points(np.zeros((1, 3), np.float32))
    frame = f'<iframe srcdoc="{html.escape(plot.get_snapshot(compression_level=9))}"></iframe>'
    page = offline_page(executed(tmp_path, text__html=figure + frame), "01", tmp_path)
    assert outside_addresses(page) == [] and "Plotly.newPlot" in page and "K3D" in page
