"""The viewer without a browser: what its controls choose is what the library computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from p2vlib import evaluation, models
from p2vlib.data.capture_folder import read_photo_set
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou, read_binvox
from p2vtools import viewer
from p2vtools.fit import reconstruct
from p2vtools.viewer import sample as looked_at
from p2vtools.viewer import saving, scene
from p2vtools.viewer.app import App, static_view
from p2vtools.viewer.prediction_cache import Answers, Choice


@pytest.fixture(scope="module")
def folder(right_foot: Path) -> looked_at.Sample:
    (sample,) = looked_at.samples(right_foot)
    return sample


@pytest.fixture(scope="module")
def table(smoke) -> list[looked_at.Sample]:
    """A left and a right foot as networks see them."""
    pick = dict(dataset="feet", split="test", look="phone", light="drift", cube="metric", subject="person-test-0000")
    return looked_at.samples(smoke.captures.select(**pick))


@pytest.fixture(scope="module")
def networks(weights) -> dict[str, tuple[torch.nn.Module, float]]:
    """One that knows cameras and answers finely, and one with a refiner that has learnt nothing."""
    torch.manual_seed(0)
    narrow = models.build("pix2vox-a-narrow", image_size=weights.model.config.image_size).eval()
    return {"rays": (weights.model, weights.threshold), "narrow": (narrow, 0.5)}


@pytest.fixture
def app(folder, networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.chdir(tmp_path)
    return App(Answers([folder], networks))


def told(app: App) -> str:
    return re.search(r"IoU (\S+)", app.line.value)[1]


def test_a_folder_is_answered_as_reconstruct_answers_it(folder, weights, right_foot):
    for size in (32, 64):
        foot = reconstruct.reconstruct(weights, read_photo_set(right_foot), size)
        own = looked_at.predict_sample(folder, (weights.model, weights.threshold), range(4), size).probability
        np.testing.assert_allclose(own, foot.probability, atol=1e-4)


def test_a_table_is_answered_as_it_is_evaluated(table, weights, smoke):
    pick = dict(dataset="feet", split="test", look="phone", light="drift", cube="metric", subject="person-test-0000")
    captures = smoke.captures.select(**pick)
    expected = evaluation.predict(weights.model, captures, [0, 2]).detach().numpy()
    for row, sample in enumerate(table):
        answer = looked_at.predict_sample(sample, (weights.model, weights.threshold), [0, 2])
        there = answer.probability[..., ::-1] if sample.side == "right" else answer.probability
        np.testing.assert_allclose(there, expected[row], atol=0.02)
        truth = captures.truth[row].numpy()
        agreed = looked_at.facts(sample, answer.probability, weights.threshold).iou
        assert agreed == pytest.approx(iou(there >= weights.threshold, truth))


def test_cameras_of_a_table_are_those_of_the_capture(table, right_foot):
    (right,) = (sample for sample in table if sample.side == "right")
    (left,) = (sample for sample in table if sample.side == "left")
    shots = read_photo_set(right_foot)
    cube = read_binvox(right_foot / "model.binvox").cube
    shift = np.array(cube.lower) - np.array(FOOT_CUBE.lower)
    true = {tuple(np.round(camera.position - shift, 3)) for camera in shots.cameras}
    assert {tuple(np.round(camera.position, 3)) for camera in right.cameras} == true
    assert {tuple(np.round(camera.position, 3)) for camera in left.cameras} != true


def test_the_line_follows_the_threshold(app, folder, weights):
    answer = looked_at.predict_sample(folder, (weights.model, weights.threshold), range(4))
    for threshold in (weights.threshold, 0.7, 0.31):
        app.threshold.value = threshold
        expected = iou(answer.probability >= app.threshold.value, folder.truth(32))
        assert told(app) == f"{expected:.3f}"
    assert "mm" in app.line.value and "cm³" in app.line.value


def test_the_line_tells_of_what_is_shown(app):
    app.network.value = "narrow"
    app.threshold.value = 0.45
    answer, sample = app.answers.of("narrow", app.choice), app.answers.samples[0]
    after, before = (looked_at.facts(sample, volume, 0.45) for volume in (answer.refined, answer.coarse))
    assert (before.agreed, before.size) != (after.agreed, after.size)
    for way in scene.SHOWN:
        app.shown.value = way
        of = before if way == "before the refiner" else after
        agreed = f"{before.agreed} → {after.agreed}" if way == "change by the refiner" else of.agreed
        assert app.line.value.endswith(f": IoU {agreed} · {of.size}"), way


def test_fewer_photos_are_asked_anew_within_a_second(app, folder, weights):
    before = told(app)
    app.views.value = 2
    expected = looked_at.predict_sample(folder, (weights.model, weights.threshold), [0, 2])
    assert told(app) == f"{iou(expected.probability >= weights.threshold, folder.truth(32)):.3f}" != before
    assert app.strip.value.count("<img") == 2 and app.photo.max == 2
    assert expected.seconds < 1
    again = app.answers.of("rays", app.choice)
    assert again is app.answers.of("rays", app.choice), "asked twice"


def test_controls_offer_what_a_network_can_do(app):
    sizes = [size for _, size in app.size.options]
    ways = [way for _, way in app.shown.options]
    assert sizes == [32, 64, 128] and not any("refiner" in way for way in ways)
    app.network.value = "narrow"
    assert [size for _, size in app.size.options] == [32]
    assert [way for _, way in app.shown.options] == list(scene.SHOWN)


def test_two_networks_stand_side_by_side(app):
    app.beside.value = "narrow"
    assert len(app.scenes.children) == 2 and "<br>" in app.line.value
    assert [name for _, name in app.beside.options] == ["none", "narrow"], "no network stands beside itself"
    assert app.beside_threshold.value == 0.5 and app.beside_threshold.layout.display is None
    app.beside.value = "none"
    assert len(app.scenes.children) == 1 and app.beside_threshold.layout.display == "none"


def test_each_network_keeps_its_threshold(app, weights):
    app.threshold.value = 0.62
    app.beside.value = "narrow"
    app.beside_threshold.value = 0.31
    assert app.threshold.value == 0.62
    app.network.value = "narrow"
    assert app.threshold.value == 0.31 and app.beside.value == "none"
    app.network.value = "rays"
    assert app.threshold.value == 0.62 != weights.threshold


def test_every_way_to_look_is_drawn(app):
    app.network.value = "narrow"
    for _, way in app.shown.options:
        app.shown.value = way
        assert "alert" not in app.line.value
        expected = {"surface", "truth"} if way == "surface" else {"solid"}
        assert expected | {"floor"} <= visible(app) and len(visible(app) & {"surface", "truth", "solid"}) == len(
            expected
        )
    app.cameras.value = app.floor.value = False
    assert visible(app) == {"solid"}
    app.cameras.value = True
    assert visible(app) == {"solid", "cameras", "camera 00.jpg", "photos"}


def test_the_colours_of_weights_go_from_nothing_to_twice_an_even_share(app):
    app.shown.value = "weight of the photo"
    answer = app.answers.of("rays", app.choice)
    labels, colours = scene.labelled(app.answers.samples[0], answer, 0.5, "weight of the photo", 1)
    solid, share = answer.refined >= 0.5, answer.scores[1] / 0.5
    assert set(labels[solid & (share >= 1)]) == {len(colours)}
    np.testing.assert_allclose(labels[solid], np.minimum(1, share[solid]) * len(colours) + 0.5, atol=0.51)
    assert all(words in app.legend.value for words in ("0.25: an even share of 4", "0.50 or more"))
    app.views.value = 2
    assert "0.50: an even share of 2" in app.legend.value and "1.00" in app.legend.value


def visible(app: App) -> set[str]:
    return {one.name for one in app.plots[0].objects if one.visible}


def test_the_marked_photo_is_marked_in_both_places(app):
    app.photo.value = 2
    marked = {name for name in visible(app) if name.startswith("camera ")}
    assert marked == {"camera 03.jpg"}, "a right foot's photos come in the other order"
    assert app.strip.value.index("#D55E00") > app.strip.value.index("photo 1")


def test_slices_open_in_the_middle_and_follow_their_sliders(app):
    app.has_cuts.value = True
    first = app.cuts.value
    assert all(0 < slider.value < 31 for slider in app.along) and app.cutting.layout.display is None
    app.along[0].value += 3
    assert app.cuts.value[:4] == b"\x89PNG" and app.cuts.value != first


@pytest.mark.parametrize("ending", [".obj", ".stl", ".glb", ".ply"])
def test_meshes_are_saved_as_they_are_seen(app, folder, ending):
    app.format.value = ending
    for way in ("surface", "agreement"):
        app.shown.value, app.file.value = way, f"{way}{ending}"
        app.save.click()
        assert "written" in app.saved.value
        extent = trimesh.load(app.file.value, force="mesh").extents / (1000 if ending == ".stl" else 1)
        np.testing.assert_allclose(extent, [0.26, 0.12, 0.1], atol=0.012)


def test_a_grid_and_a_page_are_saved(app):
    app.format.value = ".binvox"
    app.save.click()
    solid = app.answers.of("rays", app.choice).probability >= app.threshold.value
    assert np.array_equal(read_binvox(Path(app.file.value)).volume, solid)
    app.beside.value = "narrow"
    app.save.click()
    assert "one grid, that of rays" in app.saved.value
    app.beside.value = "none"
    app.format.value = ".html"
    app.save.click()
    page = Path(app.file.value).read_text()
    assert page.count('class="p2v-scene"') == 1 and "IoU" in page and "p2vDrawer" in page


def test_what_cannot_be_saved_is_told_in_a_sentence(app):
    app.file.value = "foot.step"
    app.save.click()
    expected = "foot.step: cannot be saved as .step; expected .obj, .stl, .glb, .ply, .binvox, .png, .html"
    assert expected in app.saved.value and not Path("foot.step").exists()


def test_a_name_and_the_list_of_endings_follow_each_other(app):
    app.file.value = "mine.binvox"
    assert app.format.value == ".binvox"
    app.format.value = ".stl"
    assert app.file.value == "mine.stl"
    app.network.value = "narrow"
    assert app.file.value == "mine.stl"
    app.file.value = "endless"
    app.save.click()
    assert "endless.stl: written" in app.saved.value and Path("endless.stl").is_file()
    app.file.value = " "
    app.save.click()
    assert app.file.value.endswith(".stl") and f"{app.file.value}: written" in app.saved.value


def test_no_file_is_overwritten(app):
    app.file.value = "mine.binvox"
    Path("mine.binvox").write_text("another")
    for name in ("mine-2.binvox", "mine-3.binvox"):
        app.save.click()
        assert f"{name}: written" in app.saved.value and read_binvox(Path(name)).volume.any()
    assert Path("mine.binvox").read_text() == "another"


def test_pictures_of_two_scenes_become_one(tmp_path):
    shots = []
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (30, 20), colour).save(tmp_path / f"{name}.png")
        shots.append((tmp_path / f"{name}.png").read_bytes())
    saving.save_picture(tmp_path / "both.png", shots)
    both = np.asarray(Image.open(tmp_path / "both.png"))
    assert both.shape == (20, 60, 3) and both[0, 0, 0] == 255 and both[0, -1, 2] == 255


def test_a_batch_run_shows_the_first_two_still(folder, networks):
    shown = static_view(Answers([folder], networks), 2)
    assert len(shown.plots) == 2 and not shown.is_live
    assert max(len(plot.get_binary_snapshot(9)) for plot in shown.plots) < 6000, "bytes of a scene"
    assert len(shown.html()) < 30_000 and shown.html().count("<b>") == 2


def test_what_a_network_cannot_do_is_told_in_a_sentence(folder):
    torch.manual_seed(0)
    app = App(Answers([folder], {"rays": (models.build("rays", image_size=96).eval(), 0.5)}))
    assert "alert" not in app.line.value
    app.size.options = [("512", 512)]
    assert "answers at 32 voxels a side; found 512" in app.line.value


def test_a_folder_that_is_not_there_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="no such folder; expected a capture folder"):
        viewer.view(tmp_path / "nobody")


def test_shuffled_photos_are_the_same_photos_in_another_order(folder, networks):
    answers = Answers([folder], networks)
    chosen = answers.chosen(Choice(views=4, order="shuffled"))
    assert sorted(chosen) == [0, 1, 2, 3] and chosen != [0, 1, 2, 3]
