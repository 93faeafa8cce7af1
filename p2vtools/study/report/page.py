"""The pages of a run, put together from its notebooks' manifests, tables, figures and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from p2vlib.evaluation.metrics_csv import COLUMNS, parse_metrics
from p2vlib.files import write_text
from p2vlib.provenance import home, text_digest
from p2vtools.study.notebook_run import manifests, part_of_metrics
from p2vtools.study.report.index import index_page
from p2vtools.study.report.markup import (
    Navigation,
    facts,
    figure,
    link,
    page,
    prose,
    run_with,
    smoke_banner,
    table,
    table_of,
    title_of,
)
from p2vtools.study.report.published_page import slides_page
from p2vtools.study.report.size_limits import check_sizes


def build(scale: str, run: str | None = None, parameters: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Writes ``metrics.csv`` and the pages of ``reports/<run>``; returns ``index.html``.

    A notebook without a manifest has not ended well, and is left out whatever else it wrote.

    Args:
        run: one of a grid; None: the scale's own.
        parameters: what that run of a grid was told.

    Raises:
        FileNotFoundError: no notebook of this run has ended, or a table or figure that a manifest names is missing.
        ValueError: metrics whose columns or cells are not as they should be, a page that would fetch something from
            the network, or pages that are too large to be carried along.
    """
    run = run or scale
    folder = home() / "reports" / run
    ran = list(manifests(folder).values())
    if not ran:
        raise FileNotFoundError(f"{folder / 'parts'}: no notebook of scale {scale} has run; expected NN.json")
    rows = _joined(folder / "metrics.csv", home() / ".runs" / run, ran)
    write_text(folder / "metrics.csv", rows.to_csv(index=False))
    titles = {f"{manifest['notebook']}.html": title_of(manifest) for manifest in ran}
    if (folder / "executed").is_dir():
        from p2vtools.study.report.executed import write_pages  # heavy, and of no use in a fresh checkout

        write_pages(folder, ran)
    pages = {file: _notebook_page(folder, scale, one, titles) for file, one in zip(titles, ran, strict=True)}
    pages["published.html"] = slides_page(Navigation.among("published.html", titles))
    pages["index.html"] = index_page(folder, scale, ran, parameters)
    for left in {path.name for path in folder.glob("*.html")} - set(pages):
        (folder / left).unlink()
    for file, text in pages.items():
        write_text(folder / file, text)
    check_sizes(folder)
    return folder / "index.html"


def _joined(kept: Path, work: Path, ran: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The metrics of all notebooks, as text: of each the part that its manifest tells of, or else what is kept.

    Parts are not in git. Without them, as in a fresh checkout, or where they are of another run than the manifest, the
    rows that ``kept`` already has stay.
    """
    before = parse_metrics(kept) if kept.is_file() else pd.DataFrame(columns=COLUMNS)
    parts = []
    for manifest in ran:
        part = part_of_metrics(work, manifest["notebook"])
        if part.is_file() and text_digest(part.read_text()) == manifest.get("metrics"):
            parts.append(parse_metrics(part))
        elif manifest.get("metrics") != "":
            parts.append(before[before["notebook"] == manifest["notebook"]])
    return pd.concat(parts) if parts else before[:0]


def _notebook_page(folder: Path, scale: str, manifest: dict[str, Any], titles: dict[str, str]) -> str:
    """One notebook: its answer, its figures, its tables, and the way to all files."""
    notebook = manifest["notebook"]
    title, answer = title_of(manifest), prose(manifest["answer"])
    parts = [f"<h1>{escape(title)}</h1>", smoke_banner(scale), run_with(manifest)]
    parts.append(f'<div class="answer">{answer}</div>')
    if manifest["figures"]:
        parts += ["<h2>Figures</h2>", *(figure(folder, entry) for entry in manifest["figures"])]
    if manifest["tables"]:
        parts.append("<h2>Tables</h2>")
        parts += [table(table_of(folder, one["file"]), one["caption"], one["file"]) for one in manifest["tables"]]
    parts += ["<h2>How it was run</h2>", facts(_how(folder, manifest))]
    return page(title, Navigation.among(f"{notebook}.html", titles).bar(), "\n".join(filter(None, parts)))


def _how(folder: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """What the foot of a notebook's page says, as HTML: cost, machine, code, and the files there are."""
    notebook = manifest["notebook"]
    files = {
        f"html/{notebook}.html": "the executed notebook as a page",
        f"executed/{notebook}.ipynb": "the same for Jupyter",
        f"parts/{notebook}.config.json": "its settings",
    }
    links = [link(file, name) for file, name in files.items() if (folder / file).is_file()]
    cost = f"{manifest['seconds'] / 60:.1f} minutes, {manifest['peak_memory_gib']:.2f} GiB at most"
    machine = f"{manifest['machine']}, networks on {manifest['device']}"
    code = f"p2vlib {manifest['version']}, commit {manifest['commit']}, torch {manifest['torch']}"
    words = {"Cost": cost, "Machine": machine, "Code": code}
    return {**{name: escape(fact) for name, fact in words.items()}, "Files": ", ".join(links) or "none"}
