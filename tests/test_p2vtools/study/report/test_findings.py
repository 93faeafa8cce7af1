import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from p2vtools.study.report.evaluation_page import _lengths, build_evaluation
from p2vtools.study.report.findings import Finding, Reference, findings
from tests.pages import check_page, metrics, on_feet, text_of

NETWORKS = {"order_free": "pix2vox-a", "recurrent": "pix2vox-lstm"}


@pytest.mark.parametrize("training", ["feet-phone", "feet-wild"])
def test_the_best_system_is_compared_with_the_mean_foot_of_the_same_test(training):
    rows = [
        on_feet("05", "mean-shape", (0.1, 0.1)),
        on_feet("06", "mean-shape", (0.6, 0.7)),
        on_feet("05", "pix2vox-a", (0.7, 0.72)),
        on_feet("06", "mean-shape", (0.2, 0.3), training="feet-wild"),
        on_feet("06", "unprojection", (0.8, 0.84), training=training),
        on_feet("06", "attsets", (0.6, 0.95)),
        on_feet("06", "unprojection", (0.99, 0.99), variant="shipped"),
        on_feet("06", "unprojection", (0.95, 0.95), cameras="noisy"),
        on_feet("06", "visual-hull", (0.97, 0.97), training="none"),
    ]
    best, pretrained = findings(pd.concat(rows), NETWORKS)
    assert best.value == pytest.approx(0.82) and best.low == pytest.approx(0.8) and best.high == pytest.approx(0.84)
    references = {one.name: one for one in best.references}
    assert references["mean foot"].value == pytest.approx(0.65) and references["mean foot"].mark == "guess"
    assert references["gain over it, paired"].value == pytest.approx(0.17)
    assert references["slides, Pix2Vox-LSTM"].value == 0.3225
    assert "3 systems" in best.note and "2 feet of 2 unseen people" in best.note
    assert pretrained.value == pytest.approx(0.99)


def test_the_gain_from_the_lstm_is_that_after_fine_tuning_beside_that_of_the_slides():
    slides = dict(training="objects", look="studio", views=4)
    rows = [
        on_feet("05_lstm", "pix2vox-a", (0.30, 0.40), **slides),
        on_feet("05_lstm", "pix2vox-lstm", (0.34, 0.42), **slides),
        on_feet("05_lstm", "pix2vox-a", (0.8, 0.8)),
        on_feet("05_lstm", "pix2vox-lstm", (0.7, 0.8)),
        on_feet("04_tuned", "pix2vox-a", (0.9, 0.9)),
    ]
    _, lstm = findings(pd.concat(rows), NETWORKS)
    alone = on_feet("05_lstm", "pix2vox-a", (0.1, 0.1), variant="main-seed1")  # the LSTM of this seed did not learn
    assert findings(pd.concat([*rows, alone]), NETWORKS)[1] == lstm
    assert (lstm.value, lstm.low, lstm.high) == pytest.approx((-0.05, -0.1, 0))
    assert [one.value for one in lstm.references] == pytest.approx([0.03, 0.3225 - 0.2923])
    assert "0.800, with the LSTM 0.750, fine-tuned on feet" in lstm.note
    _, untuned = findings(pd.concat([*rows[:2], rows[4]]), NETWORKS)
    assert (untuned.value, untuned.low, untuned.high) == pytest.approx((0.03, 0.02, 0.04))


def test_objects_replace_missing_feet_and_the_scale_of_a_drawing_is_labelled():
    rows = [metrics("03", model=model, views=1, iou=iou) for model, iou in (("pix2vox-a", 0.5), ("mean-shape", 0.4))]
    (objects,) = findings(pd.concat(rows), NETWORKS)
    assert objects.value == 0.5 and [one.value for one in objects.references] == [0.4, 0.6608]
    assert findings(pd.concat(rows).iloc[:0], NETWORKS) == []
    slides = Reference("slides", 0.04, "+0.040", "slides")
    share, change = Finding("a", 0.8, 0.7, 0.9, (), ""), Finding("b", 0.004, -0.002, 0.01, (slides,), "", "+.3f")
    length = Finding("c", 2.6, 2.0, 4.0, (), "", ".1f", " mm")
    labels = [re.findall("<span>([^<]*)</span>", one.drawing()) for one in (share, change, length)]
    assert labels == [["0", "1"], ["−0.046", "0", "+0.046"], ["0", "4.6 mm"]]
    assert 'class="dot" cx="78.2%"' in share.drawing(), "3 + 94 x 0.8 percent"


def test_an_evaluation_has_a_page(home: Path):
    committed = Path(__file__).parents[4] / "reports" / "evaluate"
    folder = shutil.copytree(committed, home / "evaluate")
    page = build_evaluation(folder)
    text = text_of(check_page(page, folder))
    assert page.read_text() == (committed / "index.html").read_text(), "the committed page is up to date"
    assert "Error of the length from photos" in text and "40 of 40 people have a usable result" in text
    assert "Cameras of photos on a mat" in text
    rows = pd.DataFrame({"way": "mat", "views": 8, "measure": "length", "truth": 250.0, "found": [252.0, 253.0, 300.0]})
    (finding,) = _lengths(rows.assign(verdict=["good", "doubtful", "not usable"]))
    assert finding.value == 2.5 and "2 of 3 people" in finding.note, "as in the tables"
    with pytest.raises(FileNotFoundError, match="make evaluate"):
        build_evaluation(home / "nowhere")
