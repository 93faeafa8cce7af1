"""Pieces of a report page: prose, links, tables and figures as safe HTML, and the page around them.

Whatever text comes in is escaped, and no piece can point outside the report's folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mistune
import pandas as pd
from PIL import Image

from p2vtools.study.notebook_run import SMOKE_NOTE

_HERE = Path(__file__).parent

STYLE = (_HERE / "page.css").read_text()
"""The look of every page, light or dark as the reader's system is."""

SCRIPT = (_HERE / "page.js").read_text()
"""What a page does: its tables can be sorted."""


@dataclass(frozen=True)
class Navigation:
    """Where a page leads, each an address and words: up to the index, to the page before it and to the next one."""

    up: tuple[str, str] | None
    before: tuple[str, str] | None
    after: tuple[str, str] | None
    aside: tuple[str, str] | None = None

    @classmethod
    def among(cls, own: str, titles: dict[str, str], up: str = "index.html", **more: tuple[str, str]) -> Navigation:
        """The way of page ``own`` among pages whose ``titles`` stand in order, by address; others have no neighbour."""
        names = list(titles)
        place = names.index(own) if own in names else len(names)
        around = [names[place - 1 : place], names[place + 1 : place + 2]] if own in names else [[], []]
        before, after = ((name[0], titles[name[0]]) if name else None for name in around)
        return cls((up, "All notebooks"), before, after, **more)

    def bar(self) -> str:
        """The bar on top of a page."""

        def to(place: tuple[str, str] | None, form: str, kind: str) -> str:
            if place is None:
                return ""
            return f'<a class="{kind}" href="{escape(quote(place[0]))}">{form.format(escape(place[1]))}</a>'

        links = [to(self.up, "↑ {}", "up"), to(self.aside, "{}", "aside")]
        links += [to(self.before, "← {}", "before"), to(self.after, "{} →", "next")]
        return f'<header class="bar"><nav aria-label="Pages"><b>p2vlib</b>{"".join(links)}</nav></header>'


def page(title: str, bar: str, body: str, style: str = "") -> str:
    """A whole page: ``bar`` (`Way.bar`) and ``body`` are HTML, ``title`` is text, ``style`` is CSS of this page."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
{bar}
<main>
{body}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


class _Prose(mistune.HTMLRenderer):
    """Markdown without a way out of the page: HTML is shown as typed, links and pictures as their words."""

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text


prose = mistune.create_markdown(renderer=_Prose(escape=True))


def link(file: str, name: str | None = None) -> str:
    """A link to a file of the report's folder, under its ``name`` or its path."""
    return f'<a href="{escape(quote(file))}">{escape(name or file)}</a>'


def banner(words: str) -> str:
    """What a reader has to know before the rest."""
    return f'<p class="banner" role="note">{escape(words)}</p>' if words else ""


def smoke_banner(scale: str) -> str:
    """What every page of a smoke run begins with; nothing on those of other scales."""
    return banner(f"{SMOKE_NOTE.capitalize()}. Results are on the pages of scale quick." if scale == "smoke" else "")


def title_of(manifest: dict[str, Any]) -> str:
    """The title of a notebook's page, as text: ``03 · Objects``."""
    return f"{manifest['notebook'][:2]} · {manifest['title']}"


def told(parameters: Mapping[str, Any]) -> str:
    """Parameters that did not keep their defaults, as text: ``views = 8, seed = 1``."""
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())


def run_with(manifest: dict[str, Any]) -> str:
    """A banner that says what a notebook was told; nothing where that was nothing."""
    parameters = manifest.get("parameters")
    return banner(f"Run with {told(parameters)}." if parameters else "")


def figures_of(manifest: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The figures of a notebook by the names under which it saved them."""
    return {Path(one["file"]).stem.removeprefix(f"{manifest['notebook']}-"): one for one in manifest["figures"]}


def own_file(folder: Path, name: str) -> Path:
    """A file of the report that a manifest names.

    Raises:
        ValueError: it lies outside the report's folder.
        FileNotFoundError: it is not there.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name}: lies outside {folder}; a report shows its own files only")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: named by a manifest, but missing; run its notebook again")
    return path


def figure(folder: Path, entry: dict[str, str], *, alone: bool = False) -> str:
    """A figure that a manifest names, with its caption, which is also its alternative text; its size is read here.

    ``alone``: without the caption below it.
    """
    with Image.open(own_file(folder, entry["file"])) as picture:
        width, height = picture.size
    source, caption = escape(quote(entry["file"])), escape(entry["caption"])
    details = f'src="{source}" alt="{caption}" width="{width}" height="{height}" loading="lazy"'
    image = f'<div class="sheet"><img {details}></div>'
    return image if alone else f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def facts(by_name: dict[str, str]) -> str:
    """A list of facts, each HTML, by its name."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{fact}</dd>' for name, fact in by_name.items())}</dl>"


def table_of(folder: Path, name: str) -> pd.DataFrame:
    """A table that a manifest names, as the text that stands in its file."""
    return pd.read_csv(own_file(folder, name), dtype=str, keep_default_na=False)


def table(cells: pd.DataFrame, caption: str, file: str = "") -> str:
    """A table as HTML, with a link to the ``file`` it is from. The first column names its row; a column of numbers
    stands right, with one number of decimals.

    Decimals are those of the longest number, or three where that is longer than the papers' four.
    """
    first, *others = cells.columns
    shown = cells.astype(str).apply(_decimals)
    kinds = {name: ' class="number"' if _are_numbers(shown[name]) else "" for name in others}

    def row(values: tuple[str, ...]) -> str:
        named = f'<th scope="row"><span>{escape(values[0])}</span></th>'
        rest = [f"<td{kinds[name]}>{escape(cell) or '–'}</td>" for name, cell in zip(others, values[1:], strict=True)]
        return f"<tr>{named}{''.join(rest)}</tr>"

    head = "".join(
        f'<th scope="col"{kinds.get(name, "")}>{escape(str(name).replace("_", " "))}</th>' for name in cells.columns
    )
    rows = "\n".join(row(values) for values in shown.itertuples(index=False, name=None))
    label = escape(caption)
    raw = f" {link(file, 'csv')}" if file else ""
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table>'
        f"<caption><span>{label}{raw}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


_DECIMAL = re.compile(r"[-+]?\d+(\.\d+)?")


def _are_numbers(column: pd.Series) -> bool:
    cells = [cell for cell in column if cell]
    return bool(cells) and all(_DECIMAL.fullmatch(cell) for cell in cells)


def _decimals(column: pd.Series) -> pd.Series:
    if not _are_numbers(column):
        return column
    places = max(len(cell.partition(".")[2]) for cell in column)
    if places == 0:
        return column
    return column.map(lambda cell: f"{float(cell):.{places if places < 5 else 3}f}" if cell else cell)
