"""Runs side by side: what got better or worse from the first to each of the others, and what they differ in.

IoU is compared test by test: the same network on the same photos of the same people or objects, at the threshold that
each run chose on validation. Intervals are over people, as everywhere. Where the data themselves differ, nothing is
compared, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from .evaluation import interval
from .files import write_text
from .report import read_metrics
from .report.markup import page, table

TESTS = ["notebook", "model", "variant", "training", "dataset", "look", "cameras", "placement"]
"""What is one row: a network as it was trained, and what it was tested on."""

SAMPLE = ["taxonomy", "subject", "sample"]

PHOTOGRAPHED = {
    "feet": ("test_seed", "views", "studio_samples", "phone_samples"),
    "objects": ("test_seed", "views", "samples"),
}
"""The settings that make a data set's test photos; with others, the same name is not the same picture."""

PLACES = ("version", "commit", "torch", "device", "machine")

SHOWN = 20
"""Most rows of the table in the terminal."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run left in its folder."""

    name: str
    folder: Path
    metrics: pd.DataFrame
    """At the selected thresholds."""
    manifests: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    """By notebook, as are the manifests."""


def compare(folders: Sequence[Path], out: Path | None = None) -> str:
    """Compares the first of ``folders`` (``reports/quick``, or one of a grid) with each other; returns it as text.

    Args:
        out: where to write it as one HTML page that needs nothing else.

    Raises:
        ValueError: fewer than two runs, a folder that holds none, or nothing in them that can be compared.
    """
    if len(folders) < 2:
        raise ValueError(f"{len(folders)} run to compare; name two or more folders like reports/quick")
    first, *others = read_runs(folders)
    differing = settings([first, *others])
    found = {other.name: changes(first, other) for other in others}
    reasons = {other.name: unlike(first, other) for other in others}
    if all(rows.empty for rows in found.values()):
        why = "; ".join(dict.fromkeys(reason for several in reasons.values() for reason in several))
        raise ValueError(f"nothing to compare with {first.name}: {why or 'no test is in both'}")
    if out:
        write_text(out, _page(first, others, differing, found, reasons))
    parts = [_text(first.name, name, rows, reasons[name]) for name, rows in found.items()]
    return "\n\n".join([f"what differs\n{_aligned(differing)}", *parts])


def read_runs(folders: Sequence[Path]) -> list[Result]:
    """The runs in ``folders``, named by their folders, or by their whole paths where two would have one name.

    Raises:
        ValueError: a folder without a run, or the same one twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("one run stands twice among those to compare")
    names = [folder.resolve().name for folder in folders]
    runs = []
    for name, folder in zip(names, folders, strict=True):
        parts = sorted(file for file in folder.glob("parts/*.json") if not file.name.endswith(".config.json"))
        if not parts or not (folder / "metrics.csv").is_file():
            raise ValueError(f"{folder}: holds no run; expected metrics.csv and parts/NN.json, as `study` leaves them")
        metrics = read_metrics(folder / "metrics.csv")
        configs = {part.stem: json.loads(part.with_suffix(".config.json").read_text()) for part in parts}
        manifests = {part.stem: json.loads(part.read_text()) for part in parts}
        unique = name if names.count(name) == 1 else str(folder)
        runs.append(Result(unique, folder, metrics[metrics.selected], manifests, configs))
    return runs


def unlike(one: Result, other: Result) -> list[str]:
    """Why some of two runs' tests cannot be compared, in sentences; empty where all that are in both can."""
    reasons = []
    for notebook in sorted(set(one.configs) & set(other.configs)):
        for dataset in PHOTOGRAPHED:
            told = [run.configs[notebook][dataset] for run in (one, other)]
            reasons += [
                f"other test data, {dataset}: {key} is {told[0][key]} in {one.name} and {told[1][key]} in {other.name}"
                for key in PHOTOGRAPHED[dataset]
                if told[0][key] != told[1][key]
            ]
    if missing := sorted(set(one.configs) ^ set(other.configs)):
        reasons.append(f"in one of {one.name} and {other.name} only: {', '.join(missing)}")
    return list(dict.fromkeys(reasons))


