"""Comparison of runs: what became better or worse from the first to each of the others, and which settings differ.

IoU is compared test by test: the same network on the same photos of the same people or objects, at the threshold that
each run selected on validation, with intervals over people alone: they do not know how much another seed would change.
Runs on different test data are not compared, and the output says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import escape

from p2vlib.files import write_text
from p2vlib.provenance import home
from p2vtools.study import metrics_csv
from p2vtools.study.intervals import bootstrap_interval
from p2vtools.study.notebook_run import SMOKE_NOTE, manifests, read_config
from p2vtools.study.parameters import default_parameters, notebook_number
from p2vtools.study.report.html import interval_svg, render, table

TEST = ["notebook", "model", "variant", "training", "dataset", "look", "cameras", "placement"]
"""A row of the comparison: a network as it was trained, and its test."""

SAMPLE = ["taxonomy", "subject", "sample"]

TEST_DATA = {
    "feet": ("test_seed", "views", "studio_samples", "phone_samples"),
    "objects": ("test_seed", "views", "samples"),
}
"""The settings that determine the test photos of a data set; if they differ, equal sample names are other photos."""

MIN_SUBJECTS = 5
"""People or objects that an interval needs for a verdict."""

MAX_ROWS, MAX_WIDTH = 20, 48
"""Rows of a table in the terminal, and characters of its cells."""

VERDICTS = {"better": "better", "worse": "worse", "open": "open", "same": "the same"}


@dataclass(frozen=True, eq=False)
class Result:
    """What a run left in its folder."""

    name: str
    metrics: pd.DataFrame
    """At the selected thresholds."""
    manifests: dict[str, dict[str, Any]]
    """By notebook, like ``configs``."""
    configs: dict[str, dict[str, Any]]

    @property
    def scale(self) -> str:
        return next(iter(self.configs.values()))["scale"]


def compare(folders: Sequence[Path], out: Path | None = None) -> str:
    """Compares the first of ``folders`` (``reports/quick``, or a run of a sweep) with each other one; returns a text.

    Args:
        out: also write the comparison to this file, as one self-contained HTML page.

    Raises:
        ValueError: fewer than two runs, a folder without a run, or nothing that can be compared.
    """
    if len(folders) < 2:
        raise ValueError(f"{len(folders)} run to compare; name two or more folders like reports/quick")
    first, *others = runs = read_runs(folders)
    differences = setting_differences(runs)
    changes = {other.name: (iou_changes(first, other), incomparable_reasons(first, other)) for other in others}
    if all(rows.empty for rows, _ in changes.values()):
        why = "; ".join(dict.fromkeys(reason for _, several in changes.values() for reason in several))
        raise ValueError(f"{why or 'no test is in both'}; nothing is left to compare with {first.name}")
    is_smoke = any(run.scale == "smoke" for run in runs)
    if out:
        write_text(out, _page(first.name, differences, changes, "smoke" if is_smoke else ""))
    parts = [_text(first.name, name, *found) for name, found in changes.items()]
    return "\n\n".join([*([SMOKE_NOTE] if is_smoke else []), f"settings that differ\n{_aligned(differences)}", *parts])


def read_runs(folders: Sequence[Path]) -> list[Result]:
    """The runs in ``folders``, named after their folders, or by their paths where two names are equal.

    Raises:
        ValueError: a folder without a run, a broken file, or the same folder twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("one run is given twice")
    names = [folder.resolve().name for folder in folders]
    runs = []
    for name, folder in zip(names, folders, strict=True):
        completed = manifests(folder)
        if not completed or not (folder / "metrics.csv").is_file():
            raise ValueError(
                f"{folder}: holds no run; expected metrics.csv and parts/NN.json, as `p2v study` leaves them"
            )
        rows = metrics_csv.read_metrics(folder / "metrics.csv")
        configs = {part: read_config(folder / "parts" / f"{part}.config.json") for part in completed}
        unique = name if names.count(name) == 1 else str(folder)
        runs.append(Result(unique, rows[rows.selected], completed, configs))
    return runs


