import json
from functools import partial

import pandas as pd
import pytest

from p2vlib.geometry.frames import FOOT_SYNSET
from p2vtools.study import tables
from tests.pages import on_feet

rows = partial(on_feet, "04", threshold=0.4)


def test_slide_and_category_tables_have_the_mean_shape_and_the_published_values():
    ours = [rows("net", [0.5, 0.7], threshold=t, selected=t == 0.4, taxonomy="03001627") for t in (0.2, 0.3, 0.4, 0.5)]
    mean = rows("mean-shape", [0.3, 0.4], taxonomy="03001627")
    table = tables.slide_table(pd.concat([*ours, mean]), "net").set_index("category")
    chair = {"t=0.30": 0.6, "mean shape": 0.35, "slides t=0.30": 0.5666, "3D-R2N2 (published)": 0.466}
    assert table.loc["chair", list(chair)].to_dict() == pytest.approx(chair)
    assert table.loc["overall", "#sample"] == 2
    table = tables.category_table(pd.concat([rows("net", [0.6, 0.8]), rows("mean-shape", [0.5, 0.5])]))
    assert table.loc[0, "category"] == "foot" and table.loc[0, ["net", "mean-shape"]].tolist() == [0.7, 0.5]
    curves = tables.published_curves()
    accurate = curves[curves.model == "Pix2Vox-A"].set_index("views").iou
    assert accurate[1] == 0.661 and accurate[20] == 0.706
    assert tables.published_pix3d().iou.tolist() == [0.179, 0.204, 0.256, 0.269]


def test_domain_table_of_two_domains_and_of_three():
    ious = {"studio": (0.7, 0.4, 0.3), "phone": (None, 0.6, 0.5), "wild": (None, None, 0.55)}
    own_mean = {"studio": 0.5, "phone": 0.5, "wild": 0.45}
    parts = []
    for trained, row in ious.items():
        for tested, value in zip(ious, row, strict=True):
            if value is not None:
                parts.append(rows("net", [value, value], training=f"feet-{trained}", look=tested))
            mean = own_mean[tested] if trained == tested else 0.2
            parts.append(rows("mean-shape", [mean, mean], training=f"feet-{trained}", look=tested))
    metrics = pd.concat(parts, ignore_index=True)
    table = tables.domain_table(metrics)
    assert table.training.tolist() == ["feet-studio", "feet-phone", "feet-wild", "none: looks at no photo"]
    expected = [f"{iou} [{iou}, {iou}]" for iou in ("0.300", "0.500", "0.550", "0.450")]
    assert table["tested on wild"].tolist() == expected, "the mean foot is that of the people in the wild"
    assert table["tested on studio"].tolist()[1:3] == ["–", "–"]
    older = tables.domain_table(metrics[(metrics.look != "wild") & (metrics.training != "feet-wild")])
    assert older.columns.tolist() == ["model", "training", "variant", "tested on studio", "tested on phone"]
    assert older["tested on phone"].tolist() == table["tested on phone"].drop(2).tolist()


def test_gaps_and_paired_differences_to_the_mean_foot():
    parts = [rows("net", [0.8, 0.8]), rows("net", [0.5, 0.6, 0.7], look="wild"), rows("net", [0.7], look="studio")]
    parts += [rows("net", [0.7], variant="uncropped"), rows("net", [0.1], training="objects", look="wild")]
    table = tables.gap_table(pd.concat(parts, ignore_index=True))
    assert table[["training", "tested on"]].to_numpy().tolist() == [["feet-phone", "wild"], ["feet-phone", "studio"]]
    assert table.iou.tolist() == [0.6, 0.7] and table.difference.tolist() == pytest.approx([-0.2, -0.1])
    assert -0.3 <= table.low[0] < -0.2 < table.high[0] <= -0.1 and table.low[1] == table.high[1]
    table = tables.paired_table(pd.concat([rows("net", [0.5, 0.9]), rows("mean-shape", [0.4, 0.8])]))
    assert table.loc[0, "what"] == "net, feet-phone, main"
    assert table.loc[0, ["difference", "low", "high"]].tolist() == pytest.approx([0.1, 0.1, 0.1])
    parts = [rows("mean-shape", [0.1], look="wild"), rows("mean-shape", [0.4], training="feet-wild", look="wild")]
    table = tables.paired_table(pd.concat([rows("net", [0.5], look="wild"), *parts]))
    assert table.difference.tolist() == pytest.approx([0.1]), "the mean foot of the people in the wild"


