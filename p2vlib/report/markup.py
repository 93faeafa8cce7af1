"""Pieces of a report page: prose, links, tables and figures as safe HTML, and the page around them.

Whatever text comes in is escaped, and no piece can point outside the report's folder.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from urllib.parse import quote

import mistune
import pandas as pd
from PIL import Image

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #57606a; --paper: #fff; --wash: #f4f6f9; --line: #d8dee6;
  --accent: #0b5cad; --warn: #8a4b00; --warn-wash: #fff4e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa4b1; --paper: #14171c; --wash: #1d2229;
  --line: #343b45; --accent: #7ab8ff; --warn: #ffcf85; --warn-wash: #3a2a10; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 74rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: .3rem 0 .6rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .8rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p, li, dd { max-width: 48rem; }
a { color: var(--accent); }
code { font-size: .92em; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
.banner { padding: .7rem 1rem; border-left: .3rem solid var(--warn); background: var(--warn-wash); color: var(--warn);
  font-weight: 600; max-width: none; }
.answer { padding: .1rem 1.1rem; border-left: .3rem solid var(--accent); background: var(--wash); }
.soft { color: var(--soft); font-size: .92rem; }
.scroll { overflow-x: auto; margin: 1.4rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; max-width: 48rem; }
th, td { padding: .3rem .75rem; border-bottom: 1px solid var(--line); text-align: left; font-weight: 400;
  white-space: nowrap; }
thead th { font-weight: 600; border-bottom: 2px solid var(--line); vertical-align: bottom; }
tbody tr:hover { background: var(--wash); }
.number { text-align: right; }
figure { margin: 1.8rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: 6px; }
figcaption { color: var(--soft); font-size: .92rem; margin-top: .45rem; max-width: 48rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  th, td { padding: .28rem .5rem; } }
@media print { .scroll { overflow: visible; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def page(title: str, head: str, body: str) -> str:
    """A whole page: ``head`` and ``body`` are HTML, ``title`` is text."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{head}
</header>
<main>
{body}
</main>
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


def figure(folder: Path, entry: dict[str, str]) -> str:
    """A figure that a manifest names, with its caption, which is also its alternative text; its size is read here."""
    with Image.open(own_file(folder, entry["file"])) as picture:
        width, height = picture.size
    source, caption = escape(quote(entry["file"])), escape(entry["caption"])
    image = f'<img src="{source}" alt="{caption}" width="{width}" height="{height}" loading="lazy">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def table(cells: pd.DataFrame, caption: str) -> str:
    """A table as HTML. The first column names its row; a column of numbers stands right, with one number of decimals.

    Decimals are those of the longest number, or three where that is longer than the papers' four.
    """
    first, *others = cells.columns
    shown = cells.astype(str).apply(_decimals)
    kinds = {name: ' class="number"' if _are_numbers(shown[name]) else "" for name in others}

    def row(values: tuple[str, ...]) -> str:
        named = f'<th scope="row">{escape(values[0])}</th>'
        rest = [f"<td{kinds[name]}>{escape(cell) or '–'}</td>" for name, cell in zip(others, values[1:], strict=True)]
        return f"<tr>{named}{''.join(rest)}</tr>"

    head = "".join(
        f'<th scope="col"{kinds.get(name, "")}>{escape(str(name).replace("_", " "))}</th>' for name in cells.columns
    )
    rows = "\n".join(row(values) for values in shown.itertuples(index=False, name=None))
    label = escape(caption)
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table><caption>{label}</caption>\n'
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
