"""Tables of the benchmark, computed from its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from p2vlib.provenance import home
from p2vtools.fit.measure import HALF_SIZE
from p2vtools.study.benchmark.scans import scan_table

MIN_BOARD_SHARE = 0.30
"""Share of the board from which a photo is expected to be solved."""

PARTS = ("photos", "fits", "scans", "meshes")
"""Names of the CSV files of rows."""


def benchmark_folder() -> Path:
    """The folder of the committed benchmark."""
    return home() / "reports" / "evaluate"


def read_rows(folder: Path | None = None) -> dict[str, pd.DataFrame]:
    """Reads the rows of a benchmark, by default of the committed one.

    Raises:
        FileNotFoundError: a file is missing.
    """
    folder = folder or benchmark_folder()
    for part in PARTS:
        if not (folder / f"{part}.csv").is_file():
            raise FileNotFoundError(f"{folder / part}.csv: missing; run `make evaluate`")
    tables = {part: pd.read_csv(folder / f"{part}.csv", dtype={"refused": str}) for part in PARTS}
    return {part: table.fillna({"refused": ""}) for part, table in tables.items()}  # empty: the scan was not refused


def pose_table(photos: pd.DataFrame) -> pd.DataFrame:
    """Errors of the cameras that the mat or the sheet gives, by the visible share of the board and by paper."""
    is_plain = photos.mat.str.startswith("plain")
    photos, plain = photos[~is_plain], photos[is_plain]
    bands = [0, MIN_BOARD_SHARE, 0.5, 0.7, np.inf]
    bands = pd.cut(photos.board, bands, labels=["under 30 %", "30-50 %", "50-70 %", "over 70 %"], right=False)
    enough = photos[photos.board >= MIN_BOARD_SHARE]
    parts = {"30 % and more": enough, **dict(iter(photos.groupby(bands, observed=True)))}
    parts |= {f"30 % and more, paper {paper}": part for paper, part in enough.groupby("mat")}
    parts |= {"no board: plain sheets": plain, **{f"a {paper} sheet": part for paper, part in plain.groupby("mat")}}
    rows = {
        name: {
            "photos": len(part),
            "solved, %": 100 * part.solved.mean(),
            "centre, median mm": part.mm.median(),
            "centre, 95th percentile mm": part.mm.quantile(0.95),
            "rotation, median degrees": part.degrees.median(),
            "rotation, 95th percentile degrees": part.degrees.quantile(0.95),
            "focal length, largest error %": 100 * part.focal.abs().max(),
        }
        for name, part in parts.items()
        if len(part)
    }
    return pd.DataFrame(rows).T.rename_axis("board in the picture")


def error_table(fits: pd.DataFrame, by: tuple[str, ...]) -> pd.DataFrame:
    """Bias, median and 95th percentile of the absolute error of measures that were reported, mm."""
    errors = (reported(fits) - fits.truth).groupby([fits[name] for name in by])
    return pd.DataFrame(
        {
            "feet": errors.count(),
            "bias": errors.mean(),
            "median": errors.apply(lambda part: part.abs().median()),
            "95th percentile": errors.apply(lambda part: part.abs().quantile(0.95)),
        }
    )


def reported(fits: pd.DataFrame) -> pd.Series:
    """The measures, mm; NaN where the command reports none, because the foot was not found or is not usable."""
    return fits.found.where(fits.verdict != "not usable") if "verdict" in fits else fits.found


def size_table(fits: pd.DataFrame) -> pd.DataFrame:
    """Percentage of people with the right English size, within half a size and within one, by way and photos.

    English half sizes are a sixth of an inch apart. A size is right when the true and the measured length are nearest
    to the same half size; people without a result count as wrong. The columns after ``not usable`` are about the people
    whose result was judged *good*; they are missing for scans, which have no verdict.
    """
    lengths = fits[fits.measure == "length"]
    found, is_good = reported(lengths), lengths.verdict == "good"
    halves = np.abs(np.round(found / HALF_SIZE) - np.round(lengths.truth / HALF_SIZE))
    correct = {
        "right": halves == 0,
        "within a half": halves <= 1,
        "within one": halves <= 2,
        "not usable": found.isna(),
    }
    correct |= {"good": is_good.where(lengths.verdict.notna()).astype(float)}
    correct |= {f"{title}, of good": (correct[title] * 1.0).where(is_good) for title in ("right", "within a half")}
    return 100 * pd.DataFrame(correct).groupby([lengths.way, lengths.views]).mean()


def interval_coverage(fits: pd.DataFrame) -> pd.Series:
    """Share of measures that were reported whose error is inside their interval, by way and measure."""
    fits = fits[fits.within.notna() & reported(fits).notna()]
    return ((fits.found - fits.truth).abs() <= fits.within).groupby([fits.way, fits.measure]).mean().rename("inside")


def summary_tables(rows: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame | pd.Series]:
    """All tables of a benchmark by title."""
    fits = rows["fits"]
    lengths, most = fits[fits.measure == "length"], fits[fits.views.isin([0, fits.views.max()])]
    overlaps = lengths[lengths.views > 0].groupby(["way", "views"]).iou
    return {
        "Cameras of photos on a mat or a sheet": pose_table(rows["photos"]),
        "Length by capture way and number of photos (0: a scan), mm": error_table(lengths, ("way", "views")),
        "Every measure, from most photos and from scans, mm": error_table(most, ("way", "measure")),
        "English size right, result not usable, judged good, % of people": size_table(fits),
        "Coverage of the intervals, %": 100 * interval_coverage(most),
        "IoU at 32^3 from photos, placement found": overlaps.agg(["mean", "median", "min"]),
        "Measures of true shapes, mm": error_table(rows["meshes"], ("measure",)),
        "Scans cleaned": scan_table(rows["scans"]).set_index("of"),
    }