def setting_differences(runs: Sequence[Result]) -> pd.DataFrame:
    """The parameters, settings and machines that differ between runs: a row per setting, a column per run.

    A setting that differs in the same way in all notebooks has one row. Time and memory cover the same notebooks.

    Raises:
        ValueError: the runs have no notebook in common.
    """
    shared = [name for name in runs[0].manifests if all(name in run.manifests for run in runs)]
    if not shared:
        raise ValueError("the runs have no notebook in common")
    notebooks_of: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for notebook in shared:
        of_runs = [_settings(run, notebook) for run in runs]
        for key in dict.fromkeys(key for settings in of_runs for key in settings):
            values = tuple(settings.get(key) or _default(notebook, key) for settings in of_runs)
            if len(set(values)) > 1:
                notebooks_of.setdefault((key, values), []).append(notebook_number(notebook))
    rows = [
        (key, "all" if len(numbers) == len(shared) else ", ".join(numbers), *values)
        for (key, values), numbers in notebooks_of.items()
    ]
    completed = tuple(", ".join(map(notebook_number, run.manifests)) for run in runs)
    if len(set(completed)) > 1:
        rows.insert(0, ("notebooks that ran", "", *completed))
    minutes = (sum(run.manifests[notebook]["seconds"] for notebook in shared) / 60 for run in runs)
    memory = (max(run.manifests[notebook]["peak_memory_gib"] for notebook in shared) for run in runs)
    rows.append(("time", "sum", *(f"{value:.1f} min" for value in minutes)))
    rows.append(("peak memory", "maximum", *(f"{value:.1f} GiB" for value in memory)))
    return pd.DataFrame(rows, columns=["setting", "notebooks", *(run.name for run in runs)])


def _settings(run: Result, notebook: str) -> dict[str, str]:
    manifest = run.manifests[notebook]
    parameters = {f"{key} (parameter)": value for key, value in manifest["parameters"].items()}
    machine = {key: manifest[key] for key in ("version", "commit", "torch", "device", "machine")}
    config = pd.json_normalize(run.configs[notebook]).iloc[0].to_dict()
    return {key: str(value) for key, value in {**parameters, **config, **machine}.items()}


def _default(notebook: str, key: str) -> str:
    """The value of a setting that a run does not record: of a parameter, the default of this checkout's notebook."""
    if not key.endswith(" (parameter)"):
        return "not recorded"
    path = home() / "notebooks" / f"{notebook}.ipynb"
    value = default_parameters(path).get(key.removesuffix(" (parameter)")) if path.is_file() else None
    return "default" if value is None else f"{value} (default)"


def _test_data_differences(one: Result, other: Result) -> dict[tuple[str, str], list[str]]:
    """Notebook and data set -> sentences about settings of the test data that differ, for notebooks in both runs."""
    found: dict[tuple[str, str], list[str]] = {}
    for notebook in sorted(set(one.configs) & set(other.configs)):
        for dataset, keys in TEST_DATA.items():
            for key in keys:
                first, second = (run.configs[notebook][dataset].get(key) for run in (one, other))
                if first != second:
                    reason = f"other test data, {dataset}: {key} is {first} in {one.name} and {second} in {other.name}"
                    found.setdefault((notebook, dataset), []).append(reason)
    return found


def incomparable_reasons(one: Result, other: Result) -> list[str]:
    """Why tests of two runs cannot be compared, in sentences; empty if all tests in both can."""
    differences = _test_data_differences(one, other)
    if differences and one.scale != other.scale:
        return [f"different scales: {one.scale} and {other.scale} have other test photos"]
    reasons = [reason for several in differences.values() for reason in several]
    if missing := sorted(set(one.configs) ^ set(other.configs)):
        reasons.append(f"only in one of {one.name} and {other.name}: {', '.join(missing)}")
    return list(dict.fromkeys(reasons))


