"""The results of `p2v evaluate` as a page in the style of the study's report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from p2vlib.files import write_text
from p2vtools.fit.measure import HALF_SIZE
from p2vtools.study.benchmark import summary
from p2vtools.study.report.findings import Finding, Reference
from p2vtools.study.report.html import check_sizes, prose, render, table

TITLE = "From a phone to a shoe size, evaluated"

NOTE = (
    f"Medians with 95 % intervals over people (bands). Solid line: half an English size, {HALF_SIZE:.1f} mm. "
    "People, feet, photos and scans are synthetic, and no system was trained on these people. The slides give no "
    "length and no size."
)


def build_evaluation(folder: Path | None = None) -> Path:
    """Writes ``index.html`` to the folder of an evaluation (default: the committed one); returns it.

    Raises:
        FileNotFoundError: the folder holds no evaluation.
    """
    folder = folder or summary.benchmark_folder()
    rows = summary.read_rows(folder)
    tables = summary.summary_tables(rows)
    introduction = (folder / "README.md").read_text("utf-8").split("\n\n")[1]
    page = render(
        TITLE,
        lead=prose(introduction),
        findings=[*_lengths(rows["fits"]), _cleaned_scans(tables["Scans cleaned"])],
        findings_note=NOTE,
        sections=[
            {
                "title": "Tables",
                "tables": [table(_cells(rows), title.replace("^3", "³")) for title, rows in tables.items()],
                "links": [(f"{part}.csv", f"{part}.csv") for part in summary.PARTS]
                + [("README.md", "all in Markdown")],
            }
        ],
    )
    write_text(folder / "index.html", page)
    check_sizes(folder)
    return folder / "index.html"


def _cells(rows: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """A table with its index as columns, numbers to two places, and empty cells for missing numbers."""
    return rows.round(2).reset_index().convert_dtypes().astype(object).fillna("")


def _lengths(fits: pd.DataFrame) -> Iterator[Finding]:
    """The error of the length from photos on a mat and from a scan."""
    lengths = fits[fits.measure == "length"].assign(found=summary.reported)
    most = lengths[lengths.views == lengths.views.max()]
    exact, right = most[most.way == "exact"], summary.size_table(fits)["within a half"]
    half = Reference("half an English size", HALF_SIZE, f"{HALF_SIZE:.1f} mm", "guess")
    for way, part in {"mat": most[most.way == "mat"], "scan": lengths[lengths.way == "scan"]}.items():
        if part.found.isna().all():
            continue
        views = part.views.iloc[0]
        references = [half, Reference("size right within a half", np.nan, f"{right[way, views]:.0f} % of people")]
        if way == "mat" and exact.found.notna().any():
            text = "{:.1f} [{:.1f}, {:.1f}] mm".format(*_median_error(exact))
            references.insert(0, Reference("with true cameras", np.nan, text))
        source = f"{views} photos on a mat" if way == "mat" else "a cleaned scan"
        note = f"From {source}: {part.found.notna().sum()} of {len(part)} people have a usable result."
        title = f"Error of the length from {'photos' if way == 'mat' else 'a scan'}"
        yield Finding(title, *_median_error(part), tuple(references), note, ".1f", " mm")


def _cleaned_scans(scans: pd.DataFrame) -> Finding:
    """The IoU of cleaned scans with their true shapes; ``scans`` as `summary` returns them."""
    values = scans.loc["all"].set_index("measure")
    median, worst = values.loc["IoU at 64, median"], values.loc["IoU at 64, 5th percentile"]
    references = (
        Reference("side right", np.nan, f"{values.value['side right, share']:.0%}"),
        Reference("5th percentile", np.nan, f"{worst.value:.3f} [{worst.low:.3f}, {worst.high:.3f}]"),
    )
    note = f"{median.scans:.0f} degraded scans: floors, holes, noise, legs, any unit and orientation."
    return Finding("IoU of cleaned scans", median.value, median.low, median.high, references, note)


def _median_error(part: pd.DataFrame) -> tuple[float, float, float]:
    """The median absolute error of lengths with its 95 % bootstrap interval over people, mm."""
    errors = (part.found - part.truth).abs().dropna().to_numpy()
    if len(errors) < 2:
        return (float(errors[0]),) * 3
    result = bootstrap((errors,), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    return float(np.median(errors)), *map(float, result.confidence_interval)