def changes(one: Result, other: Result) -> pd.DataFrame:
    """The difference in IoU from ``one`` to ``other`` for every network and test that both have.

    A row is the mean over numbers of photos, orders and samples that are in both. Where each run has one number of
    photos that the other has not, as when that is what they were told, those two are compared: ``4 -> 8``.

    Columns: `TESTS`, photos, orders, one, other (mean IoU), difference, low, high, samples, and verdict: ``better``,
    ``worse``, ``open`` (the interval holds zero) or ``same`` (every number is the same).
    """
    rows = []
    theirs = dict(list(_comparable(other, one).groupby(TESTS, sort=False)))
    for key, mine in _comparable(one, other).groupby(TESTS, sort=False):
        if key in theirs:
            rows += [(*key, *row) for row in _paired(mine, theirs[key])]
    columns = ["photos", "orders", "one", "other", "difference", "low", "high", "samples", "verdict"]
    return pd.DataFrame(rows, columns=[*TESTS, *columns])


def _comparable(run: Result, other: Result) -> pd.DataFrame:
    """The metrics of ``run`` on data that are in ``other`` the same."""
    keep = pd.Series(True, run.metrics.index)
    for notebook, config in run.configs.items():
        theirs = other.configs.get(notebook)
        for dataset, keys in PHOTOGRAPHED.items():
            if theirs is None or any(config[dataset][key] != theirs[dataset][key] for key in keys):
                keep &= ~((run.metrics.notebook == notebook) & (run.metrics.dataset == dataset))
    return run.metrics[keep]


def _paired(one: pd.DataFrame, other: pd.DataFrame) -> list[tuple]:
    """The rows of `changes` of one network and test."""
    found = []
    for order in dict.fromkeys(one.order):
        mine, theirs = (rows[rows.order == order] for rows in (one, other))
        alone = [sorted(set(rows.views) - set(against.views)) for rows, against in ((mine, theirs), (theirs, mine))]
        found.append(mine.merge(theirs, on=[*SAMPLE, "views"], suffixes=("", "_other")).assign(told=""))
        if len(alone[0]) == len(alone[1]) == 1:
            (before,), (after,) = alone
            pairs = mine[mine.views == before].merge(theirs[theirs.views == after], on=SAMPLE, suffixes=("", "_other"))
            found.append(pairs.assign(told=f"{before} -> {after}"))
    rows = []
    for told, pairs in pd.concat(found).groupby("told", sort=True):
        difference = pairs.iou_other - pairs.iou
        mean, low, high = interval(difference.to_numpy(), pairs.subject.to_numpy())
        verdict = "better" if low > 0 else "worse" if high < 0 else "open" if (difference != 0).any() else "same"
        photos = told or ", ".join(map(str, sorted(set(pairs.views))))
        orders = ", ".join(dict.fromkeys(pairs.order))
        samples = len(pairs[SAMPLE].drop_duplicates())
        rows.append((photos, orders, pairs.iou.mean(), pairs.iou_other.mean(), mean, low, high, samples, verdict))
    return rows


# ------------------------------------------------------------------------------------------------------- what differs


def settings(runs: Sequence[Result]) -> pd.DataFrame:
    """What the runs' notebooks were told, and where they ran, as far as that differs: a row a setting, a column a run.

    One that differs in the same way in every notebook has one row.
    """
    shared = [name for name in runs[0].manifests if all(name in run.manifests for run in runs)]
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for notebook in shared:
        told = [_told(run, notebook) for run in runs]
        for key in dict.fromkeys(key for facts in told for key in facts):
            values = tuple(facts.get(key, "–") for facts in told)
            if len(set(values)) > 1:
                rows.setdefault((key, values), []).append(notebook[:2])
    table = [(key, "all" if len(at) == len(shared) else ", ".join(at), *values) for (key, values), at in rows.items()]
    ran = tuple(", ".join(name[:2] for name in run.manifests) for run in runs)
    if len(set(ran)) > 1:
        table.insert(0, ("notebooks that ran", "", *ran))
    for key, unit in (("seconds", 60.0), ("peak_memory_gib", 1.0)):
        name, join = ("minutes", sum) if key == "seconds" else ("peak memory [GiB]", max)
        spent = (join(run.manifests[notebook][key] for notebook in shared) / unit for run in runs)
        table.append((name, "together", *(f"{value:.1f}" for value in spent))) if shared else None
    return pd.DataFrame(table, columns=["setting", "notebooks", *(run.name for run in runs)])


