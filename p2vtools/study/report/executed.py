"""An executed notebook as a page in the report's look, that shows without a network."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import FileSystemLoader
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from PIL import Image
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from p2vlib.files import write_text
from p2vlib.provenance import home, text_digest
from p2vtools.study.report.markup import Navigation, figures_of, page, smoke_banner, title_of

PLOTLY = "application/vnd.plotly.v1+json"

SHOWN = (PLOTLY, "text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain")
"""What a page shows of an output that has several forms: the first of these. Live widgets would stand there frozen."""

WIDGET = "application/vnd.jupyter.widget-view+json"

LONG = 200_000
"""Characters from which on a script, such as what draws curves or scenes, stands once beside all pages of a report."""

LARGE = 100_000
"""Characters of a picture from which on it may become a JPEG; the report keeps the figure itself."""

_LIGHT, _DARK = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark"))
CODE = f"{_LIGHT}\n@media (prefers-color-scheme: dark) {{ {_DARK} }}"
"""Colours of code, on light and on dark."""

_FETCHED_SCRIPT = re.compile(r"""<script\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>\s*</script>""", re.IGNORECASE)
_OUTSIDE = re.compile(r"\s*([a-z]+:)?//", re.IGNORECASE)
_OUTSIDE_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s;]+)""", re.IGNORECASE)
_LINKS = {"href", "xlink:href"}
_HEADING = re.compile(r"^#+\s+(.+)$", re.MULTILINE)
_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
_NAMED = re.compile(r'(<h[1-6] id=")([^"]*)"')


def write_pages(folder: Path, manifests: list[dict[str, Any]]) -> None:
    """Writes ``html/NN.html`` of every notebook of ``manifests`` that a report has executed, each with its neighbours.

    Raises:
        ValueError: as `offline_page`.
    """
    ran = [m for m in manifests if (folder / "executed" / f"{m['notebook']}.ipynb").is_file()]
    titles = {f"{manifest['notebook']}.html": title_of(manifest) for manifest in ran}
    asked: set[str] = set()
    for name, manifest in zip(titles, ran, strict=True):
        notebook = manifest["notebook"]
        captions = {saved: one["caption"] for saved, one in figures_of(manifest).items()}
        way = Navigation.among(name, titles, "../index.html", aside=(f"../{name}", "Figures and tables"))
        asked |= write_page(folder, folder / "executed" / f"{notebook}.ipynb", notebook, way, captions)
    for script in (folder / "html").glob("*.js"):
        if script.name not in asked:
            script.unlink()


def write_page(
    folder: Path, executed: Path, name: str, way: Navigation | None = None, captions: Mapping[str, str] | None = None
) -> set[str]:
    """Writes ``html/<name>.html`` of an executed notebook of the report in ``folder``, its long scripts beside it.

    Returns:
        The names of these scripts.

    Raises:
        ValueError: as `offline_page`.
    """
    config = folder / "config.json"
    scale = json.loads(config.read_text())["scale"] if config.is_file() else ""
    text = offline_page(executed, name, home() / "notebooks", way, captions, smoke_banner(scale))
    scripts = {script for part in text.split("<script>")[1:] if len(script := part.partition("</script>")[0]) > LONG}
    for script in scripts:
        write_text(folder / "html" / _beside(script), script)
        text = text.replace(f"<script>{script}</script>", f'<script src="{_beside(script)}"></script>')
    write_text(folder / "html" / f"{name}.html", text)
    return {_beside(script) for script in scripts}


def _beside(script: str) -> str:
    return f"{text_digest(script)}.js"


def offline_page(
    executed: Path,
    title: str,
    folder: Path,
    way: Navigation | None = None,
    captions: Mapping[str, str] | None = None,
    warning: str = "",
) -> str:
    """An executed notebook as one HTML page that asks nothing of the network (so TeX stays as it was typed).

    Args:
        folder: where pictures that its prose names are looked for, to be embedded.
        way: where the page leads, if not to the index alone.
        captions: what figures show that the notebook saved, by the name under which it did.
        warning: HTML that stands above the notebook.

    Raises:
        ValueError: an output still points at an address outside, for instance a picture.
    """
    notebook = _prepared(nbformat.read(executed, as_version=4), captions or {})
    exporter = HTMLExporter(
        template_name="basic",
        template_file="notebook.html.j2",
        extra_loaders=[FileSystemLoader(Path(__file__).parent)],
        embed_images=True,
        exclude_anchor_links=True,
        config=Config({"NbConvertBase": {"display_data_priority": list(SHOWN)}}),
    )
    forms = {"picture": _picture, "plot": _plot, "table_or_html": _table_or_html, "tables_scroll": _tables_scroll}
    for name, form in forms.items():
        exporter.register_filter(name, form)
    cells, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title, "path": str(folder)}})
    body = _FETCHED_SCRIPT.sub("", _once(cells))
    if 'class="sheet plot"' in body:
        from plotly.offline import get_plotlyjs

        body = f"<script>{get_plotlyjs()}</script>\n{body}"
    text = page(title, (way or Navigation.among(title, {}, "../index.html")).bar(), f"{warning}\n{body}".lstrip(), CODE)
    if outside := outside_addresses(text):
        raise ValueError(f"{title}: its page would fetch {outside[0]} from the network; embed it in the notebook")
    return text


