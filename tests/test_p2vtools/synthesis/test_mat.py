"""The printed mat: what is on the paper is what OpenCV looks for, in true size."""

from __future__ import annotations

import re

import numpy as np
import pytest

from p2vtools.__main__ import main
from p2vtools.capture import mat_printing
from p2vtools.capture.charuco import detect_board
from p2vtools.synthesis.mat import MATS, get_mat

PIXELS = 4
"""A millimetre."""


def drawn(shapes: list[np.ndarray], width: float, height: float) -> np.ndarray:
    """Shapes in millimetres as a printer would ink them, grey as RGB, with white paper around."""
    page = np.full((round(height * PIXELS), round(width * PIXELS)), 255, np.uint8)
    rows, columns = ((np.arange(size) + 0.5) / PIXELS for size in page.shape)
    for shape in shapes:
        (left, top), (right, bottom) = shape.min(0), shape.max(0)
        inked = ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))
        page[inked] = 0
    return np.repeat(page[..., None], 3, 2)


@pytest.mark.parametrize("paper", list(MATS))
def test_the_squares_are_the_board(paper):
    mat = get_mat(paper)
    across, down = mat.size
    page = drawn([shape + 10 for shape in mat_printing.board_squares(mat)], across + 20, down + 20)
    seen = detect_board("page", page, mat)
    assert len(seen.ids) == (mat.columns - 1) * (mat.rows - 1) == len(mat.corners())
    world = mat.corners()[seen.ids][:, [0, 2]] * 1000
    expected = (world + np.array(mat.size) / 2 + 10) * PIXELS - 0.5
    assert np.abs(seen.corners - expected).max() < 0.6, (
        "x to the right of the page, z down it, the origin in the middle"
    )


@pytest.mark.parametrize("paper", list(MATS))
def test_it_fits_its_paper_with_a_printers_margin(paper):
    mat = get_mat(paper)
    width, height = mat.sheet_size
    across, down = mat.size
    halves = across / mat.sheets + (mat_printing.GLUE_STRIP if mat.sheets > 1 else 0)
    assert halves + 3 <= width and down + 12 <= height


def test_two_sheets_meet_in_the_middle():
    mat = get_mat("a4x2")
    left_of = [mat_printing._left(mat, number) for number in range(2)]
    whole = mat_printing.board_squares(mat)
    kept = [mat_printing._halves(mat, n, left_of[n], [shape + [left_of[n], 0] for shape in whole]) for n in range(2)]
    area = [sum(np.ptp(shape[:, 0]) * np.ptp(shape[:, 1]) for shape in part) for part in (*kept, whole)]
    assert area[0] + area[1] == pytest.approx(area[2])
    seams = [left_of[n] + mat.size[0] / 2 for n in range(2)]
    assert max(shape[:, 0].max() for shape in kept[0]) == pytest.approx(seams[0])
    assert min(shape[:, 0].min() for shape in kept[1]) == pytest.approx(seams[1])
    assert all(shape[:, 0].min() >= 0 for shape in kept[0]) and all(s[:, 0].max() <= mat.sheet_size[0] for s in kept[1])


def test_the_pdf_has_true_size_and_a_page_a_sheet(tmp_path, capsys):
    for paper, pages in (("a3", 2), ("letterx2", 3)):
        file = tmp_path / f"{paper}.pdf"
        assert main(["mat", "--paper", paper, "--out", str(file)]) == 0
        content = file.read_bytes()
        boxes = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
        assert content.startswith(b"%PDF") and len(boxes) == pages and b"/Subtype /Image" not in content, (
            "vectors alone"
        )
        width, height = (float(edge) / 72 * 25.4 for edge in boxes[0])
        assert (width, height) == pytest.approx(get_mat(paper).sheet_size, abs=0.1)
    assert "print at 100 %" in capsys.readouterr().out


def test_unknown_paper_and_a_place_that_is_none(tmp_path, capsys):
    assert main(["mat", "--paper", "a5", "--out", str(tmp_path / "m.pdf")]) == 1
    assert "no mat is made for paper 'a5'; there are a3, a4x2" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["mat", "--out", str(tmp_path / "file" / "m.pdf")]) == 1
    assert capsys.readouterr().err.startswith("p2vlib: ")


def test_a_mat_of_another_paper_is_not_mistaken():
    """It would give millimetres that are none."""
    page = np.repeat(get_mat("a4").image(6)[..., None], 3, 2)
    page = np.pad(page, ((40, 40), (40, 40), (0, 0)), constant_values=255)
    assert len(detect_board("page", page, get_mat("a4")).ids) == 96
    assert all(not len(detect_board("page", page, get_mat(paper)).ids) for paper in ("a3", "tabloid", "letter"))
