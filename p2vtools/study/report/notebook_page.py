"""Executed notebooks as pages in the style of the report; they need no network."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import FileSystemLoader
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from PIL import Image
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from p2vlib.files import reading, write_text
from p2vlib.provenance import home, text_digest
from p2vtools.study.notebook_run import read_config
from p2vtools.study.report.addresses import outside_addresses, without_script_links
from p2vtools.study.report.html import HERE, figures_of, render, source_of, title_of

PLOTLY = "application/vnd.plotly.v1+json"

WIDGET = "application/vnd.jupyter.widget-view+json"

PRIORITY = (PLOTLY, "text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain")
"""A page shows the first of these forms that an output has. A live widget would be frozen, so it is not among them."""

LONG_SCRIPT = 200_000
"""Characters above which a script, such as plotly's, is stored once for all pages of a report."""

LARGE_PICTURE = 100_000
"""Characters of a PNG above which it is stored as JPEG where that is half the size, as for photos."""

CODE_STYLE = "{}\n@media (prefers-color-scheme: dark) {{ {} }}".format(
    *(HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark"))
)

_FETCHED_SCRIPT = re.compile(r"""<script\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>\s*</script>""", re.IGNORECASE)


def write_pages(folder: Path, manifests: Sequence[Mapping[str, Any]]) -> None:
    """Writes ``html/NN.html`` of every executed notebook, with links to its neighbours.

    Raises:
        ValueError: as `offline_page`.
    """
    config = folder / "config.json"
    scale = read_config(config).get("scale", "") if config.is_file() else ""
    present = [m for m in manifests if (folder / "executed" / f"{m['notebook']}.ipynb").is_file()]
    scripts: set[str] = set()
    for place, manifest in enumerate(present):
        name = manifest["notebook"]
        nav = [(f"../index.html#{name}", "↑ All notebooks", "up")]
        if place:
            nav.append((f"{present[place - 1]['notebook']}.html", f"← {title_of(present[place - 1])}", "before"))
        if place + 1 < len(present):
            nav.append((f"{present[place + 1]['notebook']}.html", f"{title_of(present[place + 1])} →", "next"))
        page = offline_page(folder / "executed" / f"{name}.ipynb", home() / "notebooks", manifest, nav=nav, scale=scale)
        for script in (part.partition("</script>")[0] for part in page.split("<script>")[1:]):
            if len(script) > LONG_SCRIPT:
                file = f"{text_digest(script)}.js"
                scripts.add(file)
                write_text(folder / "html" / file, script)
                page = page.replace(f"<script>{script}</script>", f'<script src="{file}"></script>')
        write_text(folder / "html" / f"{name}.html", page)
    current = scripts | {f"{manifest['notebook']}.html" for manifest in manifests}
    for file in (folder / "html").glob("*"):
        if file.name not in current:
            file.unlink()


def offline_page(executed: Path, folder: Path, manifest: Mapping[str, Any], **context: Any) -> str:
    """An executed notebook as one HTML page that needs no network (so TeX stays as it was typed).

    Args:
        folder: where images that the prose names are found; they are embedded.
        manifest: of the notebook's run; gives the captions of saved figures, and commit and seed.
        context: further arguments of `render`.

    Raises:
        ValueError: an output contains an address outside, for instance of a picture.
    """
    with reading(executed, "run its notebook again"):
        notebook = _prepared(nbformat.read(executed, as_version=4), manifest)
    exporter = HTMLExporter(
        template_name="basic",
        template_file="notebook.html.j2",
        extra_loaders=[FileSystemLoader(HERE)],
        embed_images=True,
        exclude_anchor_links=True,
        config=Config(
            NbConvertBase={"display_data_priority": list(PRIORITY)}, CoalesceStreamsPreprocessor={"enabled": True}
        ),
    )
    for function in (_picture, _plot, _output_html, _scroll_tables):
        exporter.register_filter(function.__name__.strip("_"), function)
    name = manifest["notebook"]
    cells, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": name, "path": str(folder)}})
    body = without_script_links(_FETCHED_SCRIPT.sub("", _unique_ids(cells)))
    if 'class="sheet plot"' in body:
        from plotly.offline import get_plotlyjs

        body = f"<script>{get_plotlyjs()}</script>\n{body}"
    page = render(title_of(manifest), body=Markup(body), extra_style=Markup(CODE_STYLE), **context)
    if outside := outside_addresses(page):
        raise ValueError(f"{name}: its page would fetch {outside[0]} from the network; embed it in the notebook")
    return page


def _prepared(notebook: NotebookNode, manifest: Mapping[str, Any]) -> NotebookNode:
    """Drops outputs that a page cannot show, and gives each other output its heading, caption and source."""
    captions = {name: entry["caption"] for name, entry in figures_of(manifest).items()}
    heading = "Output"
    for cell in notebook.cells:
        if cell.cell_type != "code":
            heading = (re.findall(r"^#+\s+(.+)$", cell.source, re.MULTILINE) or [heading])[-1]
            continue
        cell.outputs = [output for output in cell.outputs if not _is_hidden(output.get("data", {}))]
        named = sorted((cell.source.find(f'"{name}"'), name) for name in captions if f'"{name}"' in cell.source)
        saved = [captions[name] for _, name in named if "save_figure(" in cell.source]
        source = source_of({"cell": cell.execution_count}, manifest)
        for output in cell.outputs:
            is_picture = any(kind.startswith("image/") for kind in output.get("data", {}))
            caption = saved.pop(0) if is_picture and saved else ""
            output.setdefault("metadata", {}).update(caption=caption, heading=heading, source=source)
    return notebook


def _is_hidden(data: Mapping[str, Any]) -> bool:
    """Whether an output is a live widget, or plotly's script, which is stored once for all pages."""
    start = data.get("text/html", "")[:2000]
    script = "plotly.js v" in start or "PlotlyConfig" in start
    return (WIDGET in data and "text/html" not in data) or (script and PLOTLY not in data)


def _source(output: NotebookNode) -> str:
    return f"<small>{escape(output.metadata.source)}</small>" if output.metadata.get("source") else ""


def _picture(output: NotebookNode, kind: str) -> str:
    """A picture with its caption, or else the heading that it stands under as alternative text."""
    data, caption = output.data[kind], output.metadata.caption
    if kind == "image/svg+xml":
        data = base64.b64encode(data.encode()).decode()
    elif kind == "image/png" and len(data) > LARGE_PICTURE:
        kind, data = _compressed(data)
    text = escape(caption or f"Figure: {output.metadata.heading}")
    image = f'<img src="data:{kind};base64,{"".join(data.split())}" alt="{text}">'
    below = " ".join(filter(None, [escape(caption), _source(output)]))
    return f'<figure><div class="sheet">{image}</div>{f"<figcaption>{below}</figcaption>" if below else ""}</figure>'


def _compressed(png: str) -> tuple[str, str]:
    """Media type and base64 of a PNG, or of a JPEG of it where that has half the size."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as file:
        picture = file.convert("RGBA")
    background, buffer = Image.new("RGBA", picture.size, "white"), io.BytesIO()
    Image.alpha_composite(background, picture).convert("RGB").save(buffer, "jpeg", quality=90, optimize=True)
    jpeg = base64.b64encode(buffer.getvalue()).decode()
    return ("image/jpeg", jpeg) if 2 * len(jpeg) < len(png) else ("image/png", png)


def _plot(output: NotebookNode) -> str:
    """An interactive plotly figure."""
    figure = output.data[PLOTLY]
    data, layout = (json.dumps(part).replace("</", "<\\/") for part in (figure["data"], figure.get("layout", {})))
    label = escape(f"Interactive figure: {output.metadata.heading}")
    element = "document.currentScript.previousElementSibling.firstChild"
    options = '{"responsive": true, "displaylogo": false}'
    return (
        f'<figure class="sheet plot" aria-label="{label}"><div></div></figure>'
        f"<script>Plotly.newPlot({element}, {data}, {layout}, {options});</script>{_source(output)}"
    )


def _output_html(output: NotebookNode) -> str:
    """HTML as it is; a pandas table in the style of the report."""
    text = output.data["text/html"]
    if 'class="dataframe"' not in text:
        return text
    text = re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL).replace(' border="1"', "")
    text = re.sub(r"(<t[hr]) style=[^>]*>", r"\1>", text)
    label = escape(f"Table: {output.metadata.heading}")
    return f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">{text}</div>{_source(output)}'


def _scroll_tables(text: str) -> str:
    """Puts each table of a text into a region that scrolls by itself."""
    region = r'<div class="scroll" role="region" aria-label="Table" tabindex="0">\g<0></div>'
    return re.sub(r"<table>.*?</table>", region, text, flags=re.DOTALL)


def _unique_ids(text: str) -> str:
    """Gives headings with the same text different ids."""
    counts: dict[str, int] = {}

    def unique(match: re.Match[str]) -> str:
        counts[match[2]] = counts.get(match[2], 0) + 1
        return f'{match[1]}{match[2]}{f"-{counts[match[2]]}" if counts[match[2]] > 1 else ""}"'

    return re.sub(r'(<h[1-6] id=")([^"]*)"', unique, text)