def _prepared(notebook: NotebookNode, captions: Mapping[str, str]) -> NotebookNode:
    """The notebook without outputs that live elsewhere, each of the others told what it is."""
    heading = "Output"
    for cell in notebook.cells:
        if cell.cell_type != "code":
            heading = (_HEADING.findall(cell.source) or [heading])[-1]
            continue
        cell.outputs = _joined([output for output in cell.outputs if not _lives_elsewhere(output.get("data", {}))])
        named = sorted((cell.source.find(f'"{name}"'), name) for name in captions if f'"{name}"' in cell.source)
        saved = [captions[name] for _, name in named if "save_figure(" in cell.source]
        for output in cell.outputs:
            pictured = any(kind.startswith("image/") for kind in output.get("data", {}))
            caption = saved.pop(0) if pictured and saved else ""
            output.setdefault("metadata", {}).update(caption=caption, heading=heading)
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What was printed bit by bit, as one."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _lives_elsewhere(data: Mapping[str, Any]) -> bool:
    """Whether an output is a live widget, or the script that draws curves, which stands beside the pages."""
    script = "plotly.js v" in data.get("text/html", "")[:2000] or "PlotlyConfig" in data.get("text/html", "")[:2000]
    return (WIDGET in data and "text/html" not in data) or (script and PLOTLY not in data)


def _picture(output: NotebookNode, kind: str) -> str:
    """A picture with its caption, or under the heading that it stands under."""
    data, caption = output.data[kind], output.metadata.caption
    if kind == "image/svg+xml":
        data = base64.b64encode(data.encode()).decode()
    elif kind == "image/png" and len(data) > LARGE:
        kind, data = _smaller(data)
    told = escape(caption or f"Figure: {output.metadata.heading}")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    image = f'<img src="data:{kind};base64,{"".join(data.split())}" alt="{told}">'
    return f'<figure><div class="sheet">{image}</div>{below}</figure>'


def _smaller(data: str) -> tuple[str, str]:
    """A PNG as its type and base64, or as those of a JPEG where that has half the bytes, as where photos are shown."""
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        shown = picture.convert("RGBA")
    ground, buffer = Image.new("RGBA", shown.size, "white"), io.BytesIO()
    Image.alpha_composite(ground, shown).convert("RGB").save(buffer, "jpeg", quality=90, optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return ("image/jpeg", encoded) if 2 * len(encoded) < len(data) else ("image/png", data)


def _plot(output: NotebookNode) -> str:
    """Curves that answer the mouse."""
    figure = output.data[PLOTLY]
    told = [json.dumps(part).replace("</", "<\\/") for part in (figure["data"], figure.get("layout", {}))]
    label = escape(f"Interactive figure: {output.metadata.heading}")
    place = "document.currentScript.previousElementSibling.firstChild"
    return (
        f'<figure class="sheet plot" aria-label="{label}"><div></div></figure>'
        f'<script>Plotly.newPlot({place}, {", ".join(told)}, {{"responsive": true, "displaylogo": false}});</script>'
    )


def _table_or_html(output: NotebookNode) -> str:
    """HTML as it is, and a table of pandas as all tables of a report are."""
    text = output.data["text/html"]
    if 'class="dataframe"' not in text:
        return text
    text = re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL).replace(' border="1"', "")
    text = re.sub(r"(<t[hr]) style=[^>]*>", r"\1>", text)
    label = escape(f"Table: {output.metadata.heading}")
    return f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">{text}</div>'


def _once(text: str) -> str:
    """Headings that say the same, each with a name of its own."""
    known: dict[str, int] = {}

    def named(found: re.Match[str]) -> str:
        known[found[2]] = known.get(found[2], 0) + 1
        return f'{found[1]}{found[2]}{f"-{known[found[2]]}" if known[found[2]] > 1 else ""}"'

    return _NAMED.sub(named, text)


def _tables_scroll(told: str) -> str:
    """Prose whose tables scroll by themselves, as all of a report."""
    return _TABLE.sub(r'<div class="scroll" role="region" aria-label="Table" tabindex="0">\g<0></div>', told)


def outside_addresses(page: str) -> list[str]:
    """The addresses outside its own folder that a browser would fetch to show ``page`` (links to click are none)."""
    reader = _Addresses()
    reader.feed(page)
    reader.close()
    return reader.found


class _Addresses(HTMLParser):
    """Collects what a browser would fetch: sources of elements, all links but those to click, styles, framed pages."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside_style = tag == "style"
        for name, value in attrs:
            fetched = name in {"src", "srcset", "data", "poster"} or (name in _LINKS and tag not in {"a", "area"})
            # A set holds several addresses, and what is embedded has commas of its own, but none before a space.
            addresses = re.split(r",\s+", value or "") if name == "srcset" else [value or ""]
            if fetched and (outside := [address for address in addresses if _OUTSIDE.match(address)]):
                self.found.extend(outside)
            elif value and name == "style":
                self.found.extend(_OUTSIDE_STYLE.findall(value))
            elif value and name == "srcdoc":
                self.found.extend(outside_addresses(value))

    def handle_endtag(self, tag: str) -> None:
        self.inside_style = False

    def handle_data(self, data: str) -> None:
        if self.inside_style:
            self.found.extend(_OUTSIDE_STYLE.findall(data))
