"""Executed notebooks as pages: what is shown of their outputs, and that nothing is fetched from a network."""

from __future__ import annotations

import base64
import html
import io

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from scipy.ndimage import gaussian_filter

from p2vtools.study.report.executed import PLOTLY, WIDGET, offline_page, outside_addresses, write_page, write_pages
from tests.validity import checked


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


def test_a_large_picture_of_photos_is_told_in_fewer_bytes_and_a_chart_stays_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    photo = gaussian_filter(rng.uniform(0, 255, (600, 600, 3)), (3, 3, 0)) + rng.normal(0, 1, (600, 600, 3))
    chart = np.where(rng.uniform(size=(600, 600, 1)) < 0.5, 0, 255).repeat(3, axis=2)
    for pixels, kind in ((photo, "jpeg"), (chart, "png")):
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "png")
        content = base64.b64encode(buffer.getvalue()).decode()
        page = offline_page(executed(tmp_path, image__png=content), "01", tmp_path)
        assert f'src="data:image/{kind};base64,' in page
        assert len(page) < len(content) if kind == "jpeg" else content in page


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
        ('<a href="https://example.org">the paper</a><svg><a xlink:href="https://example.org">it</a></svg>', []),
        ('<svg><image xlink:href="https://example.org/x.png"/><use href="#x"/></svg>', ["https://example.org/x.png"]),
        ('<img srcset="x.png, https://example.org/x.png 2x">', ["https://example.org/x.png 2x"]),
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


def rich(folder, name="01"):
    """An executed notebook with every kind of output that the study's have."""
    data = [
        {"text/html": pd.DataFrame({"model": ["a<b"], "iou": [0.5]}).to_html(), "text/plain": "a table"},
        {PLOTLY: {"data": [{"y": [1, 2], "name": "</script>"}], "layout": {}}, "text/html": "<p>plotly's own</p>"},
        {WIDGET: {"model_id": "x"}, "text/plain": "HBox(children=…)"},
        {"image/png": "AAAA", "text/plain": "<Figure size 1x1>"},
        {"image/png": "BBBB"},
        {"text/markdown": "It is **0.5**."},
        {"text/plain": "a < b"},
    ]
    outputs = [new_output("display_data", data=one) for one in data]
    outputs += [new_output("stream", name="stderr", text=text) for text in ("\x1b[31mred\x1b[0m &", " warned\n")]
    told = "# Feet\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    cells = [new_markdown_cell(told), new_markdown_cell("## Twice"), new_markdown_cell("## Twice")]
    cells.append(new_code_cell('run.save_figure(figure, "feet", "x")', outputs=outputs))
    path = folder / "executed" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_an_executed_notebook_is_a_valid_page_with_its_neighbours_and_captions(tmp_path, home):
    manifests = []
    for name in ("01", "02"):
        rich(tmp_path, name)
        figures = [{"file": f"figures/{name}-feet.png", "caption": 'Feet, "ranked"'}]
        manifests.append({"notebook": name, "title": f"Title {name}", "figures": figures})
    manifests.append({"notebook": "03", "title": "Not executed", "figures": []})
    for file in ("index.html", "01.html", "02.html", "html/old.js"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    write_pages(tmp_path, manifests)
    (script,) = (tmp_path / "html").glob("*.js")
    assert sorted(file.name for file in (tmp_path / "html").glob("*.html")) == ["01.html", "02.html"]
    assert script.name != "old.js" and script.stat().st_size > 1e6, "what draws curves"
    checked(tmp_path / "html" / "01.html", tmp_path)
    page = (tmp_path / "html" / "01.html").read_text()
    assert 'href="../index.html"' in page and 'href="../01.html"' in page and "02 · Title 02 →" in page
    assert """alt='Feet, "ranked"'""" in page and page.count('alt="Figure: Twice"') == 1
    assert '<figcaption>Feet, "ranked"</figcaption>' in page


def test_a_page_shows_one_form_of_each_output_and_no_widget(tmp_path):
    page = offline_page(rich(tmp_path), "01", tmp_path)
    assert "HBox" not in page and "plotly's own" not in page and "a table" not in page and "a &lt; b" in page
    assert "<td>a&lt;b</td>" in page and 'border="1"' not in page, "a table as all of the report"
    assert page.count("Plotly.newPlot(document") == 1
    assert '"<\\/script>"' in page, "no text of a figure ends its script"
    assert "<strong>0.5</strong>" in page and "&amp; warned" in page and "ansi-red-fg" in page


def test_the_page_of_a_smoke_run_says_so_and_tables_of_prose_scroll(tmp_path, home):
    for scale, times in (("smoke", 1), ("quick", 0)):
        (tmp_path / "config.json").write_text(f'{{"scale": "{scale}"}}')
        write_page(tmp_path, rich(tmp_path), "01")
        page = (tmp_path / "html" / "01.html").read_text()
        assert page.count('<p class="banner" role="note">Smoke run') == times
    assert page.count("<table") == page.count('class="scroll"') == 2


def test_a_long_script_of_several_pages_stands_once_beside_them(tmp_path, home):
    long = f"draw('{'k' * 300_000}');"
    for name in ("01", "02"):
        write_page(tmp_path, executed(tmp_path, text__html=f"<script>short()</script><script>{long}</script>"), name)
    (beside,) = (tmp_path / "html").glob("*.js")
    assert beside.read_text() == long
    page = (tmp_path / "html" / "02.html").read_text()
    assert f'<script src="{beside.name}"></script>' in page and "short()" in page and len(page) < 1e5


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
