"""Builds the report of a run from the manifests, tables, figures and metrics of its notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from p2vlib import files, progress
from p2vlib.files import FileError, reading, write_bytes, write_text
from p2vlib.provenance import home, text_digest
from p2vtools.files import file_lock
from p2vtools.study import learning, seeds
from p2vtools.study.intervals import interval_cells, split_seeds
from p2vtools.study.metrics_csv import COLUMNS, parse_metrics, read_metrics
from p2vtools.study.notebook_run import RERUN, manifests, part_of_metrics, read_config
from p2vtools.study.parameters import notebook_number
from p2vtools.study.report.findings import NOTE, findings
from p2vtools.study.report.html import (
    RESTORE,
    check_sizes,
    figure,
    figures_of,
    format_parameters,
    prose,
    render,
    report_file,
    saved_table,
    table,
    title_of,
)
from p2vtools.study.report.numbers import published_tables

SLIDES = (
    "“The slides” are those of a course of 2021 from which this study started: Pix2Vox and Pix2Vox-LSTM on ShapeNet "
    "and on twenty feet."
)

PUBLISHED = (
    "For comparison only: these networks were trained on 30,643 ShapeNet objects and tested on 8,770; this study's "
    "objects are generated unless a notebook says that it used the archive. The slides' feet are 20 phone scans with "
    "four photos each."
)

FILES = (
    ("metrics.csv", "metrics.csv (one test evaluation a row, with its IoU at four thresholds)"),
    ("config.json", "config.json (all settings)"),
)
"""Links to the files of every report."""

GALLERIES = ("feet", "panels")
"""Names of the figures with the best, the median and the worst result, the most complete first."""

Manifest = Mapping[str, Any]


def build(scale: str, run: str | None = None, parameters: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Writes ``metrics.csv``, ``index.html`` and the pages of executed notebooks to ``reports/<run>``.

    A notebook without a manifest did not complete and is left out.

    Args:
        run: the name of a run of a sweep (default: the scale).
        parameters: what that run was given.

    Returns:
        ``index.html``.

    Raises:
        FileNotFoundError: no notebook has completed, or a file that a manifest names is missing.
        ValueError: a damaged file, metrics that do not belong to the manifests, a page that would fetch something from
            the network, or pages that are too large.
    """
    folder, work = (home() / parent / (run or scale) for parent in ("reports", ".runs"))
    with file_lock(work / "report.lock"):
        completed = list(manifests(folder).values())
        if not completed:
            raise FileNotFoundError(f"{folder / 'parts'}: no notebook of scale {scale} has run; expected NN.json")
        for manifest in completed:  # older manifests leave the seed to their config
            config = folder / "parts" / f"{manifest['notebook']}.config.json"
            if "seed" not in manifest and config.is_file():
                manifest["seed"] = files.read_json(config, RERUN).get("seed")
        _join_metrics(folder / "metrics.csv", work, completed, scale)
        if (folder / "executed").is_dir():
            from p2vtools.study.report.notebook_page import write_pages  # heavy, and not needed in a fresh checkout

            write_pages(folder, completed)
        page = _index(folder, scale, completed, parameters)
        for outdated in folder.glob("*.html"):
            outdated.unlink()
        write_text(folder / "index.html", page)
        check_sizes(folder)
    return folder / "index.html"


def _join_metrics(path: Path, work: Path, completed: Sequence[Manifest], scale: str) -> None:
    """Writes the metrics of all notebooks to ``path``: each notebook's part, or else its rows that are there already.

    Parts are not in git, so in a fresh checkout the committed rows remain, as they do where a part is of another run
    than the manifest. Both are compared with the digest in the manifest. A file with other content is kept as
    ``metrics.old.csv``.

    Raises:
        ValueError: rows of ``path`` that are needed and damaged, or not those of the manifests.
    """
    found = {}
    for manifest in completed:
        part = part_of_metrics(work, name := manifest["notebook"])
        if part.is_file() and text_digest(part.read_text("utf-8", "replace")) == manifest.get("metrics"):
            found[name] = parse_metrics(part)
        elif manifest.get("metrics") == "":
            found[name] = pd.DataFrame(columns=COLUMNS)
    missing = [manifest for manifest in completed if manifest["notebook"] not in found]
    try:
        found |= _kept_rows(path, completed, missing)
    except ValueError as error:
        if missing:
            numbers = ",".join(notebook_number(manifest["notebook"]) for manifest in missing)
            restore = f"`git checkout {path}`, or run `p2v study --scale {scale} --only {numbers}`"
            raise ValueError(f"{error}; restore it with {restore}") from None
        progress.log(f"{error}; the file is made again, and kept as metrics.old.csv")
    text = _to_csv(pd.concat([found[manifest["notebook"]] for manifest in completed]))
    if path.is_file() and path.read_bytes() != text.encode():
        write_bytes(path.with_name("metrics.old.csv"), path.read_bytes())
    write_text(path, text)


