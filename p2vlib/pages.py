"""An executed notebook as a page that shows without a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter

# Require.js, MathJax, Mermaid and live widgets come from the network in nbconvert's own page: the offline one has none.
_PAGE = """{%- extends 'index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}"""

_FETCHED_SCRIPT = re.compile(r"""<script\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>\s*</script>""", re.IGNORECASE)
_OUTSIDE = re.compile(r"\s*([a-z]+:)?//", re.IGNORECASE)
_OUTSIDE_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s;]+)""", re.IGNORECASE)


def offline_page(executed: Path, title: str, folder: Path) -> str:
    """An executed notebook as one HTML page that asks nothing of the network (so TeX stays as it was typed).

    Pictures that its prose names are looked for in ``folder`` and embedded.

    Raises:
        ValueError: an output still points at an address outside, for instance a picture.
    """
    loader = DictLoader({"offline.html.j2": _PAGE})
    exporter = HTMLExporter(
        template_name="lab", template_file="offline.html.j2", extra_loaders=[loader], embed_images=True
    )
    resources = {"metadata": {"name": title, "path": str(folder)}}
    page = _FETCHED_SCRIPT.sub("", exporter.from_notebook_node(nbformat.read(executed, as_version=4), resources)[0])
    if outside := outside_addresses(page):
        raise ValueError(f"{title}: its page would fetch {outside[0]} from the network; embed it in the notebook")
    return page


def outside_addresses(page: str) -> list[str]:
    """The addresses outside its own folder that a browser would fetch to show ``page`` (links to click are none)."""
    reader = _Addresses()
    reader.feed(page)
    reader.close()
    return reader.found


class _Addresses(HTMLParser):
    """Collects what a browser would fetch: sources of elements, linked files, styles, and framed pages."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside_style = tag == "style"
        for name, value in attrs:
            fetched = name in {"src", "srcset", "data", "poster"} or (name == "href" and tag == "link")
            if value and fetched and _OUTSIDE.match(value):
                self.found.append(value)
            elif value and name == "style":
                self.found.extend(_OUTSIDE_STYLE.findall(value))
            elif value and name == "srcdoc":
                self.found.extend(outside_addresses(value))

    def handle_endtag(self, tag: str) -> None:
        self.inside_style = False

    def handle_data(self, data: str) -> None:
        if self.inside_style:
            self.found.extend(_OUTSIDE_STYLE.findall(data))
