"""What the rows of an evaluation say, in tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from p2vlib.provenance import home
from p2vtools.fit.measure import HALF_SIZE
from p2vtools.study.benchmark.scans import scan_table

MIN_BOARD_SHARE = 0.30
"""The share of the board from which a photo is expected to be solved."""

PARTS = ("photos", "fits", "scans", "meshes")
"""Tables of rows that an evaluation writes, each a CSV."""


def benchmark_folder() -> Path:
    """Where the evaluation of all cases is kept."""
    return home() / "reports" / "evaluate"


def read_rows(kept: Path | None = None) -> dict[str, pd.DataFrame]:
    """The rows of an evaluation: of the one that is kept, unless ``kept`` is the folder of another.

    Raises:
        FileNotFoundError: there is none.
    """
    kept = kept or benchmark_folder()
    for part in PARTS:
        if not (kept / f"{part}.csv").is_file():
            raise FileNotFoundError(f"{kept / part}.csv: missing; `make evaluate` makes it")
    rows = {part: pd.read_csv(kept / f"{part}.csv", dtype={"refused": str}) for part in PARTS}
    # No reason is an answer, not a missing number: such a scan was not refused.
    return {part: table.fillna({"refused": ""}) for part, table in rows.items()}


def pose_table(photos: pd.DataFrame) -> pd.DataFrame:
    """How well the mat tells where photos were taken from, by how much of the board they show and on which paper."""
    bands = pd.cut(
        photos.board, [0, MIN_BOARD_SHARE, 0.5, 0.7, 1.0], labels=["under 30 %", "30-50 %", "50-70 %", "over 70 %"]
    )
    enough = photos[photos.board >= MIN_BOARD_SHARE]
    parts = {"30 % and more": enough, **dict(iter(photos.groupby(bands, observed=True)))}
    parts |= {f"30 % and more, paper {paper}": part for paper, part in enough.groupby("mat")}
    rows = {}
    for name, part in parts.items():
        if len(part):
            rows[name] = {
                "photos": len(part),
                "solved, %": 100 * part.solved.mean(),
                "centre, median mm": part.mm.median(),
                "centre, 95th percentile mm": part.mm.quantile(0.95),
                "rotation, median degrees": part.degrees.median(),
                "rotation, 95th percentile degrees": part.degrees.quantile(0.95),
                "focal length, largest error %": 100 * part.focal.abs().max(),
            }
    return pd.DataFrame(rows).T.rename_axis("board in the picture")


def error_table(fits: pd.DataFrame, by: tuple[str, ...]) -> pd.DataFrame:
    """Bias, median and 95th percentile of what measures are off, mm."""
    off = (fits.found - fits.truth).groupby([fits[name] for name in by])
    return pd.DataFrame(
        {
            "people": off.count(),
            "bias": off.mean(),
            "median": off.apply(lambda part: part.abs().median()),
            "95th percentile": off.apply(lambda part: part.abs().quantile(0.95)),
        }
    )


def size_table(fits: pd.DataFrame) -> pd.DataFrame:
    """Share of people whose size is right, within half a size and within one, by way and number of photos.

    Sizes are English: a third of an inch, in halves. A size is right where the true and the found length are nearest
    to the same half.
    """
    long = fits[fits.measure == "length"]
    halves = np.abs(np.round(long.found / HALF_SIZE) - np.round(long.truth / HALF_SIZE))
    near = {"right": halves == 0, "within a half": halves <= 1, "within one": halves <= 2}
    return 100 * pd.DataFrame(near).groupby([long.way, long.views]).mean()


def summary_tables(rows: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Every table of an evaluation, by its title."""
    fits = rows["fits"]
    lengths, most = fits[fits.measure == "length"], fits[fits.views.isin([0, fits.views.max()])]
    ious = lengths[lengths.views > 0]
    return {
        "Where photos on a mat were taken from": pose_table(rows["photos"]),
        "Length by capture way and number of photos (0: a scan), mm": error_table(lengths, ("way", "views")),
        "Every measure, from most photos and from scans, mm": error_table(most, ("way", "measure")),
        "English size right, % of people": size_table(fits),
        "Inside the interval that was told, %": 100 * interval_coverage(most),
        "IoU at 32^3 from photos, placed as found": ious.groupby(["way", "views"]).iou.agg(["mean", "median", "min"]),
        "Measuring true shapes, mm": error_table(rows["meshes"], ("measure",)),
        "Scans cleaned": scan_table(rows["scans"]).set_index("of"),
    }


def interval_coverage(fits: pd.DataFrame) -> pd.Series:
    """Share of measures that lie inside the interval that they were told with, by way and measure."""
    told = fits[fits.within.notna() & fits.found.notna()]
    return ((told.found - told.truth).abs() <= told.within).groupby([told.way, told.measure]).mean().rename("inside")