def iou_changes(one: Result, other: Result) -> pd.DataFrame:
    """The difference in IoU from ``one`` to ``other`` for every network and test in both.

    A row is the mean over the numbers of photos, orders and samples in both. If each run has exactly one number of
    photos that the other lacks, for instance because it was a parameter, the two are compared: ``4 → 8``.

    Columns: `TEST`, photos, orders, one, other (mean IoU), difference, low, high, subjects (people or objects),
    samples, and verdict: ``better``, ``worse``, ``open`` (the interval contains zero, or there are fewer than
    `MIN_SUBJECTS`) or ``same`` (all numbers are equal).
    """
    different = _test_data_differences(one, other)
    theirs, rows = dict(iter(other.metrics.groupby(TEST, sort=False))), []
    for key, mine in one.metrics.groupby(TEST, sort=False):
        notebook, dataset = key[TEST.index("notebook")], key[TEST.index("dataset")]
        if key in theirs and (notebook, dataset) not in different:
            rows += [(*key, *row) for row in _paired_rows(mine, theirs[key])]
    columns = ["photos", "orders", "one", "other", "difference", "low", "high", "subjects", "samples", "verdict"]
    return pd.DataFrame(rows, columns=[*TEST, *columns])


def _paired_rows(one: pd.DataFrame, other: pd.DataFrame) -> list[tuple]:
    """The rows of `iou_changes` of one network and test."""
    pairs = []
    for order in dict.fromkeys(one.order):
        mine, theirs = (rows[rows.order == order] for rows in (one, other))
        extra = [sorted(set(a.views) - set(b.views)) for a, b in ((mine, theirs), (theirs, mine))]
        pairs.append(mine.merge(theirs, on=[*SAMPLE, "views"], suffixes=("", "_other")).assign(change=""))
        if len(extra[0]) == len(extra[1]) == 1:
            (before,), (after,) = extra
            across = mine[mine.views == before].merge(theirs[theirs.views == after], on=SAMPLE, suffixes=("", "_other"))
            pairs.append(across.assign(change=f"{before} → {after}"))
    rows = []
    for change, group in pd.concat(pairs).groupby("change", sort=True):
        difference = group.iou_other - group.iou
        mean, low, high = bootstrap_interval(difference.to_numpy(), group.subject.to_numpy())
        subjects = group.subject.nunique()
        verdict = "open" if (difference != 0).any() else "same"
        if subjects >= MIN_SUBJECTS and low * high > 0:
            verdict = "better" if low > 0 else "worse"
        numbers = sorted(set(group.views))
        gapless = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
        photos = change or (f"{numbers[0]}-{numbers[-1]}" if gapless else ", ".join(map(str, numbers)))
        samples = len(group[SAMPLE].drop_duplicates())
        means = (group.iou.mean(), group.iou_other.mean())
        rows.append(
            (photos, ", ".join(dict.fromkeys(group.order)), *means, mean, low, high, subjects, samples, verdict)
        )
    return rows


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    """Verdicts before open tests before equal ones, each from the largest difference to the smallest."""
    rank = rows.verdict.map({"better": 0, "worse": 0, "open": 1, "same": 2})
    keyed = rows.assign(rank=rank, size=-rows.difference.abs())
    return keyed.sort_values(["rank", "size"], kind="stable").drop(columns=["rank", "size"])


def _counts(rows: pd.DataFrame) -> str:
    counts = rows.verdict.value_counts()
    return ", ".join(f"{counts.get(verdict, 0)} {words}" for verdict, words in VERDICTS.items())


def _cells(rows: pd.DataFrame) -> pd.DataFrame:
    """`iou_changes` as text."""
    few = (rows.verdict == "open") & (rows.subjects < MIN_SUBJECTS)
    variant = rows.variant.map(lambda variant: "" if variant == "main" else f", {variant}")
    return pd.DataFrame(
        {
            "notebook, network": rows.notebook.map(notebook_number) + " " + rows.model + variant,
            "verdict": rows.verdict.where(~few, "open, few"),
            "difference": [_difference(row) for row in rows.itertuples()],
            "mean IoU": rows.one.map("{:.3f}".format) + rows.other.map(" → {:.3f}".format),
            "trained → tested on": rows.training + " → " + rows.look + " " + rows.dataset,
            "photos": rows.photos,
            "subjects": rows.subjects.astype(str),
        }
    )


