"""The first page of a run: what was run, the numbers that matter, what it looks like, and the way to everything."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ..runs import SMOKE_NOTE
from .findings import findings, shown
from .markup import Way, facts, figure, link, page, prose, table
from .numbers import read_metrics

GALLERIES = ("feet", "panels")
"""Names of the figures that show the best, the median and the worst, the fullest first."""


def index_page(folder: Path, scale: str, manifests: list[dict[str, Any]]) -> str:
    """The page of a run of ``scale`` whose notebooks left ``manifests`` in ``folder``."""
    config = json.loads((folder / "config.json").read_text())
    costs = _costs(folder, manifests)
    title, minutes = f"Feet from photos: the study at scale {scale}", costs["minutes"].astype(float).sum()
    lead = (
        f"From a few photos to a solid foot: {len(manifests)} notebooks in {minutes:.0f} minutes on "
        f"{_every(manifests, 'machine')}; tested on {config['feet']['test']} people who were never seen."
    )
    parts = [
        f'<h1>{title}</h1><p class="lead">{escape(lead)}</p>{_banner(scale)}',
        _findings(folder, config),
        f"<h2>What was run</h2>{facts(_summary(folder, config, manifests, minutes))}",
        _gallery(folder, manifests),
        f'<h2>The notebooks</h2><ol class="notebooks">{"".join(_entry(folder, m) for m in manifests)}</ol>',
        f"<h2>What it cost</h2>{table(costs, 'Minutes and peak memory')}",
    ]
    return page(title, Way(None, None, None, ("published.html", "Published numbers")).bar(), "\n".join(parts))


def _banner(scale: str) -> str:
    warning = f"{SMOKE_NOTE.capitalize()}. Results are on the page of scale quick."
    return f'<p class="banner" role="note">{warning}</p>' if scale == "smoke" else ""


def _findings(folder: Path, config: dict[str, Any]) -> str:
    metrics = folder / "metrics.csv"
    found = findings(read_metrics(metrics), config) if metrics.is_file() else []
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
    told = {
        "Run": f"{len(manifests)} notebooks at scale {config['scale']}",
        "Machine": f"{_every(manifests, 'machine')}, networks on {_every(manifests, 'device')}",
        "Cost": f"{minutes:.1f} minutes in all, {peak:.2f} GiB at most",
        "Feet": _feet(config["feet"]),
        "Objects": _objects(config["objects"]),
        "Networks": f"{', '.join(config['networks'])}; photos at {config['image_size']} pixels",
        "Code": f"p2vlib {_every(manifests, 'version')}, commit {_every(manifests, 'commit')}, "
        f"torch {_every(manifests, 'torch')}",
    }
    files = {"metrics.csv": "one test evaluation a row", "config.json": "all settings"}
    links = ", ".join(f"{link(file)} ({what})" for file, what in files.items() if (folder / file).is_file())
    return {**{name: escape(fact) for name, fact in told.items()}, "Files": links}


def _every(manifests: list[dict[str, Any]], fact: str) -> str:
    """What the manifests say of ``fact``; more than one answer if notebooks ran in different places or versions."""
    return " / ".join(dict.fromkeys(str(manifest[fact]) for manifest in manifests))


def _feet(feet: dict[str, Any]) -> str:
    people = "/".join(str(feet[split]) for split in ("train", "validation", "test"))
    return f"{people} people for training/validation/test, both feet, two looks of {feet['views']} photos each"


def _objects(objects: dict[str, Any]) -> str:
    things = "/".join(str(objects[split]) for split in ("train", "validation", "test"))
    return f"{things} for training/validation/test in each of thirteen categories, {objects['views']} photos each"


def _pictures(manifest: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The figures of a notebook by their names."""
    return {Path(one["file"]).stem.removeprefix(f"{manifest['notebook']}-"): one for one in manifest["figures"]}


def _gallery(folder: Path, manifests: list[dict[str, Any]]) -> str:
    """The best, the median and the worst feet of the last notebook that drew them."""
    for name in GALLERIES:
        for manifest in reversed(manifests):
            if entry := _pictures(manifest).get(name):
                return f"<h2>Best, median and worst</h2>{figure(folder, entry)}"
    return ""


def _entry(folder: Path, manifest: dict[str, Any]) -> str:
    """One notebook: a picture of it, its answer, and the way to its pages."""
    notebook, pictures = manifest["notebook"], _pictures(manifest)
    named = [pictures[name] for name in GALLERIES if name in pictures] or list(pictures.values())
    picture = figure(folder, named[0], alone=True) if named else "<span></span>"
    title = link(f"{notebook}.html", f"{notebook[:2]} · {manifest['title']}")
    ran = f"html/{notebook}.html"
    more = f'<p class="soft">{link(ran, "The executed notebook")}</p>' if (folder / ran).is_file() else ""
    told = "".join(f"{name} = {value} " for name, value in (manifest.get("parameters") or {}).items())
    given = f'<p class="banner" role="note">Run with {escape(told.strip())}.</p>' if told else ""
    return f"<li>{picture}<div><h3>{title}</h3>{given}{prose(manifest['answer'])}{more}</div></li>"
