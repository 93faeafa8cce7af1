"""Pages as HTML: one Jinja template for all, and the pieces that it is given. All text is escaped by the template."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import mistune
import pandas as pd
from markupsafe import Markup
from PIL import Image

from p2vlib.files import reading
from p2vtools.study.learning import mark_unlearned
from p2vtools.study.notebook_run import SMOKE_NOTE
from p2vtools.study.parameters import notebook_number

HERE = Path(__file__).parent

RESTORE = "run its notebook again, or restore it with git"
"""What to do about a damaged figure or table."""

MAX_PAGE = 8
"""Largest page, megabytes (10^6 bytes)."""

MAX_FOLDER = 60
"""Largest report, megabytes."""


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        style=Markup((HERE / "page.css").read_text("utf-8")), script=Markup((HERE / "page.js").read_text("utf-8"))
    )
    environment.filters["address"] = functools.partial(quote, safe="/#")
    return environment


def render(title: str, *, scale: str = "", **context: Any) -> str:
    """A whole page, by ``page.html.j2``; that file lists what ``context`` may hold.

    Args:
        scale: of the run; a page of a smoke run begins with a banner.
    """
    banners = [f"{SMOKE_NOTE.capitalize()}. Results are on the pages of scale quick."] if scale == "smoke" else []
    banners += context.pop("banners", [])
    return _templates().get_template("page.html.j2").render(title=title, banners=banners, **context)


class _Prose(mistune.HTMLRenderer):
    """Markdown that cannot lead out of the page: HTML is shown as text, links and images as their words."""

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text


_markdown = mistune.create_markdown(renderer=_Prose(escape=True))


def prose(text: str) -> Markup:
    """Markdown as safe HTML."""
    return Markup(_markdown(text))


def title_of(manifest: Mapping[str, Any]) -> str:
    """The title of a notebook: ``03 · Objects``."""
    return f"{notebook_number(manifest['notebook'])} · {manifest['title']}"


def figures_of(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The saved figures of a notebook, by the names that it gave them."""
    start = f"{manifest['notebook']}-"
    return {Path(entry["file"]).stem.removeprefix(start): entry for entry in manifest["figures"]}


def format_parameters(parameters: Mapping[str, Any]) -> str:
    """``views = 8, seed = 1``."""
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())


def source_of(entry: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """What made a figure or table: the cell, notebook, commit and seed, as far as the manifest records them."""
    cell = f"cell [{entry['cell']}] of " if entry.get("cell") else ""
    seed = f", seed {manifest['seed']}" if "seed" in manifest else ""
    return f"Made by {cell}{manifest['notebook']}, commit {manifest['commit']}{seed}"


def report_file(folder: Path, name: str) -> Path:
    """A file of the report that a manifest names.

    Raises:
        ValueError: it lies outside the report's folder.
        FileNotFoundError: it does not exist.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name}: lies outside {folder}; a report shows only its own files")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: named by a manifest, but missing; run its notebook again")
    return path


def figure(folder: Path, entry: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A saved figure for the template; its caption is also its alternative text."""
    path = report_file(folder, entry["file"])
    with reading(path, RESTORE), Image.open(io.BytesIO(path.read_bytes())) as picture:
        width, height = picture.size
    return {**entry, "width": width, "height": height, "source": source_of(entry, manifest)}


def saved_table(
    folder: Path, entry: Mapping[str, Any], manifest: Mapping[str, Any], checks: pd.DataFrame
) -> dict[str, Any]:
    """A saved table for the template, with a link to its file; networks that did not learn are marked by ``checks``."""
    path = report_file(folder, entry["file"])
    with reading(path, RESTORE):
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table(mark_unlearned(cells, checks), entry["caption"], entry["file"], source_of(entry, manifest))


def table(cells: pd.DataFrame, caption: str, file: str = "", source: str = "") -> dict[str, Any]:
    """A table for the template. The first column names the row; columns of numbers are right-aligned.

    A column of numbers gets one number of decimals: that of its longest number, or three if that is more than four.
    Cells that are `Markup` are inserted as they are.
    """
    cells = cells.map(lambda cell: cell if isinstance(cell, Markup) else str(cell)).apply(_align_decimals)
    columns = [
        (str(name).replace("_", " "), place > 0 and _is_numeric(cells[name])) for place, name in enumerate(cells)
    ]
    rows = cells.itertuples(index=False, name=None)
    return {"caption": caption, "columns": columns, "rows": list(rows), "file": file, "source": source}


def _is_numeric(column: pd.Series) -> bool:
    cells = [cell for cell in column if cell]
    return bool(cells) and all(re.fullmatch(r"[-+]?\d+(\.\d+)?", cell) for cell in cells)


def _align_decimals(column: pd.Series) -> pd.Series:
    places = max((len(cell.partition(".")[2]) for cell in column), default=0)
    if places == 0 or not _is_numeric(column):
        return column
    return column.map(lambda cell: f"{float(cell):.{places if places < 5 else 3}f}" if cell else cell)


def interval_svg(
    value: float,
    low: float,
    high: float,
    ends: tuple[float, float],
    marks: Mapping[str, float],
    kind: str = "",
) -> Markup:
    """Draws a value with its interval on a line between two ``ends``; ``kind`` and ``marks`` name CSS classes."""

    def x(at: float) -> str:
        return f"{3 + 94 * (at - ends[0]) / (ends[1] - ends[0]):.1f}%"

    lines = [f'<line class="{kind}" x1="{x(at)}" x2="{x(at)}" y1="5" y2="27"/>' for kind, at in marks.items()]
    return Markup(
        f'<svg class="interval {kind}" aria-hidden="true" height="32">'
        '<line class="rail" x1="3%" x2="97%" y1="16" y2="16"/>'
        f'<line class="span" x1="{x(low)}" x2="{x(high)}" y1="16" y2="16"/>{"".join(lines)}'
        f'<circle class="dot" cx="{x(value)}" cy="16" r="5.5"/></svg>'
    )


def check_sizes(folder: Path) -> None:
    """Checks the size of every file of a report.

    Raises:
        ValueError: a page exceeds `MAX_PAGE`, or all files together exceed `MAX_FOLDER`.
    """
    sizes = {path: path.stat().st_size / 1e6 for path in folder.rglob("*") if path.is_file()}
    for path, size in sizes.items():
        if path.suffix == ".html" and size > MAX_PAGE:
            raise ValueError(f"{path}: {size:.1f} MB exceed the limit of {MAX_PAGE} for a page; show fewer pictures")
    if (total := sum(sizes.values())) > MAX_FOLDER:
        largest = max(sizes, key=sizes.__getitem__)
        raise ValueError(
            f"{folder}: {total:.0f} MB exceed the limit of {MAX_FOLDER} for a report; its largest file is "
            f"{largest.relative_to(folder)} with {sizes[largest]:.1f} MB"
        )