def _difference(row: Any) -> str:
    """A difference with its interval, to three decimals, or up to five where three would show zero."""
    values = [value for value in (row.difference, row.low, row.high) if value]
    places = next((places for places in (3, 4) if all(round(value, places) for value in values)), 5)
    change, low, high = (f"{value:+.{places}f}" for value in (row.difference, row.low, row.high))
    return f"{change} [{low}, {high}]" if values else "0"


def _text(first: str, name: str, rows: pd.DataFrame, reasons: Sequence[str]) -> str:
    """One run against the first, for the terminal: counts of the verdicts, reasons, and the largest changes."""
    counts = f"{_counts(rows)}; intervals over people, not over trainings"
    lines = [f"{name} against {first}: {counts}", *(f"  not compared: {reason}" for reason in reasons)]
    if (rows.verdict == "open").any():
        lines.append(f"  open: the interval contains zero, or fewer than {MIN_SUBJECTS} people or objects (few)")
    if len(rows):
        lines.append(_aligned(_cells(_sorted(rows).head(MAX_ROWS))))
    if len(rows) > MAX_ROWS:
        lines.append(f"and {len(rows) - MAX_ROWS} more; --out FILE writes all of them")
    return "\n".join(lines)


def _aligned(cells: pd.DataFrame) -> str:
    """A table of text with left-aligned columns."""
    short = cells.map(lambda cell: cell if len(cell) <= MAX_WIDTH else cell[: MAX_WIDTH - 1] + "…")
    rows = [list(map(str, short.columns)), *short.itertuples(index=False, name=None)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _page(
    first: str, differences: pd.DataFrame, changes: Mapping[str, tuple[pd.DataFrame, list[str]]], scale: str
) -> str:
    """The comparison as a page: counts, settings, and each run against the first with its intervals drawn.

    Args:
        changes: name of a run -> `iou_changes` and `incomparable_reasons`.
    """
    counts = [
        {"run": name, **{verdict: (rows.verdict == verdict).sum() for verdict in VERDICTS}}
        for name, (rows, _) in changes.items()
    ]
    note = (
        f"The other runs are compared with the first, {first}: IoU on the same samples, at the thresholds that each "
        "run selected on validation; 95 % intervals over people or objects. A change is better or worse if its "
        f"interval does not contain zero; otherwise it is open, as are all with fewer than {MIN_SUBJECTS} people "
        "(few). Of a hundred tests without a true change about five look better or worse by chance, and more where "
        "networks were trained again: another seed alone changes the IoU, and intervals are not over seeds. A row is "
        "the mean over numbers of photos and orders in both runs; 4\u00a0→\u00a08 compares different numbers of photos."
    )
    names = ", ".join(changes) if len(changes) < 4 else f"{len(changes)} runs"
    sections = [
        {"title": "Verdicts", "tables": [table(pd.DataFrame(counts), "Number of tests in both runs, by verdict")]},
        {"title": "Settings that differ", "tables": [table(differences, "All other settings are the same")]},
    ]
    for name, (rows, reasons) in changes.items():
        caption = f"IoU in {first} → in {name}; the largest changes first. Intervals are drawn around zero"
        section = {"title": f"{name} against {first}", "banners": [f"Not compared: {one}." for one in reasons]}
        if len(rows):
            section |= {"html": f"{_counts(rows)}.", "tables": [table(_drawn_cells(_sorted(rows)), caption)]}
        sections.append(section)
    return render(f"Comparison of runs: {first} and {names}", scale=scale, notes=[note], sections=sections)


def _drawn_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """`_cells` with each difference drawn next to its numbers, all on one scale."""
    cells = _cells(rows)
    reach = 1.1 * float(rows[["low", "high", "difference"]].abs().to_numpy().max()) or 1.0
    cells["difference"] = [
        interval_svg(row.difference, row.low, row.high, (-reach, reach), {"rail": 0.0}, row.verdict) + escape(text)
        if row.verdict != "same"
        else text
        for row, text in zip(rows.itertuples(), cells["difference"], strict=True)
    ]
    return cells
