from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import Cube
from p2vtools import viewer
from p2vtools.study.report.notebook_page import outside_addresses
from p2vtools.viewer import static_html

CUBE = Cube((-0.16, 0.0, -0.16), 0.32)


def box(size: int = 32) -> np.ndarray:
    """Long in x, flat in y, and on the +z half only: no two axes can be swapped unnoticed."""
    volume = np.zeros((size, size, size), dtype=bool)
    volume[2:30, 0:4, 20:28] = True
    return volume


def photo(value: int, channels: int = 3, size: int = 12) -> np.ndarray:
    return np.full((size, size, channels), value, dtype=np.uint8)


def pixels(figure: Figure) -> np.ndarray:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream))


def extent(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of what is shown, as shares of the picture."""
    rows, columns = np.nonzero(picture[..., 3])
    height, width = picture.shape[:2]
    return columns.min() / width, (columns.max() + 1) / width, rows.min() / height, (rows.max() + 1) / height


def test_a_box_is_drawn_where_it_stands_seen_from_the_right_side():
    # From azimuth 90 (the camera on +z) x runs to the right and y up; nothing else is visible.
    left, right, top, bottom = extent(viewer.render_voxels(box(), azimuth=90, elevation=0, pixels=128))
    assert (left, right, top, bottom) == pytest.approx((2 / 32, 30 / 32, 28 / 32, 1), abs=0.01)


def test_a_box_is_drawn_where_it_stands_seen_from_the_front():
    # From azimuth 0 (the camera on +x) the right side, +z, lies to the left.
    left, right, top, bottom = extent(viewer.render_voxels(box(), azimuth=0, elevation=0, pixels=128))
    assert (left, right, top, bottom) == pytest.approx((1 - 28 / 32, 1 - 20 / 32, 28 / 32, 1), abs=0.01)


def test_from_above_the_right_side_is_below():
    left, right, top, bottom = extent(viewer.render_voxels(box(), azimuth=90, elevation=89.999, pixels=128))
    assert (left, right, top, bottom) == pytest.approx((2 / 32, 30 / 32, 20 / 32, 28 / 32), abs=0.01)


def test_the_frame_does_not_depend_on_the_grid():
    coarse, fine = viewer.render_voxels(box()), viewer.render_voxels(box().repeat(2, 0).repeat(2, 1).repeat(2, 2))
    assert coarse.shape == fine.shape
    assert extent(coarse) == pytest.approx(extent(fine), abs=0.01)


def test_nearer_voxels_hide_those_behind():
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[6, 2:6, 2:6], labels[1, 2:6, 2:6] = 1, 2
    seen = [viewer.render_voxels(labels, ("#ff0000", "#0000ff"), azimuth=azimuth, elevation=0) for azimuth in (0, 180)]
    reds, blues = ([picture[100, 100, channel] for picture in seen] for channel in (0, 2))
    assert reds[0] > 60 and blues[0] == 0
    assert reds[1] == 0 and blues[1] > 60


def test_an_empty_volume_is_an_empty_picture():
    picture = viewer.render_voxels(np.zeros((8, 8, 8), dtype=bool))
    assert picture.shape[1:] == (200, 4) and picture.dtype == np.uint8 and not picture.any()


def test_a_label_without_a_colour_is_refused():
    with pytest.raises(ValueError, match=r"labels \[x, y, z\] up to 1.*up to 3"):
        viewer.render_voxels(np.full((4, 4, 4), 3, dtype=np.uint8))


def test_agreement_counts():
    truth, prediction = box(), np.roll(box(), 1, axis=0)
    counts = np.bincount(viewer.label_agreement(truth, prediction).ravel(), minlength=4)
    slab = 4 * 8
    assert counts.tolist() == [32**3 - 29 * slab, 27 * slab, slab, slab]


def test_agreement_refuses_probabilities():
    with pytest.raises(ValueError, match="two boolean volumes.*float64"):
        viewer.label_agreement(box(), box().astype(float))


def test_mosaic_puts_clear_pixels_on_white_and_resizes():
    sheet = viewer.mosaic([[photo(10), np.zeros((24, 24, 4), dtype=np.uint8)], [photo(200, channels=1)]], gap=2)
    assert sheet.shape == (26, 26, 3)
    assert (sheet[:12, :12] == 10).all() and (sheet[:12, 14:] == 255).all() and (sheet[14:, :12] == 200).all()


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3)), np.zeros((4, 4), dtype=np.uint8)])
def test_mosaic_refuses_what_is_no_photo(bad: np.ndarray):
    with pytest.raises(ValueError, match="a photo is uint8"):
        viewer.mosaic([[bad]])


def test_contact_sheet_titles_have_to_fit():
    figure = viewer.contact_sheet([[photo(0), photo(50)]], ["studio"], ["0°", "45°"])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0°", "45°"]
    with pytest.raises(ValueError, match="1 column titles for 2 columns"):
        viewer.contact_sheet([[photo(0), photo(50)]], column_titles=["0°"])


def test_panels_show_the_iou_and_both_kinds_of_error():
    rows = [viewer.Panel("one", [photo(90)] * 4, box(), {"same": box(), "off": np.roll(box(), 1, axis=0)})]
    figure = viewer.panels(rows)
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "IoU 1.000", f"IoU {27 / 29:.3f}"]
    off = figure.axes[3].images[0].get_array()
    orange = (off[..., 0] > 150) & (off[..., 2] < 60) & (off[..., 3] > 0)
    blue = (off[..., 2] > 60) & (off[..., 0] < 30) & (off[..., 3] > 0)
    assert orange.any() and blue.any()
    assert np.ptp(pixels(figure)[..., :3]) > 200


def test_panels_of_networks_that_did_not_run_are_named():
    rows = [viewer.Panel("a", [photo(9)], box(), {"f": box()}), viewer.Panel("b", [photo(9)], box(), {"a": box()})]
    assert [axes.get_xlabel() for axes in viewer.panels(rows).axes[2:4]] == ["IoU 1.000", "not run"]


def test_a_gallery_goes_on_in_the_next_line():
    row = viewer.Panel("one\nfoot", [photo(90)] * 4, box(), {name: box() for name in "abcd"})
    axes = viewer.gallery(row, across=4).axes
    assert [one.get_title() for one in axes[:6]] == ["input", "truth", "a", "b", "c", "d"]
    assert [one.get_xlabel() for one in axes[2:6]] == ["IoU 1.000"] * 4 and not axes[7].axison


def test_the_best_and_the_worst_stand_below_all_scores():
    off = np.roll(box(), 1, axis=0)
    rows = {"best": box(), "median": off, "worst": off}
    groups = {title: [viewer.Panel(f"{title} 1\nperson", [photo(90)], box(), {"n": of})] for title, of in rows.items()}
    strip, *cells = viewer.best_to_worst(groups, [1.0, 27 / 29, 27 / 29, 0.95]).axes
    assert strip.get_xlabel() == "IoU of each of 4" and len(strip.collections[0].get_segments()) == 4
    assert [line.get_xdata()[0] for line in strip.lines] == pytest.approx([1, 27 / 29, 27 / 29])
    assert [cell.get_xlabel() for cell in cells[:3]] == ["person", "", "IoU 1.000"] and len(cells) == 9


def test_slices_are_in_millimetres_and_the_right_way_round():
    side, above, front = viewer.slices(box(), CUBE, outline=box()).axes
    assert side.get_xlim() == pytest.approx((-160, 160)) and side.get_ylim() == pytest.approx((0, 320))
    assert above.get_ylim() == pytest.approx((160, -160)) and front.get_xlim() == pytest.approx((160, -160))
    shown = np.argwhere(np.asarray(side.images[0].get_array()))
    assert np.ptp(shown, axis=0).tolist() == [3, 27]
    assert np.ptp(np.argwhere(np.asarray(front.images[0].get_array())), axis=0).tolist() == [3, 7]


def test_slices_are_cut_where_they_are_told():
    side, above, front = viewer.slices(box(), CUBE, at=[0, 31, 24]).axes
    assert [axes.images[0].get_array().any() for axes in (side, above, front)] == [True, False, False]
    assert side.get_title() == "side, z = 85 mm"
    side = viewer.slices(box(), CUBE, at=[0, 31, 24], is_metric=False).axes[0]
    assert side.get_title() == "side, z = 0.27 edges" and side.get_xlabel() == "x [edges]"


def test_histograms_carry_units_and_the_expected_curve():
    people = pd.DataFrame({"sex": ["men"] * 30 + ["women"] * 30, "length_mm": np.linspace(220, 290, 60)})
    expected = {"length_mm": {"men": (265.0, 13.0)}}
    figure = viewer.histograms(people, ["length_mm"], by="sex", units={"length_mm": "mm"}, expected=expected)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "length [mm]"
    (curve,) = axes.lines
    assert curve.get_xdata()[np.argmax(curve.get_ydata())] == pytest.approx(265)


def test_names_that_would_cover_each_other_move_apart_and_the_others_stay():
    from p2vtools.viewer.figures import _apart

    placed = _apart([0.1, 0.5, 0.5, 0.5, 0.9], 0.1)
    assert placed == pytest.approx([0.1, 0.4, 0.5, 0.6, 0.9], abs=1e-3)


def test_iou_against_views_draws_a_line_a_model_with_its_interval():
    summary = pd.DataFrame(
        [{"model": m, "views": v, "iou": v / 10, "low": v / 11, "high": v / 9} for m in "ab" for v in (4, 1, 2)]
    )
    published = pd.DataFrame({"model": "Pix2Vox-A", "views": [1, 2, 20], "iou": [0.661, 0.686, 0.706]})
    axes = viewer.iou_against_views(summary, published).axes[0]
    assert [line.get_xdata().tolist() for line in axes.lines[:2]] == [[1, 2, 4]] * 2
    assert len(axes.collections) == 2
    assert axes.lines[2].get_xdata().tolist() == [1, 2]


def test_the_mean_shape_is_grey_and_colours_that_come_again_look_otherwise():
    names = ["a", "mean-shape", *"bcdefg"]
    costs = pd.DataFrame({"system": names, "milliseconds": 5.0, "iou": 0.5, "low": 0.4, "high": 0.6})
    summary = pd.DataFrame([{"model": m, "views": v, "iou": 0.5} for m in names for v in (1, 2)])
    lines = viewer.iou_against_views(summary).axes[0].lines
    looks = {line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(set(looks.values())) == len(names) and looks["mean-shape"][0] == "#7a808a"
    assert looks["a"][0] == looks["g"][0] and looks["a"][1:] != looks["g"][1:]
    drawn = viewer.iou_against_cost(costs).axes[0].containers
    assert {bars.get_label(): bars.lines[0].get_color() for bars in drawn} == {n: c for n, (c, _, _) in looks.items()}


def test_reliability_draws_what_would_be_right_and_a_line_for_each():
    table = pd.DataFrame({"predicted": [0.1, 0.5, 0.9], "occupied": [0.2, 0.5, 0.7]})
    right, line = viewer.reliability_diagram({"rays": table}).axes[0].lines
    assert list(right.get_xdata()) == list(right.get_ydata()) == [0, 1]
    assert line.get_xdata().tolist() == [0.1, 0.5, 0.9] and line.get_ydata().tolist() == [0.2, 0.5, 0.7]


def test_camera_poses_tell_where_the_cameras_stand():
    cameras = [look_at((azimuth, 40, 0, 0.5, 50), CUBE.centre, 480, 640) for azimuth in (0, 90, 270)]
    figure = viewer.camera_poses(cameras, CUBE)
    told = np.asarray(figure.data[-1].customdata)
    np.testing.assert_allclose(told, [[0, 40, 0.5], [90, 40, 0.5], [270, 40, 0.5]], atol=1e-6)
    assert figure.data[-1].z[1] > 0.3, "azimuth 90 stands on +z"
    assert figure.layout.scene.camera.up.y == 1
    edges = figure.data[0]
    assert np.isnan(edges.x).sum() == 12, "a cube has twelve edges"


def test_viewing_pyramids_point_at_the_cube():
    camera = look_at((30, 40, 0, 0.5, 50), CUBE.centre, 480, 640)
    pyramid = viewer.camera_poses([camera], CUBE).data[2]
    points = np.column_stack([pyramid.x, pyramid.y, pyramid.z])
    rim = points[:4].mean(axis=0)
    towards = (CUBE.centre - camera.position) / 0.5
    np.testing.assert_allclose((rim - camera.position) / np.linalg.norm(rim - camera.position), towards, atol=1e-6)


def test_history_has_a_curve_for_each_training():
    table = pd.DataFrame({"training": ["a", "a", "b"], "step": [50, 100, 50], "loss": 0.5, "validation_iou": 0.4})
    figure = viewer.training_curves(table, by="training")
    assert [list(curve.x) for curve in figure.data] == [[50, 100], [50, 100], [50], [50]]
    assert figure.layout.yaxis2.title.text == "IoU"


def test_iou_curves_tell_the_interval_and_the_published_numbers():
    summary = pd.DataFrame(
        [{"model": m, "views": v, "iou": v / 10, "low": v / 11, "high": v / 9} for m in "ab" for v in (4, 1)]
    )
    published = pd.DataFrame({"model": "Pix2Vox-A", "views": [1, 2, 20], "iou": [0.661, 0.686, 0.706]})
    first, second, theirs = viewer.iou_curves(summary, published).data
    assert (first.name, list(first.x), list(first.y)) == ("a", [1, 4], [0.1, 0.4])
    assert np.allclose(first.error_y.array, [1 / 90, 4 / 90]) and "95 % interval" in second.hovertemplate
    assert list(theirs.x) == [1, 2] and theirs.line.dash == "dot"


def scenes_of(bundle: dict) -> list[str]:
    return re.findall(r'class="p2v-scene"', bundle["text/html"])


def test_of_all_snapshots_only_the_first_brings_the_script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("P2VLIB_BATCH", "1")
    monkeypatch.setattr(static_html, "_told", False)
    bundles = [viewer.volume_scene({"truth": box(), "other": box()}, CUBE)._repr_mimebundle_() for _ in range(2)]
    first, second = (bundle["text/html"] for bundle in bundles)
    assert [len(scenes_of(bundle)) for bundle in bundles] == [1, 1]
    assert "p2vDrawer" in first and len(first) < 1.3e6
    assert "p2vDrawer" not in second and len(second) < 6000
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']?(https?:)?//""", first)


def test_a_saved_page_brings_its_own_script_whatever_was_shown_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(static_html, "_told", True)
    page = viewer.volume_scene({"truth": box()}, CUBE).page()
    assert "p2vDrawer" in page and outside_addresses(page) == []


def test_volumes_stand_where_they_are_in_millimetres():
    surface, _, second, _ = viewer.volume_scene({"truth": box(), "other": box()}, CUBE).plots[0].objects
    # Samples at the centres of voxels, and one empty voxel all round.
    lower, upper = np.reshape(surface.get_bounding_box(), (3, 2)).T + [0, 160, 0]
    np.testing.assert_allclose(lower, [-145, -5, 35], atol=0.01)
    np.testing.assert_allclose(upper, [145, 45, 125], atol=0.01)
    assert surface.get_bounding_box()[4] - second.get_bounding_box()[4] == pytest.approx(352)
    with pytest.raises(ValueError, match="the volume is empty: no voxel above 0.5"):
        viewer.volume_scene({"truth": np.zeros_like(box())}, CUBE)


def test_the_readers_own_style_is_left_alone():
    import matplotlib

    before = matplotlib.rcParams.copy()
    viewer.slices(box(), CUBE)
    assert matplotlib.rcParams == before
