"""The first page of a run: what was run, the numbers that matter, what it looks like, and the way to everything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from p2vlib.config import read_settings
from p2vlib.evaluation import metrics_csv
from p2vtools.study.report.findings import findings, shown
from p2vtools.study.report.markup import (
    Navigation,
    facts,
    figure,
    figures_of,
    link,
    page,
    prose,
    run_with,
    smoke_banner,
    table,
    title_of,
    told,
)

SLIDES = (
    "“The slides” are those of a course of 2021, from which this study began: Pix2Vox and Pix2Vox-LSTM on ShapeNet and "
    "on twenty feet."
)

GALLERIES = ("feet", "panels")
"""Names of the figures that show the best, the median and the worst, the fullest first."""


def index_page(
    folder: Path, scale: str, manifests: list[dict[str, Any]], parameters: Mapping[str, Any] = MappingProxyType({})
) -> str:
    """The page of a run of ``scale`` whose notebooks left ``manifests`` in ``folder``.

    ``parameters``: what it was told, where it is one of a grid, which its title then says.
    """
    config = read_settings((folder / "config.json").read_text())
    costs = _costs(folder, manifests)
    title, minutes = f"Feet from photos: the study at scale {scale}", costs["minutes"].astype(float).sum()
    if parameters:
        title = f"Feet from photos: a grid's run at scale {scale} with {told(parameters)}"
    lead = (
        f"From a few photos to a solid foot: {_number_of(manifests)} in {minutes:.0f} minutes on "
        f"{_every(manifests, 'machine')}; tested on {config['feet']['test']} people who were never seen."
    )
    parts = [
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>',
        f'<p class="soft">{SLIDES} {link("published.html", "Their numbers")}.</p>',
        smoke_banner(scale),
        _findings(folder, config),
        f"<h2>What was run</h2>{facts(_summary(folder, config, manifests, minutes))}",
        _gallery(folder, manifests),
        f'<h2>The notebooks</h2><ol class="notebooks">{"".join(_entry(folder, m) for m in manifests)}</ol>',
        f"<h2>What it cost</h2>{table(costs, 'Minutes and peak memory')}",
    ]
    way = Navigation(None, None, None, ("published.html", "Published numbers"))
    return page(title, way.bar(), "\n".join(filter(None, parts)))


def _findings(folder: Path, config: dict[str, Any]) -> str:
    rows = folder / "metrics.csv"
    found = findings(metrics_csv.read_metrics(rows), config) if rows.is_file() else []
    if not found:
        return ""
    note = "Means with 95 % intervals over people (bands). Upright: what looks at no photo; dashed: the slides."
    articles = "".join(shown(finding) for finding in found)
    return (
        f'<section class="findings" aria-label="The numbers that matter">{articles}</section><p class="soft">{note}</p>'
    )


def _costs(folder: Path, manifests: list[dict[str, Any]]) -> pd.DataFrame:
    """Minutes and peak memory of the data and of each notebook."""
    study = folder / "study.json"
    minutes = {m["notebook"]: m["seconds"] / 60 for m in manifests}
    if study.is_file():
        minutes |= json.loads(study.read_text())["minutes_of"]
    peaks = {m["notebook"]: m["peak_memory_gib"] for m in manifests}
    titles = {"data": "The data: meshes, photos, volumes"} | {m["notebook"]: m["title"] for m in manifests}
    return pd.DataFrame(
        [
            {"part": part, "title": title, "minutes": f"{minutes[part]:.1f}", "peak memory [GiB]": peaks.get(part, "")}
            for part, title in titles.items()
            if part in minutes
        ]
    )


def _summary(folder: Path, config: dict[str, Any], manifests: list[dict[str, Any]], minutes: float) -> dict[str, str]:
    """What was run, on what data, for how long and where, as HTML by its name."""
    peak = max(manifest["peak_memory_gib"] for manifest in manifests)
    words = {
        "Run": f"{_number_of(manifests)} at scale {config['scale']}",
        "Machine": f"{_every(manifests, 'machine')}, networks on {_every(manifests, 'device')}",
        "Cost": f"{minutes:.1f} minutes in all, {peak:.2f} GiB at most",
        "Feet": _feet(config["feet"]),
        "Objects": _objects(config["objects"]),
        "Networks": f"{', '.join(config['networks'])}; photos at {config['image_size']} pixels",
        "Code": f"p2vlib {_every(manifests, 'version')}, commit {_every(manifests, 'commit')}, "
        f"torch {_every(manifests, 'torch')}",
    }
    files = {"metrics.csv": "one test evaluation a row, with its IoU at four thresholds", "config.json": "all settings"}
    links = ", ".join(f"{link(file)} ({what})" for file, what in files.items() if (folder / file).is_file())
    return {**{name: escape(fact) for name, fact in words.items()}, "Files": links}


def _number_of(manifests: list[dict[str, Any]]) -> str:
    return f"{len(manifests)} notebook{'s' * (len(manifests) > 1)}"


def _every(manifests: list[dict[str, Any]], fact: str) -> str:
    """What the manifests say of ``fact``; more than one answer if notebooks ran in different places or versions."""
    return " / ".join(dict.fromkeys(str(manifest[fact]) for manifest in manifests))


def _feet(feet: dict[str, Any]) -> str:
    people = "/".join(str(feet[split]) for split in ("train", "validation", "test"))
    return f"{people} people for training/validation/test, both feet, two looks of {feet['views']} photos each"


def _objects(objects: dict[str, Any]) -> str:
    things = "/".join(str(objects[split]) for split in ("train", "validation", "test"))
    return f"{things} for training/validation/test in each of thirteen categories, {objects['views']} photos each"


def _gallery(folder: Path, manifests: list[dict[str, Any]]) -> str:
    """The best, the median and the worst feet of the last notebook that drew them."""
    for name in GALLERIES:
        for manifest in reversed(manifests):
            if entry := figures_of(manifest).get(name):
                return f"<h2>Best, median and worst</h2>{figure(folder, entry)}"
    return ""


def _entry(folder: Path, manifest: dict[str, Any]) -> str:
    """One notebook: a picture of it, its answer, and the way to its pages."""
    notebook, pictures = manifest["notebook"], figures_of(manifest)
    named = [pictures[name] for name in GALLERIES if name in pictures] or list(pictures.values())
    picture = figure(folder, named[0], alone=True) if named else "<span></span>"
    title = link(f"{notebook}.html", title_of(manifest))
    ran = f"html/{notebook}.html"
    more = f'<p class="soft">{link(ran, "The executed notebook")}</p>' if (folder / ran).is_file() else ""
    answer = run_with(manifest) + prose(manifest["answer"])
    return f"<li>{picture}<div><h3>{title}</h3>{answer}{more}</div></li>"