def _told(run: Result, notebook: str) -> dict[str, str]:
    manifest = run.manifests[notebook]
    facts = {**manifest["parameters"], **_flat(run.configs[notebook]), **{key: manifest[key] for key in PLACES}}
    return {key: str(value) for key, value in facts.items()}


def _flat(config: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat


# ------------------------------------------------------------------------------------------------------------ telling


def _verdicts(rows: pd.DataFrame) -> str:
    counts = rows.verdict.value_counts()
    words = {"better": "better", "worse": "worse", "open": "not told apart", "same": "the same in every number"}
    return ", ".join(f"{counts.get(verdict, 0)} {word}" for verdict, word in words.items())


def _readable(rows: pd.DataFrame) -> pd.DataFrame:
    """`changes` as cells, those that stand out first."""
    weight = rows.verdict.map({"better": 0, "worse": 0, "open": 1, "same": 2})
    rows = rows.assign(weight=weight, size=-rows.difference.abs()).sort_values(["weight", "size"], kind="stable")
    network = rows.model + rows.variant.map(lambda variant: "" if variant == "main" else f", {variant}")
    change = [
        "0" if row.verdict == "same" else f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        for row in rows.itertuples()
    ]
    return pd.DataFrame(
        {
            "notebook": rows.notebook.str[:2],
            "network": network,
            "trained on": rows.training,
            "tested on": rows.dataset.where(rows.dataset == rows.look, rows.dataset + ", " + rows.look),
            "photos": rows.photos,
            "before": rows.one.map("{:.3f}".format),
            "after": rows.other.map("{:.3f}".format),
            "difference": change,
            "": rows.verdict.map({"better": "better", "worse": "worse", "open": "", "same": "same"}),
        }
    )


def _aligned(cells: pd.DataFrame) -> str:
    return cells.map(lambda cell: cell if len(cell) <= 40 else cell[:39] + "…").to_string(index=False, justify="left")


def _text(first: str, name: str, rows: pd.DataFrame, reasons: Sequence[str]) -> str:
    lines = [f"{name} against {first}: {_verdicts(rows)}", *(f"  not compared: {reason}" for reason in reasons)]
    if len(rows):
        lines.append(_aligned(_readable(rows).head(SHOWN)))
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more; --out FILE writes all of them")
    return "\n".join(lines)


def _page(
    first: Result,
    others: Sequence[Result],
    differing: pd.DataFrame,
    found: dict[str, pd.DataFrame],
    reasons: dict[str, list[str]],
) -> str:
    counts = pd.DataFrame(
        [
            {
                "run": other.name,
                **{
                    word: int((found[other.name].verdict == word).sum()) for word in ("better", "worse", "open", "same")
                },
                "tests": len(found[other.name]),
            }
            for other in others
        ]
    )
    note = (
        f"The first run, {first.name}, is what the others are compared with: IoU on the same samples, each run at the "
        "thresholds that its validation chose; 95 % intervals over people. Better and worse are those whose interval "
        "holds no zero; of a hundred tests between equals about five would look so by chance. A row is the mean over "
        "the numbers of photos and orders that both runs have; 4 → 8 compares one number with the other."
    )
    caption = "Tests in both runs: how many got better or worse, are open (the interval holds zero) or the same"
    head = f"<p>{escape(note)}</p>\n{table(counts, caption)}"
    caption = "What differs between the runs; a setting that is not here is the same in all"
    sections = [f"<section><h2>What differs</h2>\n{table(differing, caption)}</section>"]
    for other in others:
        sections.append(_section(first.name, other.name, found[other.name], reasons[other.name]))
    names = ", ".join(run.name for run in (first, *others))
    return page(f"Runs side by side: {names}", head, "\n".join(sections))


def _section(first: str, name: str, rows: pd.DataFrame, reasons: Sequence[str]) -> str:
    warned = "".join(f'<p class="banner" role="note">Not compared: {escape(reason)}.</p>' for reason in reasons)
    body = ""
    if len(rows):
        cells = _readable(rows).map(lambda cell: cell.replace("->", "→"))
        body = table(cells, f"IoU in {first} (before) and in {name} (after); those that stand out first")
    return (
        f"<section><h2>{escape(name)} against {escape(first)}</h2>{warned}\n<p>{_verdicts(rows)}.</p>\n{body}</section>"
    )
