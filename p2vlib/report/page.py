"""``metrics.csv`` and ``index.html`` of a run, put together from its notebooks' manifests, tables and figures."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import write_text
from ..runs import METRICS, SMOKE_NOTE, home
from .markup import figure, link, own_file, page, prose, table
from .numbers import published, read_text


def build(scale: str, run: str | None = None) -> Path:
    """Writes ``metrics.csv`` and ``index.html`` of ``reports/<run>`` from its notebooks' parts; returns the page.

    The ``run`` is the scale's own, or one of a grid.

    A notebook without a manifest has not ended well, and is left out whatever else it wrote.

    Raises:
        FileNotFoundError: no notebook of this scale has run, or a table or figure that a manifest names is missing.
        ValueError: a part of the metrics whose columns or cells are not as they should be.
    """
    folder = home() / "reports" / (run or scale)
    paths = sorted(path for path in folder.glob("parts/*.json") if not path.name.endswith(".config.json"))
    if not paths:
        raise FileNotFoundError(f"{folder / 'parts'}: no notebook of scale {scale} has run; expected NN.json")
    manifests = [json.loads(path.read_text()) for path in paths]
    parts = [part for path in paths if (part := path.with_suffix(".csv")).is_file()]
    rows = pd.concat([read_text(part) for part in parts] or [pd.DataFrame(columns=METRICS)])
    write_text(folder / "metrics.csv", rows.to_csv(index=False))
    write_text(folder / "index.html", _page(folder, scale, manifests))
    return folder / "index.html"


def _page(folder: Path, scale: str, manifests: list[dict[str, Any]]) -> str:
    title = f"Feet from photos: the study at scale {scale}"
    names = [(f"n{escape(m['notebook'])}", f"{m['notebook']} {m['title']}") for m in manifests]
    links = "".join(
        f'<li><a href="#{anchor}">{escape(name)}</a></li>'
        for anchor, name in [*names, ("published", "Published numbers")]
    )
    warning = f"{SMOKE_NOTE.capitalize()}. Results are on the page of scale quick."
    banner = f'<p class="banner" role="note">{warning}</p>' if scale == "smoke" else ""
    head = f'{banner}\n{_summary(folder, manifests)}\n<nav aria-label="Contents"><ul>{links}</ul></nav>'
    sections = [_section(folder, manifest) for manifest in manifests]
    return page(title, head, "\n".join([*sections, _published_section()]))


def _summary(folder: Path, manifests: list[dict[str, Any]]) -> str:
    """What was run, on what data, for how long and where."""
    config = json.loads((folder / "config.json").read_text())
    study = folder / "study.json"
    minutes = {m["notebook"]: m["seconds"] / 60 for m in manifests}
    if study.is_file():
        minutes |= json.loads(study.read_text())["minutes_of"]
    peaks = {m["notebook"]: m["peak_memory_gib"] for m in manifests}
    titles = {"data": "The data: meshes, photos, volumes"} | {m["notebook"]: m["title"] for m in manifests}
    costs = pd.DataFrame(
        [
            {"part": part, "title": title, "minutes": f"{minutes[part]:.1f}", "peak memory [GiB]": peaks.get(part, "")}
            for part, title in titles.items()
            if part in minutes
        ]
    )
    total, peak = sum(minutes[part] for part in costs["part"]), max(peaks.values())
    facts = {
        "Run": f"{len(manifests)} notebooks at scale {config['scale']}",
        "Machine": f"{_told(manifests, 'machine')}, networks on {_told(manifests, 'device')}",
        "Cost": f"{total:.1f} minutes in all, {peak:.2f} GiB at most",
        "Feet": _feet(config["feet"]),
        "Objects": _objects(config["objects"]),
        "Networks": f"{', '.join(config['networks'])}; photos at {config['image_size']} pixels",
        "Code": f"p2vlib {_told(manifests, 'version')}, commit {_told(manifests, 'commit')}, "
        f"torch {_told(manifests, 'torch')}",
    }
    told = "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
    files = f"{link('metrics.csv')} (one test evaluation a row), {link('config.json')} (all settings)"
    return f"<dl>{told}<dt>Files</dt><dd>{files}</dd></dl>\n{table(costs, 'Minutes and peak memory')}"


def _told(manifests: list[dict[str, Any]], fact: str) -> str:
    """What the manifests say of ``fact``; more than one answer if notebooks ran in different places or versions."""
    return " / ".join(dict.fromkeys(str(manifest[fact]) for manifest in manifests))


def _feet(feet: dict[str, Any]) -> str:
    people = "/".join(str(feet[split]) for split in ("train", "validation", "test"))
    return f"{people} people for training/validation/test, both feet, two looks of {feet['views']} photos each"


def _objects(objects: dict[str, Any]) -> str:
    things = "/".join(str(objects[split]) for split in ("train", "validation", "test"))
    return f"{things} for training/validation/test in each of thirteen categories, {objects['views']} photos each"


def _section(folder: Path, manifest: dict[str, Any]) -> str:
    """One notebook: its answer, its tables, its figures, and the way to its pages."""
    notebook = manifest["notebook"]
    tables = [
        table(pd.read_csv(own_file(folder, entry["file"]), dtype=str, keep_default_na=False), entry["caption"])
        for entry in manifest["tables"]
    ]
    figures = [figure(folder, entry) for entry in manifest["figures"]]
    executed = f"html/{notebook}.html"
    way = f"The executed notebook, kept by the run and not in git: {link(executed)}."
    head = f'<h2 id="n{escape(notebook)}-title">{escape(notebook)} · {escape(manifest["title"])}</h2>'
    if told := manifest.get("parameters"):
        facts = ", ".join(f"{name} = {value}" for name, value in told.items())
        head += f'<p class="banner" role="note">Run with {escape(facts)}.</p>'
    return "\n".join(
        [
            f'<section id="n{escape(notebook)}" aria-labelledby="n{escape(notebook)}-title">{head}',
            f'<div class="answer">{prose(manifest["answer"])}</div>',
            *tables,
            *figures,
            f'<p class="soft">{way if (folder / executed).is_file() else ""}</p></section>',
        ]
    )


def _published_section() -> str:
    """The slides' and papers' own numbers, as tables."""
    numbers = published()
    numbers["value"] = numbers["value"].map(lambda value: f"{value:.4g}")
    slides = numbers[numbers["source"] == "slides 2021"]
    wide = _wide(slides[slides["threshold"].notna()], ["taxonomy", "model"], "threshold")
    wide.columns = [name if isinstance(name, str) else f"t={name:.2f}" for name in wide]
    counts = slides[slides["metric"] == "samples"].set_index("taxonomy")["value"]
    baseline = slides[slides["model"] == "3D-R2N2"].set_index("taxonomy")["value"]
    wide.insert(2, "samples", wide["taxonomy"].map(counts).fillna(""))
    wide.insert(3, "baseline (3D-R2N2)", wide["taxonomy"].map(baseline).fillna(""))
    views = numbers[(numbers["source"] == "papers, by views") & (numbers["metric"] == "iou")]
    pix3d = slides[slides["dataset"] == "pix3d"].assign(training=lambda rows: "trained on " + rows["training"])
    single = numbers[numbers["source"] == "papers, single view"]
    tables = [
        table(wide, "The slides: Pix2Vox-A on ShapeNet and on 20 feet, and Pix2Vox-LSTM; IoU at four thresholds"),
        table(_wide(views, ["model"], "views"), "Published IoU on ShapeNet at 32³ against the number of views"),
        table(_wide(single, ["taxonomy"], "model"), "Published IoU from a single view, by category (PSGN: recalled)"),
        table(_wide(pix3d, ["model"], "training"), "The slides' test on real photographs of chairs (Pix3D): IoU"),
    ]
    note = (
        "For comparison only: these networks were trained on 30,643 ShapeNet objects and tested on 8,770; this study's "
        "objects are generated, unless a notebook above says that it was run on the archive. The slides' feet are 20 "
        "phone scans, four photos each."
    )
    head = '<h2 id="published-title">Published numbers</h2>'
    return "\n".join(
        [f'<section id="published" aria-labelledby="published-title">{head}<p>{note}</p>', *tables, "</section>"]
    )


def _wide(rows: pd.DataFrame, index: list[str], column: str) -> pd.DataFrame:
    """``value`` spread over the values of ``column``, rows in the order in which they come."""
    keys = rows[index].drop_duplicates()
    wide = rows.pivot(index=index, columns=column, values="value").fillna("").reset_index()
    wide.columns.name = None
    return keys.merge(wide, "left", index)
