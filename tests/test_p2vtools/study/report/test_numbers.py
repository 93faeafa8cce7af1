import json
from pathlib import Path

import pandas as pd
import pytest

from p2vlib.geometry.frames import FOOT_SYNSET
from p2vtools.study import report
from p2vtools.study.metrics_csv import format_metrics
from p2vtools.study.notebook_run import begin
from p2vtools.synthesis.objects import FAMILIES
from tests.pages import metrics


def value(**where) -> float:
    rows = report.published_results()
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1, where
    return float(rows["value"].iloc[0])


def test_numbers_of_the_slides_and_of_papers():
    slides = {"source": "slides 2021", "metric": "iou"}
    assert value(**slides, model="Pix2Vox-A", taxonomy="foot", threshold=0.4) == 0.2923
    assert value(**slides, model="Pix2Vox-LSTM", taxonomy="foot", threshold=0.4) == 0.3225
    assert value(**slides, model="Pix2Vox-LSTM", taxonomy="overall", threshold=0.2) == 0.5852
    assert value(**slides, model="Pix2Vox-A", taxonomy="overall", threshold=0.3) == 0.6607
    assert value(**slides, model="Pix2Vox-A", taxonomy="chair", threshold=0.3) == 0.5666
    assert value(**slides, model="Pix2Vox++/A", training="things3d-chairs") == 0.269
    papers = {"source": "papers, by views"}
    assert value(**papers, model="LRGT+", views=20, metric="iou") == 0.7922
    assert value(**papers, model="3D-R2N2", views=3, metric="f-score@1%") == 0.372
    assert value(source="papers, single view", model="Pix2Vox-F", taxonomy="telephone") == 0.77
    table = report.published_results()
    slides = table[(table["source"] == "slides 2021") & (table["dataset"] == "shapenet")]
    samples = slides[slides["metric"] == "samples"].set_index("taxonomy")["value"]
    assert len(samples) == 13 and samples.sum() == 8770
    at = slides[(slides["model"] == "Pix2Vox-A") & (slides["threshold"] == 0.3)].set_index("taxonomy")["value"]
    overall = ((at * samples).sum() + 20 * 0.2824) / 8790
    # The slides' own row (.6607) is not the exact weighted mean of the rows above it (.6601).
    assert overall == pytest.approx(0.6607, abs=0.001)


def test_the_taxonomy_names_the_embedded_categories():
    entries = json.loads((report.numbers.TAXONOMY).read_text())
    names = {entry["taxonomy_id"]: entry["taxonomy_name"] for entry in entries}
    assert names == {**{synset: family.name for synset, family in FAMILIES.items()}, FOOT_SYNSET: "foot"}
    baseline = {entry["taxonomy_name"]: entry["baseline"] for entry in entries}
    assert baseline["chair"] == 0.466 and baseline["foot"] is None
    ids = report.published_results().set_index("taxonomy")["taxonomy_id"]
    assert set(ids["chair"]) == {"03001627"} and set(ids["foot"]) == {"05563266"} and set(ids["overall"]) == {"overall"}


def committed_run(home: Path) -> None:
    rows = [metrics(subject=s, sample=s, iou=iou, views=v) for v in (1, 4) for s, iou in (("a", 0.5), ("b", 0.7))]
    rows.append(metrics(subject="a", sample="a", iou=0.1, threshold=0.2, selected=False))
    rows.append(metrics(notebook="04", subject="a", sample="a", iou=0.2))
    path = home / "reports" / "quick" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(format_metrics(pd.concat(rows)))


def test_a_smoke_run_shows_the_committed_numbers_next_to_its_own(home: Path):
    summary = pd.DataFrame({"model": ["pix2vox-f-narrow", "new"], "views": 4, "iou": 0.3, "low": 0.2, "high": 0.4})
    assert report.committed_metrics() is None
    run = begin("03", scale="smoke")
    assert report.with_committed(summary, run) is summary, "in a fresh checkout"
    committed_run(home)
    merged = report.with_committed(summary, run)
    assert list(merged) == [*summary, "quick iou", "quick low", "quick high"]
    assert merged["quick iou"][0] == pytest.approx(0.6) and merged["quick low"][0] == pytest.approx(0.5)
    assert pd.isna(merged["quick iou"][1])
    assert report.with_committed(summary, begin("03", scale="quick")) is summary
    by_model = summary.drop(columns="views")
    assert report.with_committed(by_model, run, views=[8])["quick iou"].isna().all()
    assert report.with_committed(by_model, run, views=4)["quick iou"][0] == pytest.approx(0.6)