def test_real_table_compares_files_with_the_typical_foot(tmp_path):
    def photo(number: int, start: str, iou: float, size: int = 32) -> dict:
        return {"photo": number, "start": start, "size": size, "iou": iou, "verdict": "-"}

    for name, gain in (("new", 0.2), ("old", 0.1)):
        photos = [photo(n, "typical foot", 0.5 + n / 10) for n in range(2)]
        photos += [photo(n, "right", 0.5 + n / 10 + gain) for n in range(2)]
        photos += [photo(0, "right", 0.9, 128), photo(0, "found", 0.1), photo(0, "found", 0.2)]
        scan = {"capture": "s", "placement": "given", "size": 128, "iou": 0.6 + gain, "typical foot": 0.6}
        others = [{**scan, "placement": "found", "iou": 0.0}, {**scan, "size": 32, "iou": 0.0}]
        content = {"photos": photos, "scans": [scan, *others]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    table = tables.real_table(str(tmp_path))
    assert table.file.tolist() == ["new", "new", "old", "old"] and table.samples.tolist() == [2, 1, 2, 1]
    assert table.difference.tolist() == pytest.approx([0.2, 0.2, 0.1, 0.1])
    assert table.low.tolist() == pytest.approx(table.difference.tolist()), "the gain is the same for each photo"
    assert table.iou[0].startswith("0.750 [") and table["typical foot"][1] == "0.600 [0.600, 0.600]"
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no .json file.*benchmarks/real.py"):
        tables.real_table(str(tmp_path / "empty"))


def test_tables_of_orders_and_of_the_control():
    parts = []
    for model, foot, chair in (("a", 0.3, 0.7), ("b", 0.4, 0.5)):
        for order in tables.ORDERS:
            parts.append(rows(model, [foot - 0.2 * (order == "shuffled")], order=order))
            parts.append(rows(model, [chair] * 3, order=order, dataset="objects"))
    table = tables.order_table(pd.concat(parts), {"A": ("a", "main"), "B": ("b", "main")}).set_index("network")
    assert table.loc["B", "foot ↑↓"] == "↑ 0.1000" and table.loc["B", "overall ↑↓"] == "↓ 0.1250"
    assert table.loc["A", "overall, reversed"] == pytest.approx(0.6)
    ious = {("a", "clockwise"): 0.5, ("a", "reversed"): 0.5, ("b", "clockwise"): 0.8, ("b", "reversed"): 0.3}
    metrics = pd.concat(rows(model, [iou, iou], order=order) for (model, order), iou in ious.items())
    table = tables.control_table(metrics, {"A": ("a", "main"), "B": ("b", "main")}, "A").set_index("network")
    assert table.loc["B", ["iou", "reversed"]].tolist() == ["0.800 [0.800, 0.800]", "0.300 [0.300, 0.300]"]
    assert table.difference.tolist() == pytest.approx([0, 0.3])


def test_effect_of_drift_is_a_difference_of_differences():
    metrics = pd.concat(
        rows(model, [value, value + 0.1], variant=variant, order=order)
        for model, values in (("a", (0.5, 0.5)), ("b", (0.6, 0.52)))
        for variant, value in zip(("main", "main-steady"), values, strict=True)
        for order in tables.ORDERS
    )
    networks = {"A": ("a", "main"), "B": ("b", "main")}
    effects = tables.order_effects(metrics, networks, reference="A").set_index("effect").difference.to_dict()
    expected = {"B - A": 0.1, "B - A, without drift": 0.02, "B - A: drift - steady": 0.08}
    assert effects == pytest.approx(expected | {"B: shuffled - clockwise": 0, "B: reversed - clockwise": 0})
    lighting = tables.lighting_table(metrics, networks).set_index("network")
    assert lighting.loc["B", "clockwise, steady"].startswith("0.570 [")


def test_surface_table_and_ranks_of_samples():
    scores = pd.DataFrame(
        [("net", 1, 0.3, 0.2, 0.4, 9), ("net", 8, 0.5, 0.4, 0.6, 9), ("mean-shape", 1, 0.1, 0.1, 0.1, 9)],
        columns=["model", "views", "f_score", "low", "high", "samples"],
    )
    table = tables.surface_table(scores).set_index("model")
    assert table.loc["net", "8 photos"] == "0.500 [0.400, 0.600]" and table.loc["mean-shape", "8 photos"] == "–"
    assert table.loc["Pix2Vox++/A (published, ShapeNet)"].tolist() == ["0.436", "0.459"]
    assert tables.best_median_worst(rows("net", [0.5, 0.9, 0.1])) == {"best": "s1", "median": "s0", "worst": "s2"}
    ranks = tables.rank_samples(rows("net", [0.1 * place for place in range(10)]))
    assert ranks == {"best": ["s9", "s8", "s7"], "median": ["s6", "s5", "s4"], "worst": ["s2", "s1", "s0"]}
    few = tables.rank_samples(rows("net", [0.5, 0.9, 0.1, 0.2]))
    assert few == {"best": ["s1"], "median": ["s0"], "worst": ["s2"]}


def test_samples_count_equally_and_the_class_mean_leaves_out_feet():
    objects = pd.concat([rows("net", [0.3, 0.3, 0.3], taxonomy="a"), rows("net", [0.7], taxonomy="b", sample="t")])
    means = {"sample mean": pytest.approx(0.4), "class mean": pytest.approx(0.5)}
    assert tables.class_and_sample_means(objects) == means
    foot = rows("net", [0.1], taxonomy=FOOT_SYNSET, sample="f")
    table = tables.iou_by_threshold(pd.concat([objects, foot])).set_index("taxonomy")
    assert table.loc["overall", "#sample"] == 5
    assert table["t=0.40"].drop(["a", "b", FOOT_SYNSET]).to_dict() == {
        "overall": pytest.approx(1.7 / 5),
        "overall, objects": pytest.approx(0.4),
        "class mean, objects": pytest.approx(0.5),
    }
