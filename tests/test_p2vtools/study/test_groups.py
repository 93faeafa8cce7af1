import shutil

import numpy as np
import pandas as pd
import pytest

from p2vlib.provenance import ROOT, data_folder
from p2vtools.fit.pretrained import pretrained_path
from p2vtools.study import groups
from p2vtools.study.benchmark.run import to_markdown
from p2vtools.synthesis.photos.floors import FLOOR_KINDS
from p2vtools.synthesis.photos.wild_floors import FLOORS

FOOT = {"look": "phone", "sex": "man", "child": False, "floor": "wood", "light": "sun", "outside": 0.0}


@pytest.mark.parametrize(("look", "name"), [("phone", "person"), ("wild", "wild"), ("studio", "person")])
def test_properties_come_from_the_seed_of_a_capture_whose_cameras_they_give(smoke, tmp_path, look, name):
    folder = data_folder("feet", "smoke") / look / f"{name}-test-0000-left"
    found = groups.capture_properties(folder)
    assert found["floor"] in {"phone": FLOOR_KINDS, "wild": FLOORS, "studio": ("",)}[look]
    assert found["outside"] == {"phone": 0, "studio": 1}.get(look, found["outside"])
    if look == "studio":
        return
    copy = shutil.copytree(folder, tmp_path / folder.name)
    file = copy / "rendering" / "rendering_metadata.txt"
    azimuth, *others = file.read_text().split(" ")
    file.write_text(" ".join([str(float(azimuth) + 1), *others]))
    with pytest.raises(ValueError, match="cameras are not those of its seed"):
        groups.capture_properties(copy)


def test_table_by_hand():
    feet = [
        {**FOOT, "subject": "a", "iou": 0.9, "length": 271.2, "measured": 273.2},
        {**FOOT, "subject": "a", "iou": 0.9, "length": 271.2, "measured": float("nan")},
        {**FOOT, "subject": "b", "iou": 0.9, "length": 298.0, "measured": 300.0, "outside": 1.0},  # 2.05 deviations
        {**FOOT, "subject": "c", "iou": 0.9, "length": 244.0, "measured": 242.0, "outside": 0.6},  # -2.08 deviations
        {**FOOT, "subject": "d", "iou": 0.9, "length": 297.0, "measured": 295.0, "floor": "tile"},
        {**FOOT, "subject": "e", "iou": 0.7, "length": 200.0, "measured": 210.0, "child": True},
        {**FOOT, "subject": "f", "iou": 0.7, "length": 200.0, "measured": 190.0, "child": True},
    ]
    rows = pd.DataFrame(feet).assign(skin=[0.9, 0.8, 0.7, 0.6, 0.1, 0.5, 0.4])
    table = groups.group_table(rows).set_index("group")
    kinds = ["all", "floor: wood", "light: sun", "most photos from below 30 or above 65 degrees"]
    assert table.index.tolist() == [*kinds, "length beyond two standard deviations of ANSUR II"], (
        "the darkest are one adult and one child: no row"
    )
    assert table["adults: people"].tolist() == ["4", "3", "4", "2", "2"]
    assert set(table["adults: IoU"]) == {"0.900 [0.900, 0.900]"}
    assert set(table["adults: error of the length, mm"]) == {"2.0 [2.0, 2.0]"}
    assert table["children: IoU"].tolist() == ["0.700 [0.700, 0.700]"] * 3 + ["–", "–"]
    assert table.loc["all", "children: error of the length, mm"] == "10.0 [10.0, 10.0]"


def test_the_committed_rows_are_those_of_the_card_and_the_table_of_the_page_is_theirs(weights):
    rows = pd.read_csv(pretrained_path().with_name(f"{pretrained_path().stem}-{groups.GROUPS}.csv"))
    for look, entry in {"phone": "test IoU by photos", "wild": "test IoU by photos, in the wild"}.items():
        card = next(row["iou"] for row in weights.card[entry] if row["views"] == 8)
        assert rows[rows.look == look].iou.mean() == pytest.approx(card, abs=5e-4)
    measures = pd.read_csv(pretrained_path().with_name(f"{pretrained_path().stem}-measures.csv"))
    found = measures.setting.str.endswith("a mat's cameras, foot found")  # on a floor and in the wild
    lengths = measures[found & (measures.measure == "length")].set_index("sample")
    both = rows[rows.look != groups.NEVER_SEEN].set_index("sample")
    assert np.array_equal(both[["measured", "length"]], lengths.loc[both.index, ["value", "truth"]])
    accuracy = (ROOT / "docs/accuracy.md").read_text("utf-8")
    assert to_markdown(groups.group_table(rows).set_index("domain")) in accuracy