def _kept_rows(path: Path, completed: Sequence[Manifest], missing: Sequence[Manifest]) -> dict[str, pd.DataFrame]:
    """The rows in ``path`` of the notebooks that are ``missing`` elsewhere, if they belong to their manifests.

    All rows of the file have to be those of notebooks that completed.
    """
    rows = parse_metrics(path) if path.is_file() else pd.DataFrame(columns=COLUMNS)
    numbers = {notebook_number(manifest["notebook"]) for manifest in completed}  # a renamed notebook keeps its number
    unknown = ~rows.notebook.map(notebook_number).isin(numbers)
    if unknown.any():
        line = int(unknown.idxmax())
        raise ValueError(f"{path}: line {line + 2} is of {rows.notebook[line]}, which has no manifest")
    found = {}
    for manifest in missing:
        own = found[manifest["notebook"]] = rows[rows.notebook == manifest["notebook"]]
        if manifest.get("metrics") not in (None, text_digest(_to_csv(own)) if len(own) else ""):
            lines = f"lines {own.index[0] + 2} to {own.index[-1] + 2}" if len(own) else "no line"
            raise ValueError(
                f"{path}: {lines} of {manifest['notebook']}, with another digest than in its manifest: "
                "rows are missing, added or changed"
            )
    return found


def _to_csv(rows: pd.DataFrame) -> str:
    return rows.to_csv(index=False, lineterminator="\n")


def _index(folder: Path, scale: str, completed: Sequence[Manifest], parameters: Mapping[str, Any]) -> str:
    config = read_config(folder / "config.json")
    if lacking := {"scale", "feet", "objects", "networks", "image_size"} - set(config):
        raise FileError(
            folder / "config.json", f"no {', '.join(sorted(lacking))}", "run a notebook of this scale again"
        )
    costs = _costs(folder, completed)
    minutes = costs["minutes"].astype(float).sum()
    title = f"Feet from photos: the study at scale {scale}"
    if parameters:
        title = f"Feet from photos: a run of a sweep at scale {scale} with {format_parameters(parameters)}"
    lead = (
        f"From a few photos to a solid foot: {_count(completed)} in {minutes:.0f} minutes, without trainings "
        f"of earlier runs, on {_all(completed, 'machine')}; tested on {config['feet']['test']} unseen people."
    )
    metrics = read_metrics(folder / "metrics.csv")
    checks = _checks(folder, completed)
    published = [table(rows, caption) for caption, rows in published_tables().items()]
    published = {"summary": f"{len(published)} tables", "tables": published}
    nav = [(f"#{manifest['notebook']}", notebook_number(manifest["notebook"]), "") for manifest in completed]
    return render(
        title,
        scale=scale,
        nav=[*nav, ("#published", "Published numbers", "next")],
        lead=lead,
        notes=[SLIDES],
        findings=findings(learning.drop_unlearned(metrics, checks), config),
        findings_note=NOTE,
        sections=[
            {
                "title": "What was run",
                "facts": _summary(config, completed, minutes) | _freshness(folder, completed),
                "links": FILES,
            },
            *_gallery(folder, completed),
            *_learning_section(checks),
            *_groups_section(),
            *_gpu_section(scale),
            *(_notebook_section(folder, manifest, checks) for manifest in completed),
            {"title": "Cost", "tables": [table(costs, "Minutes and peak memory")]},
            {"title": "Published numbers", "id": "published", "html": PUBLISHED, "details": published},
        ],
    )


