import base64
import html
import io
import json

import k3d
import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from scipy.ndimage import gaussian_filter

from p2vtools.study.report.addresses import outside_addresses
from p2vtools.study.report.notebook_page import PLOTLY, WIDGET, offline_page, write_pages
from tests.pages import check_page

RUN = {"notebook": "01", "title": "Feet", "figures": [], "commit": "ee4f924", "seed": 3}


def executed(folder, *outputs, name="01", markdown="# Feet", source="show()"):
    """An executed notebook with one code cell; an output is a dictionary of its forms by MIME type."""
    data = [one if isinstance(one, nbformat.NotebookNode) else new_output("display_data", data=one) for one in outputs]
    cells = [new_markdown_cell(text) for text in markdown.split("\n---\n")]
    cells.append(new_code_cell(source, outputs=data, execution_count=7))
    notebook = new_notebook(cells=cells)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}
    path = folder / "executed" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    return path


def page_of(folder, *outputs, **cells) -> str:
    return offline_page(executed(folder, *outputs, **cells), folder, RUN)


def test_a_page_needs_no_network_and_names_what_made_its_outputs(tmp_path):
    page = page_of(tmp_path, {"text/html": "<b>IoU .63</b>"}, {"image/png": "AAAA"})
    assert "IoU .63" in page and "data:image/png;base64,AAAA" in page and "<title>01 · Feet</title>" in page
    assert outside_addresses(page) == []
    assert "embed-amd.js" not in page and "cdnjs" not in page, "a script that would load another one"
    assert "<small>Made by cell [7] of 01, commit ee4f924, seed 3</small>" in page and "<small>[7]</small>" in page
    figure = '<div>plot</div><script src="https://cdn.example/mathjax.js"></script><script>draw()</script>'
    page = page_of(tmp_path, {"text/html": figure})
    assert "cdn.example" not in page and "draw()" in page, "every plotly figure asks for MathJax, and works without it"
    with pytest.raises(ValueError, match="01: its page would fetch https://example.org/foot.png"):
        page_of(tmp_path, {"text/html": '<img src="https://example.org/foot.png">'})
    links = "<a href='JavaScript:alert(1)'>one</a><svg><a xlink:href='java&#10;script:alert(2)'>two</a></svg>"
    page = page_of(tmp_path, {"text/html": links}, {"text/markdown": "<b>three</b>"})
    assert "(1)" not in page and "(2)" not in page and all(f">{word}</" in page for word in ("one", "two", "three"))


def test_a_large_photo_becomes_a_jpeg_and_a_chart_stays_a_png(tmp_path):
    rng = np.random.default_rng(0)
    photo = gaussian_filter(rng.uniform(0, 255, (600, 600, 3)), (3, 3, 0)) + rng.normal(0, 1, (600, 600, 3))
    chart = np.where(rng.uniform(size=(600, 600, 1)) < 0.5, 0, 255).repeat(3, axis=2)
    for pixels, kind in ((photo, "jpeg"), (chart, "png")):
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "png")
        content = base64.b64encode(buffer.getvalue()).decode()
        page = page_of(tmp_path, {"image/png": content})
        assert f'src="data:image/{kind};base64,' in page
        assert len(page) < len(content) if kind == "jpeg" else content in page


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="//cdn.example/x.js"></script>', ["//cdn.example/x.js"]),
        ('<link rel="stylesheet" href="http://example.org/x.css">', ["http://example.org/x.css"]),
        ('<img src="figures/01-feet.png"><img src="data:image/png;base64,AAAA">', []),
        ('<a href="https://example.org">the paper</a><svg><a xlink:href="https://example.org">it</a></svg>', []),
        ('<svg><image xlink:href="https://example.org/x.png"/><use href="#x"/></svg>', ["https://example.org/x.png"]),
        ('<script>"<img src=https://example.org/x.png>"</script>', []),
        (f'<iframe srcdoc="{html.escape("<img src=https://e.org/x.png>")}"></iframe>', ["https://e.org/x.png"]),
        ("<style>p { background: url(https://example.org/x.png) }</style>", ["https://example.org/x.png"]),
        ('<p style="background: url(//example.org/x.png)">', ["//example.org/x.png"]),
        ('<style>@import "https://example.org/x.css";</style>', ["https://example.org/x.css"]),
        ("<p style='background: image-set(\"//e.org/x\" 1x), \\75rl(//e.org/y)'>", ["//e.org/x", "//e.org/y"]),
        ('<meta http-equiv="refresh" content="0; url=https://e.org">', ["https://e.org"]),
        ("<img srcset='a.png 1x, https:\\\\e.org\\b.png 2x'>", ["https:\\\\e.org\\b.png"]),
        ("<IMG SRC=ht&Tab;tps:e.org/b><body background=' //e.org/c'>", [" //e.org/c", "ht\ttps:e.org/b"]),
        ("<object data=//e.org/d><video poster=//e.org/e><!-- <img src=//e.org/f> -->", ["//e.org/d", "//e.org/e"]),
    ],
)
def test_outside_addresses(page, found):
    assert sorted(outside_addresses(page)) == sorted(found)


