import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from p2vlib import evaluation, models
from p2vlib.data.dataset import Captures
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou
from p2vtools import viewer
from p2vtools.archives.binvox import read_binvox
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.reconstruct import reconstruct
from p2vtools.viewer import sample as samples
from p2vtools.viewer import scene, static_html
from p2vtools.viewer.app import App, static_view
from p2vtools.viewer.sample import Choice, Predictions, Sample, load_samples, predict_sample


@pytest.fixture(scope="module")
def foot(right_foot: Path) -> Sample:
    """The sample of a capture folder."""
    (sample,) = load_samples(right_foot)
    return sample


@pytest.fixture(scope="module")
def captures(smoke) -> Captures:
    """A left and a right foot of one person as networks receive them."""
    columns = {"dataset": "feet", "split": "test", "look": "phone", "light": "drift", "cube": "metric"}
    return smoke.captures.select(**columns, subject="person-test-0000")


@pytest.fixture(scope="module")
def networks(weights) -> dict[str, tuple[torch.nn.Module, float]]:
    """A network with cameras and a point head, and an untrained one with a refiner."""
    torch.manual_seed(0)
    narrow = models.build("pix2vox-a-narrow", image_size=weights.model.config.image_size).eval()
    return {"rays": (weights.model, weights.threshold), "narrow": (narrow, 0.5)}


