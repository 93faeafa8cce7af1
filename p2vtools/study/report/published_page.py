"""The slides' and papers' own numbers, as a page of tables."""

from __future__ import annotations

import pandas as pd

from p2vtools.study.report.markup import Navigation, page, table
from p2vtools.study.report.numbers import published_results

NOTE = (
    "For comparison only: these networks were trained on 30,643 ShapeNet objects and tested on 8,770; this study's "
    "objects are generated, unless a notebook says that it was run on the archive. The slides' feet are 20 phone "
    "scans, four photos each."
)


def slides_page(way: Navigation) -> str:
    """The published numbers that the notebooks are held against."""
    numbers = published_results()
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
    return page("Published numbers", way.bar(), "\n".join(["<h1>Published numbers</h1>", f"<p>{NOTE}</p>", *tables]))


def _wide(rows: pd.DataFrame, index: list[str], column: str) -> pd.DataFrame:
    """``value`` spread over the values of ``column``, rows in the order in which they come."""
    keys = rows[index].drop_duplicates()
    wide = rows.pivot(index=index, columns=column, values="value").fillna("").reset_index()
    wide.columns.name = None
    return keys.merge(wide, "left", index)
