import re

import numpy as np
import pytest

from p2vtools.capture.charuco import detect_board
from p2vtools.capture.mat_printing import GLUE_STRIP, board_squares, squares_on_sheet
from p2vtools.cli import main
from p2vtools.synthesis.mat import BORDER_MATS, MATS, Mat, get_mat, random_plain_sheet

PIXELS_PER_MM = 4


def rasterise(squares: np.ndarray, width: float, height: float) -> np.ndarray:
    """Axis-aligned squares in millimetres as a printer prints them, RGB."""
    page = np.full((round(height * PIXELS_PER_MM), round(width * PIXELS_PER_MM)), 255, np.uint8)
    corners = np.stack([squares.min(1), squares.max(1)], axis=1)
    for (left, top), (right, bottom) in np.round(corners * PIXELS_PER_MM).astype(int):
        page[top:bottom, left:right] = 0
    return np.repeat(page[..., None], 3, 2)


@pytest.mark.parametrize("mat", [*MATS.values(), *BORDER_MATS.values()])
def test_printed_board_is_detected_at_its_corners_and_fits_the_paper(mat: Mat):
    width, height = mat.size
    found = detect_board("page", rasterise(board_squares(mat) + 10, width + 20, height + 20), mat)
    corners = 4 * 8 * 2 if mat in BORDER_MATS.values() else (mat.columns - 1) * (mat.rows - 1)
    assert len(found.ids) == corners == len(mat.corners())
    world = mat.corners()[found.ids][:, [0, 2]] * 1000
    expected = (world + np.array(mat.size) / 2 + 10) * PIXELS_PER_MM - 0.5
    assert np.abs(found.corners - expected).max() < 0.6, "x right, z down the page, origin in the middle"
    half = width / mat.sheets + (GLUE_STRIP if mat.sheets > 1 else 0)
    assert half + 3 <= mat.sheet_size[0] and height + 12 <= mat.sheet_size[1], "with a printer's margin"


def test_two_sheets_meet_in_the_middle_of_the_board():
    mat = get_mat("a4x2")
    (first, left, _), (second, right, _) = (squares_on_sheet(mat, number) for number in range(2))
    areas = [np.prod(np.ptp(squares, axis=1), axis=1).sum() for squares in (first, second, board_squares(mat))]
    assert areas[0] + areas[1] == pytest.approx(areas[2])
    assert first[..., 0].max() == pytest.approx(left + mat.size[0] / 2) and first[..., 0].min() >= 0
    assert second[..., 0].min() == pytest.approx(right + mat.size[0] / 2)
    assert second[..., 0].max() <= mat.sheet_size[0]


@pytest.mark.parametrize(("paper", "pages"), [("A3", 2), ("letterx2", 3), (None, 3)])
def test_pdf_has_true_size_and_one_page_per_sheet(paper, pages, tmp_path, capsys):
    file = tmp_path / "mat.pdf"
    assert main(["mat", *(["--paper", paper] if paper else []), "--out", str(file)]) == 0
    content = file.read_bytes()
    boxes = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
    assert content.startswith(b"%PDF") and len(boxes) == pages and b"/Subtype /Image" not in content, "vectors only"
    size = tuple(float(edge) / 72 * 25.4 for edge in boxes[0])
    assert size == pytest.approx(get_mat(paper or "a4x2").sheet_size, abs=0.1)
    assert "print at 100 %" in capsys.readouterr().out


def test_mat_of_another_paper_is_not_detected():
    """It would give a wrong scale."""
    mats = [*MATS.values(), *BORDER_MATS.values()]
    for mat, corners in ((MATS["a4"], 96), (BORDER_MATS["a4"], 64)):
        page = np.repeat(mat.image(2)[..., None], 3, 2)
        page = np.pad(page, ((20, 20), (20, 20), (0, 0)), constant_values=255)
        found = {other: len(detect_board("page", page, other).ids) for other in mats}
        assert found == dict.fromkeys(mats, 0) | {mat: corners}


def test_a_plain_sheet_is_bent_at_its_corners_alone():
    sheet = random_plain_sheet("a4", np.random.default_rng(0))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (0, 0), (0.5, 0)])
    heights = 1000 * sheet.heights(*corners.T)
    assert heights[:4] == pytest.approx([1000 * height for height in sheet.corner_heights])
    assert heights[:4].min() >= 0 and heights[:4].max() <= 5 and heights[4:].max() < 0.5
