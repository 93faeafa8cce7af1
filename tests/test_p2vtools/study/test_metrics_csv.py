from pathlib import Path

import pandas as pd
import pytest

from p2vtools.study import metrics_csv
from tests.pages import metrics as row


def sweep(chosen: float = 0.3, **facts) -> pd.DataFrame:
    """One test evaluation at two thresholds."""
    return pd.concat([row(threshold=t, selected=t == chosen, iou=t / 2, **facts) for t in (0.2, 0.3)])


def test_a_file_has_one_row_per_evaluation_in_their_order_and_is_read_back_unchanged(tmp_path: Path):
    known = pd.concat([sweep(views=4), sweep(0.2, views=8), sweep(sample="a-007", views=8)], ignore_index=True)
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
        (row(extra=1).assign(extra=1), "metrics have the columns"),
        (pd.concat([row(), row(views=8, iou=float("nan"))]), r"an empty cell in \['iou'\]"),
        (row(look=""), "an empty cell"),
        (row(iou=1.5), "the metrics hold 1.5; expected an IoU of 0 to 1"),
        (row(variant="a\nb"), r"the metrics hold 'a\\nb'; expected .* text without line breaks"),
        (row(threshold=0.35), r"at a threshold of 0.35; expected \(0.2, 0.3, 0.4, 0.5\)"),
        (pd.concat([row(), row(iou=0.7)]), "a test evaluation twice"),
        (row(selected=False), "1 test evaluations with 0 selected thresholds; expected one for each"),
        (pd.concat([row(), row(threshold=0.2)]), "1 test evaluations with 2 selected thresholds"),
    ],
)
def test_invalid_metrics_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        metrics_csv.format_metrics(rows)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        *(("views", value, "a number of views that is no positive integer") for value in ("4.5", "-4")),
        *(("iou@0.3", value, "an IoU outside 0 to 1") for value in ("high", "7", "inf", "nan")),
        ("iou@0.3", "0.5\0", "the cell '0.5"),
        ("iou@0.3", "", "no IoU at its selected threshold"),
        ("selected", "0.35", "another selected threshold than one of"),
        ("look", "", "an empty cell"),
        ("notebook", "03 ", "the cell '03 '; expected no blanks around it"),
    ],
)
def test_invalid_values_of_a_file_are_refused(tmp_path: Path, column: str, value: str, message: str):
    path = tmp_path / "metrics.csv"
    header, first, second = metrics_csv.format_metrics(pd.concat([row(sample=name) for name in "ab"])).splitlines()
    cells = dict(zip(header.split(","), second.split(","), strict=True)) | {column: value}
    path.write_text("\n".join([header, first, ",".join(cells.values())]) + "\n")
    with pytest.raises(ValueError, match=f"metrics.csv: line 3 has {message}"):
        metrics_csv.read_metrics(path)


def test_a_stray_quote_a_lost_cell_and_a_doubled_line_are_named(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    quoted = pd.concat([row(sample=name, variant='a "mat", noisy') for name in "abc"], ignore_index=True)
    header, *lines = metrics_csv.format_metrics(quoted).splitlines()
    path.write_text("\n".join([header, *lines]))
    assert metrics_csv.read_metrics(path).equals(quoted), "cells with commas and quotes"
    for damaged, message in (
        ([lines[0], '"' + lines[1], lines[2]], "line 3 is not a row"),
        ([lines[0], lines[1].partition(",")[2]], "line 3 has 17 cells; expected 18"),
        ([lines[0], "", lines[1]], "line 3 has 0 cells"),
        ([*lines, lines[0]], "line 5 has a test evaluation that an earlier line has"),
    ):
        path.write_text("\n".join([header, *damaged]) + "\n")
        with pytest.raises(ValueError, match=f"metrics.csv: {message}"):
            metrics_csv.parse_metrics(path)
