import re

import matplotlib
import numpy as np
import pandas as pd
import pytest

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import Cube
from p2vtools import viewer
from p2vtools.study.report.addresses import outside_addresses
from p2vtools.viewer import static_html
from p2vtools.viewer.curves import spread_labels

CUBE = Cube((-0.16, 0.0, -0.16), 0.32)


def box() -> np.ndarray:
    """Long in x, flat in y, and in the +z half only: swapped axes would be noticed."""
    volume = np.zeros((32, 32, 32), dtype=bool)
    volume[2:30, 0:4, 20:28] = True
    return volume


SHIFTED = np.roll(box(), 1, axis=0)
"""Its IoU with the box is 27 / 29."""


def photo(value: int, channels: int = 3, size: int = 12) -> np.ndarray:
    return np.full((size, size, channels), value, dtype=np.uint8)


def extent(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of what is opaque, as fractions of the picture."""
    rows, columns = np.nonzero(picture[..., 3])
    height, width = picture.shape[:2]
    return columns.min() / width, (columns.max() + 1) / width, rows.min() / height, (rows.max() + 1) / height


def curves(values: tuple[int, ...]) -> pd.DataFrame:
    """IoU of two models against the number of photos, with intervals."""
    rows = [{"model": m, "views": v, "iou": v / 10, "low": v / 11, "high": v / 9} for m in "ab" for v in values]
    return pd.DataFrame(rows)


PUBLISHED = pd.DataFrame({"model": "Pix2Vox-A", "views": [1, 2, 20], "iou": [0.661, 0.686, 0.706]})


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        pytest.param(90, 0, (2 / 32, 30 / 32, 28 / 32, 1), id="from the right: x to the right, y up"),
        pytest.param(0, 0, (1 - 28 / 32, 1 - 20 / 32, 28 / 32, 1), id="from the front: +z on the left"),
        pytest.param(90, 89.999, (2 / 32, 30 / 32, 20 / 32, 28 / 32), id="from above: +z below"),
    ],
)
def test_rendered_box_is_in_its_place(azimuth, elevation, expected):
    picture = viewer.render_voxels(box(), azimuth=azimuth, elevation=elevation, pixels=128)
    assert extent(picture) == pytest.approx(expected, abs=0.01)


def test_near_voxels_occlude_far_ones_and_the_frame_does_not_depend_on_the_grid():
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[6, 2:6, 2:6], labels[1, 2:6, 2:6] = 1, 2
    colours = ("#ff0000", "#0000ff")
    front, back = (viewer.render_voxels(labels, colours, azimuth=azimuth, elevation=0) for azimuth in (0, 180))
    assert front[100, 100, 0] > 60 and front[100, 100, 2] == 0
    assert back[100, 100, 0] == 0 and back[100, 100, 2] > 60
    coarse, fine = viewer.render_voxels(box()), viewer.render_voxels(box().repeat(2, 0).repeat(2, 1).repeat(2, 2))
    assert coarse.shape == fine.shape and extent(coarse) == pytest.approx(extent(fine), abs=0.01)


def test_empty_volumes_labels_and_contact_sheets():
    picture = viewer.render_voxels(np.zeros((8, 8, 8), dtype=bool))
    assert picture.shape[1:] == (200, 4) and picture.dtype == np.uint8 and not picture.any()
    counts = np.bincount(viewer.label_agreement(box(), SHIFTED).ravel(), minlength=4)
    slab = 4 * 8
    assert counts.tolist() == [32**3 - 29 * slab, 27 * slab, slab, slab]
    figure = viewer.contact_sheet([[photo(0), photo(50)]], ["studio"], ["0°", "45°"])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0°", "45°"]
    with pytest.raises(ValueError, match=r"locations \(2\).*number of labels \(1\)"):
        viewer.contact_sheet([[photo(0), photo(50)]], column_titles=["0°"])


def test_a_mosaic_composites_on_white_resizes_and_keeps_aspect_ratios():
    sheet = viewer.mosaic([[photo(10), photo(0, channels=4, size=24)], [photo(200, channels=1)]], gap=2)
    assert sheet.shape == (26, 26, 3)
    assert (sheet[:12, :12] == 10).all() and (sheet[:12, 14:] == 255).all() and (sheet[14:, :12] == 200).all()
    sheet = viewer.mosaic([[np.zeros((20, 10, 3), np.uint8), np.zeros((30, 60, 3), np.uint8)]], gap=0)
    dark = sheet[..., 0] == 0
    assert sheet.shape == (20, 40, 3) and dark[:, 5:15].all() and dark[5:15, 20:].all() and dark.sum() == 200 + 200


def test_panels_galleries_and_strips_show_iou_and_both_kinds_of_error():
    figure = viewer.panels([viewer.Panel("one", [photo(90)] * 4, box(), {"same": box(), "shifted": SHIFTED})])
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "IoU 1.000", f"IoU {27 / 29:.3f}"]
    picture = figure.axes[3].images[0].get_array()
    orange = (picture[..., 0] > 150) & (picture[..., 2] < 60) & (picture[..., 3] > 0)
    blue = (picture[..., 2] > 60) & (picture[..., 0] < 30) & (picture[..., 3] > 0)
    assert orange.any() and blue.any()
    rows = [viewer.Panel(name, [photo(9)], box(), {name: box()}) for name in "ab"]
    assert [axes.get_xlabel() for axes in viewer.panels(rows).axes[2:4]] == ["IoU 1.000", "not run"]
    row = viewer.Panel("one\nfoot", [photo(90)] * 4, box(), {name: box() for name in "abcd"})
    axes = viewer.gallery(row).axes
    assert [one.get_title() for one in axes[:6]] == ["input", "truth", "a", "b", "c", "d"]
    assert [one.get_xlabel() for one in axes[2:6]] == ["IoU 1.000"] * 4 and not axes[7].axison
    predictions = {"best": box(), "median": SHIFTED, "worst": SHIFTED}
    groups = {
        name: [viewer.Panel(f"{name} 1\nperson", [photo(90)], box(), {"n": solid})]
        for name, solid in predictions.items()
    }
    strip, *cells = viewer.best_to_worst(groups, [1.0, 27 / 29, 27 / 29, 0.95]).axes
    assert strip.get_xlabel() == "IoU of each of 4" and len(strip.collections[0].get_segments()) == 4
    assert [line.get_xdata()[0] for line in strip.lines] == pytest.approx([1, 27 / 29, 27 / 29])
    assert [cell.get_xlabel() for cell in cells[:3]] == ["person", "", "IoU 1.000"] and len(cells) == 9


def test_slices_in_millimetres_and_orientation_and_at_given_voxels():
    settings = matplotlib.rcParams.copy()
    side, above, front = viewer.slices(box(), CUBE, outline=box()).axes
    assert matplotlib.rcParams == settings, "those of the user"
    assert side.get_xlim() == pytest.approx((-160, 160)) and side.get_ylim() == pytest.approx((0, 320))
    assert above.get_ylim() == pytest.approx((160, -160)) and front.get_xlim() == pytest.approx((160, -160))
    for axes, size in ((side, [3, 27]), (front, [3, 7])):
        assert np.ptp(np.argwhere(np.asarray(axes.images[0].get_array())), axis=0).tolist() == size
    side, above, front = viewer.slices(box(), CUBE, at=[0, 31, 24]).axes
    assert [axes.images[0].get_array().any() for axes in (side, above, front)] == [True, False, False]
    assert side.get_title() == "side, z = 85 mm"
    side = viewer.slices(box(), CUBE, at=[0, 31, 24], is_metric=False).axes[0]
    assert side.get_title() == "side, z = 0.27 edges" and side.get_xlabel() == "x [edges]"


def test_charts_show_their_values():
    people = pd.DataFrame({"sex": ["men"] * 30 + ["women"] * 30, "length_mm": np.linspace(220, 290, 60)})
    expected = {"length_mm": {"men": (265.0, 13.0)}}
    axes = viewer.histograms(people, ["length_mm"], by="sex", units={"length_mm": "mm"}, expected=expected).axes[0]
    assert axes.get_xlabel() == "length [mm]"
    (curve,) = axes.lines
    assert curve.get_xdata()[np.argmax(curve.get_ydata())] == pytest.approx(265)
    assert spread_labels([0.1, 0.5, 0.5, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.4, 0.5, 0.6, 0.9], abs=1e-3)
    table = pd.DataFrame({"predicted": [0.1, 0.5, 0.9], "occupied": [0.2, 0.5, 0.7]})
    diagonal, line = viewer.reliability_diagram({"rays": table}).axes[0].lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert line.get_xdata().tolist() == [0.1, 0.5, 0.9] and line.get_ydata().tolist() == [0.2, 0.5, 0.7]
    cloud = np.array([[0.1, 0.9, 0.2], [0.3, 0.4, 0.5]])
    _, axes = viewer.point_clouds(np.zeros((4, 4, 3)), {"one": cloud}).axes
    x, depth, height = axes.collections[0]._offsets3d
    assert list(x) == [0.1, 0.3] and list(height) == [0.9, 0.4] and list(depth) == [-0.2, -0.5]


def test_iou_against_views_as_a_picture_and_interactively():
    axes = viewer.iou_against_views(curves((4, 1, 2)), PUBLISHED).axes[0]
    assert [line.get_xdata().tolist() for line in axes.lines[:2]] == [[1, 2, 4]] * 2
    assert len(axes.collections) == 2, "an interval for each model"
    assert axes.lines[2].get_xdata().tolist() == [1, 2]
    first, second, published = viewer.iou_curves(curves((4, 1)), PUBLISHED).data
    assert (first.name, list(first.x), list(first.y)) == ("a", [1, 4], [0.1, 0.4])
    assert np.allclose(first.error_y.array, [1 / 90, 4 / 90]) and "high" in second.hovertemplate
    assert list(published.x) == [1, 2] and published.line.dash == "dot"


def test_line_styles_are_distinct_and_the_mean_shape_is_grey():
    names = ["a", "mean-shape", *"bcdefg"]
    costs = pd.DataFrame({"system": names, "milliseconds": 5.0, "iou": 0.5, "low": 0.4, "high": 0.6})
    summary = pd.DataFrame([{"model": m, "views": v, "iou": 0.5} for m in names for v in (1, 2)])
    lines = viewer.iou_against_views(summary).axes[0].lines
    styles = {line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(set(styles.values())) == len(names) and styles["mean-shape"][0] == "#7a808a"
    assert styles["a"][0] == styles["g"][0] and styles["a"][1:] != styles["g"][1:]
    bars = viewer.iou_against_cost(costs).axes[0].containers
    assert {bar.get_label(): bar.lines[0].get_color() for bar in bars} == {n: c for n, (c, _, _) in styles.items()}


def test_camera_poses():
    cameras = [look_at((azimuth, 40, 0, 0.5, 50), CUBE.centre, 480, 640) for azimuth in (0, 90, 270)]
    traces = {trace.name: trace for trace in viewer.camera_poses(cameras, CUBE).data}
    poses = np.asarray(traces["cameras"].customdata, dtype=float)
    np.testing.assert_allclose(poses, [[0, 40, 0.5], [90, 40, 0.5], [270, 40, 0.5]], atol=1e-6)
    assert traces["cameras"].z[1] > 0.3, "azimuth 90 is on +z"
    assert np.isnan(traces["cube"].x).sum() == 12, "edges"
    pyramid = traces["viewing pyramids"]
    points = np.column_stack([pyramid.x, pyramid.y, pyramid.z])[:11]
    axis = points[[1, 2, 4, 5]].mean(axis=0) - cameras[0].position
    expected = (CUBE.centre - cameras[0].position) / 0.5
    np.testing.assert_allclose(axis / np.linalg.norm(axis), expected, atol=1e-6)


def test_validation_is_drawn_against_steps_and_minutes():
    table = pd.DataFrame({"training": ["a", "a", "b"], "step": [50, 100, 50], "loss": 0.5, "validation_iou": 0.4})
    figure = viewer.training_curves(table, by="training")
    drawn = sorted((trace.name, *trace.x, trace.y[0]) for trace in figure.data)
    assert drawn == [("a", 50, 100, 0.4), ("a", 50, 100, 0.5), ("b", 50, 0.4), ("b", 50, 0.5)]
    assert [title.text for title in figure.layout.annotations] == ["training loss", "validation IoU"]
    rows = {"training": ["objects", "objects", "feet"], "model": "a", "seconds": [60.0, 120.0, 30.0]}
    table = pd.DataFrame({**rows, "validation_iou": [0.2, 0.4, 0.5]})
    figure = viewer.iou_against_minutes(table, {"objects": 0.3, "feet": 0.6})
    lines = [[line.get_xydata().tolist() for line in axes.lines] for axes in figure.axes]
    assert [axes.get_title() for axes in figure.axes] == ["objects", "feet"]
    assert lines[0][0] == [[1, 0.2], [2, 0.4]] and lines[1][0] == [[0.5, 0.5]] and lines[1][1][0][1] == 0.6


def test_volume_scene_is_in_millimetres():
    surface, _, second, _ = viewer.volume_scene({"truth": box(), "other": box()}, CUBE).plots[0].objects
    # Samples at the centres of voxels, with one empty voxel on each side.
    lower, upper = np.reshape(surface.get_bounding_box(), (3, 2)).T + [0, 160, 0]
    np.testing.assert_allclose(lower, [-145, -5, 35], atol=0.01)
    np.testing.assert_allclose(upper, [145, 45, 125], atol=0.01)
    assert surface.get_bounding_box()[4] - second.get_bounding_box()[4] == pytest.approx(352)
    with pytest.raises(ValueError, match="the volume is empty: no voxel above 0.5"):
        viewer.volume_scene({"truth": np.zeros_like(box())}, CUBE)


def test_only_the_first_static_scene_contains_the_script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("P2VLIB_BATCH", "1")
    monkeypatch.setattr(static_html, "_script_is_written", False)
    scenes = [viewer.volume_scene({"truth": box(), "other": box()}, CUBE) for _ in range(2)]
    first, second = (scene._repr_mimebundle_()["text/html"] for scene in scenes)
    assert [html.count('class="p2v-scene"') for html in (first, second)] == [1, 1]
    assert "p2vDrawer" in first and len(first) < 1.3e6
    assert "p2vDrawer" not in second and len(second) < 6000
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']?(https?:)?//""", first)
    page = scenes[1].page()
    assert "p2vDrawer" in page and outside_addresses(page) == [], "a page always contains it"