OUTPUTS = (
    {"text/html": pd.DataFrame({"model": ["a<b"], "iou": [0.5]}).to_html(), "text/plain": "a table"},
    {PLOTLY: {"data": [{"y": [1, 2], "name": "</script>"}], "layout": {}}, "text/html": "<p>plotly's own</p>"},
    {WIDGET: {"model_id": "x"}, "text/plain": "HBox(children=…)"},
    {"image/png": "AAAA", "text/plain": "<Figure size 1x1>"},
    {"image/png": "BBBB"},
    {"text/markdown": "It is **0.5**."},
    {"text/plain": "a < b"},
    *(new_output("stream", name="stderr", text=text) for text in ("\x1b[31mred\x1b[0m &", " warned\n")),
)
"""Every kind of output that the study's notebooks have."""

RICH = {
    "markdown": "# Feet\n\n| a | b |\n|---|---|\n| 1 | 2 |\n---\n## Twice\n---\n## Twice",
    "source": 'run.save_figure(figure, "feet", "x")',
}


@pytest.mark.parametrize("scale", ["smoke", "quick"])
def test_pages_of_a_report_are_valid_and_lead_to_their_neighbours(tmp_path, home, scale):
    (tmp_path / "config.json").write_text(json.dumps({"scale": scale}))
    manifests = []
    for name in ("01", "02"):
        executed(tmp_path, *OUTPUTS, name=name, **RICH)
        figures = [{"file": f"figures/{name}-feet.png", "caption": 'Feet, "ranked"'}]
        manifests.append({**RUN, "notebook": name, "title": f"Title {name}", "figures": figures})
    manifests.append({**RUN, "notebook": "03", "title": "Not executed"})
    (tmp_path / "index.html").write_text('<p id="01">')
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "old.js").write_text("")
    write_pages(tmp_path, manifests)
    (script,) = (tmp_path / "html").glob("*.js")
    assert sorted(file.name for file in (tmp_path / "html").glob("*.html")) == ["01.html", "02.html"]
    assert script.name != "old.js" and script.stat().st_size > 1e6, "plotly, once for both pages"
    check_page(tmp_path / "html" / "01.html", tmp_path)
    page = (tmp_path / "html" / "01.html").read_text()
    assert 'href="../index.html#01"' in page and "02 · Title 02 →" in page
    assert "alt='Feet, \"ranked\"'" in page or 'alt="Feet, &#34;ranked&#34;"' in page or "&quot;ranked&quot;" in page
    assert page.count('alt="Figure: Twice"') == 1, "the second picture has no caption"
    assert page.count('<p class="banner" role="note">Smoke run') == (scale == "smoke")
    assert page.count("<table") == page.count('class="scroll"') == 2


def test_a_page_shows_one_form_of_each_output_and_no_widget(tmp_path):
    page = page_of(tmp_path, *OUTPUTS, **RICH)
    assert "HBox" not in page and "plotly's own" not in page and "a table" not in page and "a &lt; b" in page
    assert "<td>a&lt;b</td>" in page and 'border="1"' not in page, "a table in the style of the report"
    assert page.count("Plotly.newPlot(document") == 1
    assert '"<\\/script>"' in page, "the text of a figure cannot end its script"
    assert "<strong>0.5</strong>" in page and "&amp; warned" in page and "ansi-red-fg" in page


def test_a_long_script_of_several_pages_is_stored_once(tmp_path, home):
    long = f"draw('{'k' * 300_000}');"
    for name in ("01", "02"):
        executed(tmp_path, {"text/html": f"<script>short()</script><script>{long}</script>"}, name=name)
    write_pages(tmp_path, [{**RUN, "notebook": name} for name in ("01", "02")])
    (stored,) = (tmp_path / "html").glob("*.js")
    assert stored.read_text() == long
    page = (tmp_path / "html" / "02.html").read_text()
    assert f'<script src="{stored.name}"></script>' in page and "short()" in page and len(page) < 1e5


def test_plotly_and_k3d_work_without_a_network(tmp_path):
    plotly.io.renderers["notebook"].activate()
    figure = plotly.io.renderers["notebook"].to_mimebundle(go.Figure(go.Scatter(y=[1, 2])).to_dict())["text/html"]
    plot = k3d.plot()
    plot += k3d.points(np.zeros((1, 3), np.float32))
    frame = f'<iframe srcdoc="{html.escape(plot.get_snapshot(compression_level=9))}"></iframe>'
    page = page_of(tmp_path, {"text/html": figure + frame})
    assert outside_addresses(page) == [] and "Plotly.newPlot" in page and "K3D" in page