def _checks(folder: Path, completed: Sequence[Manifest]) -> pd.DataFrame:
    """Whether each network learned, as its notebook has checked."""
    parts = []
    for manifest in completed:
        notebook, file = manifest["notebook"], f"tables/{manifest['notebook']}-{learning.TABLE}.csv"
        if any(entry["file"] == file for entry in manifest["tables"]):
            with reading(path := report_file(folder, file), RESTORE):
                parts.append(pd.read_csv(path)[learning.COLUMNS].assign(notebook=notebook))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["notebook", *learning.COLUMNS])


def _learning_section(checks: pd.DataFrame) -> list[dict[str, Any]]:
    """The checks as a section, those that did not learn first; empty without checks."""
    if checks.empty:
        return []
    failed = learning.unlearned(checks)
    text = f"{len(failed)} of {len(checks)} trained networks did not learn. They are in no ranking and in no finding. "
    text += learning.CAPTION.partition("? ")[2]
    columns = ["notebook", *learning.NETWORK, "iou", "mean shape", "answers", "range"]
    ordered = checks.loc[checks.verdict.ne(learning.DID_NOT_LEARN).sort_values(kind="stable").index]
    details = {
        "summary": "every network",
        "tables": [table(ordered[[*columns, "verdict"]].astype(object).fillna(""), "The checks")],
    }
    return [{"title": "Did every network learn?", "html": prose(text), "details": details}]


def _groups_section() -> list[dict[str, Any]]:
    """The pretrained weights in groups of their test feet; empty if their rows are missing."""
    from p2vtools.fit.pretrained import pretrained_path  # heavy
    from p2vtools.study import groups

    file = pretrained_path().with_name(f"{pretrained_path().stem}-{groups.GROUPS}.csv")
    if not file.is_file():
        return []
    cells = table(
        groups.group_table(pd.read_csv(file)), "IoU at 32³ with eight photos, and absolute error of the length"
    )
    details = {"summary": "every group", "tables": [cells]}
    return [{"title": "The pretrained weights by group", "html": prose(groups.EXPLANATION), "details": details}]


def _gpu_section(scale: str) -> list[dict[str, Any]]:
    """The published networks at 224 pixels (`benchmarks/gpu_study.py`), beside the results of scale quick."""
    folder = home() / "reports" / "gpu"
    if scale != "quick" or not (folder / "metrics.csv").is_file():
        return []
    rows = read_metrics(folder / "metrics.csv")
    rows = split_seeds(rows[(rows.order == "clockwise") & rows.views.isin([1, 4, 8])])
    keys = ["dataset", "model", "variant"]
    cells = pd.Series(interval_cells(rows, [*keys, "views"])).unstack().rename_axis(keys)
    trainings = pd.read_csv(folder / "trainings.csv").rename(columns={"domain": "dataset", "network": "model"})
    learned = trainings.groupby(keys).learned.agg(lambda each: f"{each.sum()} of {len(each)}")
    cells = cells.set_axis([f"{views} photo{'s' * (views > 1)}" for views in cells], axis=1)
    cells = cells.join(learned.rename("learned")).fillna("").reset_index()
    text = "Pix2Vox as published, at 224 pixels, trained for minutes with three seeds; see reports/gpu/README.md."
    caption = "Test IoU with 95 % intervals over people or objects and seeds"
    return [{"title": "The published networks on a GPU", "html": prose(text), "tables": [table(cells, caption)]}]


def _banners(manifest: Manifest, checks: pd.DataFrame) -> list[str]:
    banners = [f"Run with {format_parameters(manifest['parameters'])}."] if manifest.get("parameters") else []
    own = checks[checks.notebook == manifest["notebook"]]
    if len(failed := learning.unlearned(own)):
        banners.append(f"Did not learn: {'; '.join(failed.network)}. Rankings and comparisons are without them.")
    return banners


