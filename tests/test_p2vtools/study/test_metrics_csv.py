from pathlib import Path

import pandas as pd
import pytest

from p2vtools.study import metrics_csv
from tests.pages import metrics as row


def sweep(chosen: float = 0.3, **facts) -> pd.DataFrame:
    """One test evaluation at two thresholds."""
    return pd.concat([row(threshold=t, selected=t == chosen, iou=t / 2, **facts) for t in (0.2, 0.3)])


def test_a_file_has_one_row_per_evaluation_in_their_order_and_is_read_back_unchanged(tmp_path: Path):
    known = pd.concat([sweep(views=4), sweep(0.2, views=8), sweep(sample="a-007", views=8, variant='a "mat", b')])
    known = known.reset_index(drop=True)
    path = tmp_path / "metrics.csv"
    path.write_text(metrics_csv.format_metrics(known))
    header, *rows = path.read_text().splitlines()
    columns = "notebook,model,variant,training,dataset,look,cameras,placement,taxonomy,subject,sample,views,order,"
    assert header == columns + "selected,iou@0.2,iou@0.3,iou@0.4,iou@0.5"
    ends = ["007-a,4,clockwise,0.3,0.1,0.15,,", "007-a,8,clockwise,0.2,0.1,0.15,,", "a-007,8,clockwise,0.3,0.1,0.15,,"]
    assert [line.partition(",007,")[2] for line in rows] == ends
    assert metrics_csv.read_metrics(path).equals(known), "numbers as numbers, and 007 and none as text"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (row().drop(columns="look"), "metrics have the columns"),
        (pd.concat([row(), row(views=8, iou=float("nan"))]), r"an empty cell in \['iou'\]"),
        (row(iou=1.5), "the metrics: .*line 2 has an IoU outside 0 to 1"),
        (row(variant="a\nb"), r"the metrics: .*line 2 has a cell that is empty, or has .* a line break"),
        (row(threshold=0.35), r"at a threshold of 0.35; expected \(0.2, 0.3, 0.4, 0.5\)"),
        (row(selected=False), "1 test evaluations with 0 selected thresholds; expected one for each"),
        (pd.concat([row(), row(iou=0.7)]), "1 test evaluations with 2 selected thresholds"),
    ],
)
def test_invalid_metrics_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        metrics_csv.format_metrics(rows)


@pytest.mark.parametrize(
    ("cell", "damaged", "message"),
    [
        *((",4,", views, "line 3 has a number of views that is no positive integer") for views in (",4.5,", ",-4,")),
        *((",0.5,", iou, "line 3 has an IoU outside 0 to 1") for iou in (",high,", ",7,", ",nan,")),
        (",0.3,", ",0.35,", "line 3 has another selected threshold than one of"),
        (",studio,", ",,", "line 3 has a cell that is empty"),
        ("03,", "03 ,", "line 3 has a cell that is empty, or has a blank at an end"),
        ("03,", "", "line 3 has a cell that is empty"),
        ("03,", "03,03,", "Expected 18 fields in line 3, saw 19"),
        ("03,", '"03,', "EOF inside string starting at row 2"),
        (",b,", ",a,", "line 3 has a test evaluation that an earlier line has"),
    ],
)
def test_a_damaged_line_of_a_file_is_named(tmp_path: Path, cell: str, damaged: str, message: str):
    path = tmp_path / "metrics.csv"
    header, first, second = metrics_csv.format_metrics(pd.concat([row(sample=name) for name in "ab"])).splitlines()
    path.write_text("\n".join([header, first, second.replace(cell, damaged, 1)]) + "\n")
    with pytest.raises(ValueError, match=f"metrics.csv: .*{message}"):
        metrics_csv.read_metrics(path)