@pytest.fixture
def app(foot, networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.chdir(tmp_path)
    return App(Predictions([foot], networks))


def displayed_iou(app: App) -> str:
    return re.search(r"IoU (\S+)", app.result.value)[1]


def visible(app: App) -> set[str]:
    return {one.name for one in app.plots[0].objects if one.visible}


def test_a_capture_folder_is_predicted_as_by_reconstruct_in_any_order_of_its_photos(
    foot, weights, right_foot, networks, tmp_path
):
    expected = reconstruct(weights, read_photo_set(right_foot), 64).probability
    prediction = predict_sample(foot, (weights.model, weights.threshold), range(4), 64)
    np.testing.assert_allclose(prediction.probability, expected, atol=1e-4)
    predictions = Predictions([foot], networks)
    shuffled = predictions.photo_numbers(Choice(views=4, order="shuffled"))
    assert sorted(shuffled) == [0, 1, 2, 3] and shuffled != [0, 1, 2, 3]
    assert predictions.photo_numbers(Choice(views=2)) == [0, 2]
    with pytest.raises(ValueError, match="no such folder; expected a capture folder"):
        viewer.view(tmp_path / "nobody")


def test_a_table_is_predicted_as_in_the_evaluation_with_the_cameras_of_its_captures(captures, weights, right_foot):
    expected = evaluation.predict(weights.model, captures, [0, 2]).detach().numpy()
    for row, sample in enumerate(load_samples(captures)):
        probability = predict_sample(sample, (weights.model, weights.threshold), [0, 2]).probability
        mirrored = probability[..., ::-1] if sample.side == "right" else probability
        np.testing.assert_allclose(mirrored, expected[row], atol=0.02)
        score = samples.describe_iou(sample, probability, weights.threshold)
        assert score == f"{iou(mirrored >= weights.threshold, captures.truth[row].numpy()):.3f}"
    by_side = {sample.side: sample for sample in load_samples(captures)}
    offset = np.array(read_binvox(right_foot / "model.binvox").cube.lower) - np.array(FOOT_CUBE.lower)

    def positions(cameras: list, offset: np.ndarray | float = 0.0) -> set[tuple]:
        return {tuple(np.round(camera.position - offset, 3)) for camera in cameras}

    expected = positions(read_photo_set(right_foot).cameras, offset)
    assert positions(by_side["right"].cameras) == expected != positions(by_side["left"].cameras)


def test_result_follows_the_threshold_and_slices_and_photos_are_selected(app, foot, weights):
    probability = predict_sample(foot, (weights.model, weights.threshold), range(4)).probability
    for threshold in (weights.threshold, 0.7, 0.31):
        app.controls.threshold.value = threshold
        expected = iou(probability >= app.controls.threshold.value, foot.truth(32))
        assert displayed_iou(app) == f"{expected:.3f}"
    assert "mm" not in app.result.value and "cm³" in app.result.value
    controls = app.controls
    controls.slices.value = True
    first = app.slice_image.value
    sliders = (controls.slice_x, controls.slice_y, controls.slice_z)
    assert all(0 < slider.value < 31 for slider in sliders) and app.slice_box.layout.display is None
    controls.slice_x.value += 3
    assert app.slice_image.value[:4] == b"\x89PNG" and app.slice_image.value != first
    controls.photo.value = 2
    cameras = {name for name in visible(app) if name.startswith("camera ")}
    assert cameras == {"camera 03.jpg"}, "the photos of a right foot are in reverse order"
    assert app.photos.value.index("#D55E00") > app.photos.value.index("photo 1")


def test_every_mode_is_drawn_and_described(app, foot):
    app.controls.network.value = "narrow"
    app.controls.threshold.value = 0.45
    prediction = app.predictions.get("narrow", app.choice)
    before, after = (
        (samples.describe_iou(foot, volume, 0.45), samples.describe_size(foot, volume, 0.45))
        for volume in (prediction.coarse, prediction.refined)
    )
    assert before != after
    solids = {"surface", "truth", "solid"}
    for mode in scene.MODES:
        app.controls.mode.value = mode
        assert visible(app) & solids == ({"surface", "truth"} if mode == "surface" else {"solid"})
        assert "floor" in visible(app)
        score, size = before if mode == "before the refiner" else after
        score = f"{before[0]} → {score}" if mode == "change by the refiner" else score
        assert app.result.value.endswith(f": IoU {score} · {size}"), mode
    app.controls.cameras.value = app.controls.floor.value = False
    assert visible(app) == {"solid"}
    app.controls.cameras.value = True
    assert visible(app) == {"solid", "cameras", "camera 00.jpg", "photos"}


def test_fewer_photos_are_predicted_once(app, foot, weights, monkeypatch):
    """A prediction is computed when it is first selected; the threshold and the mode only redraw it."""
    computed, original = [], samples.predict_sample

    def count(sample: Sample, network: tuple, photos: list[int], size: int) -> samples.Prediction:
        computed.append((tuple(photos), size))
        return original(sample, network, photos, size)

    monkeypatch.setattr(samples, "predict_sample", count)
    before = displayed_iou(app)
    app.controls.views.value = 3
    probability = original(foot, (weights.model, weights.threshold), [0, 1, 2]).probability
    assert displayed_iou(app) == f"{iou(probability >= weights.threshold, foot.truth(32)):.3f}" != before
    assert app.photos.value.count("<img") == 3 and app.controls.photo.max == 3
    app.controls.threshold.value = 0.6
    app.controls.mode.value = "voxels"
    app.controls.views.value = 4
    app.controls.views.value = 3
    assert computed == [((0, 1, 2), 32)]


def test_two_networks_side_by_side(app, weights):
    controls = app.controls
    assert [size for _, size in controls.resolution.options] == [32, 64, 128]
    assert not any("refiner" in mode for _, mode in controls.mode.options)
    controls.threshold.value = 0.62
    controls.second.value = "narrow"
    assert len(app.scenes.children) == 2 and "<br>" in app.result.value
    assert [name for _, name in controls.second.options] == ["none", "narrow"]
    assert controls.second_threshold.value == 0.5 and controls.second_threshold.layout.display is None
    controls.second_threshold.value = 0.31
    assert controls.threshold.value == 0.62
    controls.network.value = "narrow"
    assert [size for _, size in controls.resolution.options] == [32]
    assert [mode for _, mode in controls.mode.options] == list(scene.MODES)
    assert controls.threshold.value == 0.31 and controls.second.value == "none", "each network keeps its threshold"
    assert len(app.scenes.children) == 1 and controls.second_threshold.layout.display == "none"
    controls.network.value = "rays"
    assert controls.threshold.value == 0.62 != weights.threshold


def test_colours_of_view_weights(app, foot):
    app.controls.mode.value = "weight of the photo"
    prediction = app.predictions.get("rays", app.choice)
    labels, colours = scene.label_voxels(foot, prediction, 0.5, "weight of the photo", 1)
    solid, share = prediction.refined >= 0.5, prediction.view_weights[1] / 0.5
    assert set(labels[solid & (share >= 1)]) == {len(colours)}, "from twice the uniform weight"
    np.testing.assert_allclose(labels[solid], np.minimum(1, share[solid]) * len(colours) + 0.5, atol=0.51)
    assert all(text in app.legend.value for text in ("0.25: uniform weight of 4", "0.50 or more"))
    app.controls.views.value = 2
    assert "0.50: uniform weight of 2" in app.legend.value and "1.00" in app.legend.value


def test_an_error_is_shown_in_place_of_the_result(app):
    def fail(*_: object) -> None:
        raise ValueError("photos of 64 pixels")

    app.predictions.get = fail
    app.controls.threshold.value = 0.7
    assert 'role="alert"' in app.result.value and "photos of 64 pixels" in app.result.value
    assert "working" not in app.status.value


def test_a_batch_run_shows_two_small_scenes(foot, networks):
    scenes = static_view(Predictions([foot], networks), 2)
    assert len(scenes.plots) == 2
    assert max(len(plot.get_binary_snapshot(9)) for plot in scenes.plots) < 6000, "bytes of a scene"
    assert len(scenes.html()) < 30_000 and scenes.html().count("<b>") == 2


def save(app: App, name: str, extension: str) -> str:
    """Saves the view and returns the message."""
    app.controls.file.value, app.controls.format.value = name, extension
    app.controls.save.click()
    return app.saved.value


@pytest.mark.parametrize("extension", static_html.MESH_FORMATS)
def test_meshes_are_saved(app, extension, right_foot):
    truth = trimesh.load(right_foot / "model.obj", force="mesh").extents
    for mode in ("surface", "agreement"):
        app.controls.mode.value = mode
        assert f"{mode}{extension}: written" in save(app, mode, extension)
        extents = trimesh.load(f"{mode}{extension}", force="mesh").extents / (1000 if extension == ".stl" else 1)
        np.testing.assert_allclose(extents, truth, atol=0.012)
    app.controls.threshold.value = 0.95
    app.predictions.get("rays", app.choice).probability[:] = 0.0
    assert "nothing is occupied at a threshold of 0.95" in save(app, "empty", extension)
    app.predictions.get.cache_clear()


def test_grid_page_and_picture_are_saved_under_new_names(app):
    """An empty name is replaced by the sample's, and existing files are not overwritten."""
    assert "written" in save(app, "foot", ".binvox")
    solid = app.predictions.get("rays", app.choice).probability >= app.controls.threshold.value
    assert np.array_equal(read_binvox(Path("foot.binvox")).volume, solid)
    Path("foot.binvox").write_text("existing", encoding="utf-8")
    for name in ("foot-2.binvox", "foot-3.binvox"):
        assert f"{name}: written" in save(app, "foot", ".binvox") and read_binvox(Path(name)).volume.any()
    assert Path("foot.binvox").read_text(encoding="utf-8") == "existing"
    assert "saved/person-test-0000-right.stl: written" in save(app, " ", ".stl")
    assert "written" in save(app, "page", ".html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count('class="p2v-scene"') == 1 and "IoU" in page and "p2vDrawer" in page
    app.controls.second.value = "narrow"
    assert "one grid, that of rays" in save(app, "two", ".binvox")
    for name in ("both.png", "both-2.png"):  # the same pictures twice
        save(app, "both", ".png")
        for plot, colour in zip(app.plots, ("red", "blue"), strict=True):
            picture = io.BytesIO()
            Image.new("RGB", (30, 20), colour).save(picture, "png")
            plot.screenshot = base64.b64encode(picture.getvalue()).decode()
        both = np.asarray(Image.open(name))
        assert both.shape == (20, 60, 3) and both[0, 0, 0] == 255 and both[0, -1, 2] == 255
