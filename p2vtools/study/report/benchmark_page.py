"""What `evaluate` found, as a page in the look of the study's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from p2vlib.files import write_text
from p2vtools.fit.measure import HALF_SIZE
from p2vtools.study.benchmark import summary
from p2vtools.study.report.findings import Beside, Finding, shown
from p2vtools.study.report.markup import Navigation, facts, link, page, prose, table
from p2vtools.study.report.size_limits import check_sizes

TITLE = "From a phone to a shoe size, evaluated"


def build_evaluation(folder: Path | None = None) -> Path:
    """Writes ``index.html`` beside the rows of an evaluation, the one that is kept unless told; returns it.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = folder or summary.folder()
    rows = summary.read(folder)
    told = summary.told(rows)
    tables = [table(_cells(one), title.replace("^3", "³")) for title, one in told.items()]
    files = ", ".join(link(f"{part}.csv") for part in summary.PARTS)
    readme = (folder / "README.md").read_text().split("\n\n")
    articles = "".join(shown(finding) for finding in [*_lengths(rows["fits"]), _cleaned(told["Scans cleaned"])])
    note = f"Medians with 95 % intervals over people (bands). Upright: half an English size, {HALF_SIZE:.1f} mm."
    parts = [
        f'<h1>{TITLE}</h1><div class="lead">{prose(readme[1])}</div>',
        f'<section class="findings" aria-label="The numbers that matter">{articles}</section>',
        f'<p class="soft">{note}</p>',
        "<p>People, feet, photos and scans are synthetic, and none of these people was learnt from. The slides give no "
        "length and no size.</p>",
        *["<h2>Tables</h2>", *tables],
        f"<h2>Files</h2>{facts({'Rows': files, 'Tables': link('README.md', 'the same in Markdown')})}",
    ]
    write_text(folder / "index.html", page(TITLE, Navigation(None, None, None).bar(), "\n".join(parts)))
    check_sizes(folder)
    return folder / "index.html"


def _cells(kept: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """A table with its index as columns, numbers to two places, and nothing where there is none."""
    return kept.round(2).reset_index().convert_dtypes().astype(object).fillna("")


def _lengths(fits: pd.DataFrame) -> Iterator[Finding]:
    """The length from photos on a mat and from a scan."""
    lengths = fits[fits.measure == "length"]
    most = lengths[lengths.views == lengths.views.max()]
    exact, right = most[most.way == "exact"], summary.sizes_right(fits)["within a half"]
    half = Beside("half an English size", HALF_SIZE, f"{HALF_SIZE:.1f} mm", "guess")
    for way, part in {"mat": most[most.way == "mat"], "scan": lengths[lengths.way == "scan"]}.items():
        if part.found.isna().all():
            continue
        views = part.views.iloc[0]
        beside = [half, Beside("size right within a half", np.nan, f"{right[way, views]:.0f} % of people")]
        if way == "mat" and exact.found.notna().any():
            beside.insert(0, Beside("with true cameras", np.nan, "{:.1f} [{:.1f}, {:.1f}] mm".format(*_off(exact))))
        what = f"{views} photos on a mat" if way == "mat" else "a scan that was cleaned"
        note = f"From {what}: {part.found.notna().sum()} of {len(part)} people were found."
        title = f"Length is off by, from {'photos' if way == 'mat' else 'a scan'}"
        yield Finding(title, *_off(part), tuple(beside), note, ".1f", " mm")


def _cleaned(scans: pd.DataFrame) -> Finding:
    """What is left of a shape when scans are cleaned; ``scans`` as `summary.told` has them."""
    of_all = scans.loc["all"].set_index("measure")
    median, worst = of_all.loc["IoU at 64, median"], of_all.loc["IoU at 64, 5th percentile"]
    beside = (
        Beside("side right", np.nan, f"{of_all.value['side right, share']:.0%}"),
        Beside("one in twenty below", np.nan, f"{worst.value:.3f} [{worst.low:.3f}, {worst.high:.3f}]"),
    )
    note = f"{median.scans:.0f} scans made worse on purpose: floors, holes, noise, legs, any unit and direction."
    return Finding("IoU of cleaned scans", median.value, median.low, median.high, beside, note)


def _off(part: pd.DataFrame) -> tuple[float, float, float]:
    """The median of what lengths are off, and its 95 % bootstrap interval over people, mm."""
    from scipy.stats import bootstrap

    off = (part.found - part.truth).abs().dropna().to_numpy()
    if len(off) < 2:
        return (float(off[0]),) * 3
    told = bootstrap((off,), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    return float(np.median(off)), *map(float, told.confidence_interval)
