"""The study's comparison tables, from rows of metrics made by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from p2vtools.study import tables


def rows(model: str, iou: list[float], **facts: object) -> pd.DataFrame:
    frame = pd.DataFrame({"iou": iou, "sample": [f"s{i}" for i in range(len(iou))], "subject": [*range(len(iou))]})
    told = dict(variant="main", training="feet-phone", dataset="feet", look="phone", taxonomy="05563266", views=4)
    return frame.assign(model=model, **{**told, "order": "clockwise", "threshold": 0.4, "selected": True, **facts})


def test_the_slides_table_stands_beside_the_published_numbers():
    own = [rows("net", [0.5, 0.7], threshold=t, selected=t == 0.4, taxonomy="03001627") for t in (0.2, 0.3, 0.4, 0.5)]
    mean = rows("mean-shape", [0.3, 0.4], taxonomy="03001627")
    table = tables.slide_table(pd.concat([*own, mean]), "net").set_index("category")
    assert table.loc["chair", "t=0.30"] == pytest.approx(0.6) and table.loc["chair", "mean shape"] == pytest.approx(
        0.35
    )
    assert table.loc["chair", "slides t=0.30"] == 0.5666 and table.loc["chair", "3D-R2N2 (published)"] == 0.466
    assert table.loc["overall", "#sample"] == 2


def test_categories_against_their_mean_shape():
    table = tables.category_table(pd.concat([rows("net", [0.6, 0.8]), rows("mean-shape", [0.5, 0.5])]))
    assert table.loc[0, "category"] == "foot" and table.loc[0, ["net", "mean-shape"]].tolist() == [0.7, 0.5]


def test_the_domain_gap_is_two_by_two_with_its_baseline():
    parts = [
        rows("net", [value, value], training=f"feet-{trained}", look=tested)
        for trained, tested, value in [("studio", "studio", 0.7), ("studio", "phone", 0.4), ("phone", "phone", 0.6)]
    ]
    parts += [rows("mean-shape", [0.5, 0.5], look=look) for look in ("studio", "phone")]
    table = tables.domain_table(pd.concat(parts))
    assert table.training.tolist() == ["feet-studio", "feet-phone", "none: looks at no photo"]
    assert table["tested on phone"].tolist() == ["0.400 [0.400, 0.400]", "0.600 [0.600, 0.600]", "0.500 [0.500, 0.500]"]
    assert table["tested on studio"].tolist()[1] == "–"


def test_differences_to_the_mean_foot_are_paired():
    table = tables.paired_table(pd.concat([rows("net", [0.5, 0.9]), rows("mean-shape", [0.4, 0.8])]))
    assert table.loc[0, ["difference", "low", "high"]].tolist() == pytest.approx([0.1, 0.1, 0.1])


def test_the_up_and_down_table_of_the_slides():
    parts = []
    for model, foot, chair in (("a", 0.3, 0.7), ("b", 0.4, 0.5)):
        for order in tables.ORDERS:
            parts.append(rows(model, [foot], order=order))
            parts.append(rows(model, [chair] * 3, order=order, dataset="objects"))
    table = tables.order_table(pd.concat(parts), {"A": ("a", "main"), "B": ("b", "main")}).set_index("network")
    assert table.loc["B", "foot ↑↓"] == "↑ 0.1000" and table.loc["B", "overall ↑↓"] == "↓ 0.1250"
    assert table.loc["A", "overall, reversed"] == pytest.approx(0.6)


def test_what_the_drift_adds_is_a_difference_of_differences():
    parts = [
        rows(model, [value, value + 0.1], variant=variant, order=order)
        for model, values in (("a", (0.5, 0.5)), ("b", (0.6, 0.52)))
        for variant, value in zip(("main", "main-steady"), values, strict=True)
        for order in tables.ORDERS
    ]
    effects = tables.order_effects(pd.concat(parts), {"A": ("a", "main"), "B": ("b", "main")}, reference="A")
    effects = effects.set_index("effect").difference
    assert effects["B - A"] == pytest.approx(0.1) and effects["B - A, without drift"] == pytest.approx(0.02)
    assert effects["B - A: drift - steady"] == pytest.approx(0.08) and effects["B: reversed - clockwise"] == 0


def test_published_curves_are_named_and_ordered_by_views():
    curves = tables.published_curves()
    accurate = curves[curves.model == "Pix2Vox-A"].set_index("views").iou
    assert accurate[1] == 0.661 and accurate[20] == 0.706


def test_surfaces_stand_above_the_published_ones():
    scores = pd.DataFrame(
        [("net", 1, 0.3, 0.2, 0.4, 9), ("net", 8, 0.5, 0.4, 0.6, 9), ("mean-shape", 1, 0.1, 0.1, 0.1, 9)],
        columns=["model", "views", "f_score", "low", "high", "samples"],
    )
    table = tables.surface_table(scores).set_index("model")
    assert table.loc["net", "8 photos"] == "0.500 [0.400, 0.600]" and table.loc["mean-shape", "8 photos"] == "–"
    assert table.loc["Pix2Vox++/A (published, ShapeNet)"].tolist() == ["0.436", "0.459"]


def test_the_slides_numbers_on_pix3d():
    assert tables.published_pix3d().iou.tolist() == [0.179, 0.204, 0.256, 0.269]