def _notebook_section(folder: Path, manifest: Manifest, checks: pd.DataFrame) -> dict[str, Any]:
    """One notebook: its answer, a picture, links to its files, and its figures and tables behind a summary line."""
    notebook = manifest["notebook"]
    figures = [figure(folder, entry, manifest) for entry in manifest["figures"]]
    own = checks[checks.notebook == notebook]
    tables = [saved_table(folder, entry, manifest, own) for entry in manifest["tables"]]
    named = figures_of(manifest)
    gallery = next((named[name] for name in GALLERIES if name in named), None)
    preview = figure(folder, gallery, manifest) if gallery else next(iter(figures), None)
    files = {
        f"html/{notebook}.html": "executed notebook",
        f"executed/{notebook}.ipynb": "the same for Jupyter",
        f"parts/{notebook}.config.json": "settings",
    }
    summary = f"{len(figures)} figures and {len(tables)} tables"
    return {
        "id": notebook,
        "title": title_of(manifest),
        "banners": _banners(manifest, checks),
        "preview": preview,
        "html": prose(manifest["answer"]),
        "links": [(file, text) for file, text in files.items() if (folder / file).is_file()],
        "details": {"summary": summary, "figures": figures, "tables": tables} if figures or tables else None,
    }


def _gallery(folder: Path, completed: Sequence[Manifest]) -> list[dict[str, Any]]:
    """The best, the median and the worst feet of the last notebook that drew them."""
    for name in GALLERIES:
        for manifest in reversed(completed):
            if entry := figures_of(manifest).get(name):
                return [{"title": "Best, median and worst", "figures": [figure(folder, entry, manifest)]}]
    return []


def _costs(folder: Path, completed: Sequence[Manifest]) -> pd.DataFrame:
    """Minutes and peak memory of the data and of each notebook; a notebook's are those of its manifest."""
    rows = []
    study = folder / "study.json"
    if study.is_file():
        advice = "expected the minutes of the data; delete it, or write it again with `p2v data`"
        with reading(study, advice):
            minutes = files.read_json(study, advice)["minutes_of"]["data"]
            rows.append(("data", "The data: meshes, photos, volumes", f"{minutes:.1f}", ""))
    rows += [(m["notebook"], m["title"], f"{m['seconds'] / 60:.1f}", m["peak_memory_gib"]) for m in completed]
    return pd.DataFrame(rows, columns=["part", "title", "minutes", "peak memory [GiB]"])


def _summary(config: dict[str, Any], completed: Sequence[Manifest], minutes: float) -> dict[str, str]:
    """What was run, on which data, for how long and where."""
    peak = max(manifest["peak_memory_gib"] for manifest in completed)
    feet, objects = config["feet"], config["objects"]
    names, splits = ("train", "validation", "test"), "training/validation/test"
    people, things = ("/".join(str(part[name]) for name in names) for part in (feet, objects))
    wild = "; as many others, photographed in the wild" if feet.get("wild") else ""
    return {
        "Run": f"{_count(completed)} at scale {config['scale']}",
        "Machine": f"{_all(completed, 'machine')}, networks on {_all(completed, 'device')}",
        "Cost": f"{minutes:.1f} minutes in total without trainings of earlier runs, at most {peak:.2f} GiB of memory",
        "Feet": f"{people} people for {splits}, both feet, two domains with {feet['views']} photos each{wild}",
        "Objects": f"{things} for {splits} in each of thirteen categories, {objects['views']} photos each",
        "Networks": f"{', '.join(config['networks'])}; photos of {config['image_size']} pixels",
        "Code": f"p2vlib {_all(completed, 'version')}, commit {_all(completed, 'commit')}, seed "
        f"{_all(completed, 'seed')}, torch {_all(completed, 'torch')}",
    }


def _freshness(folder: Path, completed: Sequence[Manifest]) -> dict[str, str]:
    """How many designs were frozen before the test people were drawn; empty for results that `seeds` does not list."""
    looks = seeds.read_seeds()["looks"] if seeds.seeds_path().is_file() else []
    own = {(f"reports/{folder.name}/parts/{manifest['notebook']}.json", manifest["commit"]) for manifest in completed}
    frozen = [look["frozen"] for look in looks if (look["result"], look["commit"]) in own]
    if not frozen:
        return {}
    return {"Test people": f"drawn after the design was frozen for {sum(frozen)} of {len(frozen)} notebooks"}


def _count(completed: Sequence[Manifest]) -> str:
    return f"{len(completed)} notebook{'s' * (len(completed) > 1)}"


def _all(completed: Sequence[Manifest], fact: str) -> str:
    """The value of ``fact`` in the manifests; all values if they differ."""
    return " / ".join(dict.fromkeys(str(manifest.get(fact, "unknown")) for manifest in completed))
