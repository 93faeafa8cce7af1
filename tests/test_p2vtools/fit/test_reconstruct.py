"""Reconstructing a capture folder with the weights that come with the project: what it gives, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation

from p2vlib import models
from p2vlib.data.capture_folder import MAX_VIEWS, read_photo_set
from p2vlib.geometry.cameras import Camera, look_at, read_cameras, write_cameras
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou, read_binvox, voxelise
from p2vlib.provenance import data_folder
from p2vtools.cli import main
from p2vtools.fit import pretrained, reconstruct, uncertainty
from p2vtools.fit.ensemble import Ensemble
from p2vtools.study import model_card, pretraining

MOST = 4
"""Photos of a smoke capture."""


@pytest.fixture
def copy(right_foot, tmp_path) -> Path:
    return Path(shutil.copytree(right_foot, tmp_path / "capture"))


def run(copy: Path, *more: str, out: str = "foot.obj") -> int:
    return main(["reconstruct", str(copy), "--out", str(copy.parent / out), "--size", "32", *more])


def noted(camera: Camera, rng: np.random.Generator) -> Camera:
    """As somebody wrote it down: turned about the foot, nearer or farther, looking beside it."""
    foot = np.array([0, 0.05, 0])
    azimuth, elevation = np.deg2rad(rng.uniform([-8, -15], [8, 15]))
    sideways = Rotation.from_rotvec(camera.extrinsics[:3, 1] * azimuth)
    rotation = (Rotation.from_rotvec([elevation, 0, 0]) * sideways).as_matrix() @ camera.extrinsics[:3, :3]
    away = (camera.extrinsics[:3, :3] @ foot + camera.extrinsics[:3, 3]) * rng.uniform(0.7, 1.3)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, away + [*rng.uniform(-0.04, 0.04, 2), 0] - rotation @ foot
    return replace(camera, extrinsics=pose)


# -------------------------------------------------------------------------------------------------------- what it gives


def test_the_card_says_what_the_weights_are(weights):
    for key in ("data", "recipe", "minutes", "machine", "commit", "threshold", "limits", "retrain"):
        assert weights.card[key], key
    assert pretrained.pretrained_path().stat().st_size < 10e6
    assert json.loads(pretrained.pretrained_path().with_suffix(".json").read_text()) == weights.card
    assert 0 < weights.threshold < 1 and sum(p.numel() for p in weights.model.parameters()) < 2e6


def test_unseen_feet_are_found_and_rebuilt(weights, smoke):
    folders = sorted((data_folder("feet", "smoke") / "phone").glob("person-test-*"))
    rows = model_card.evaluate_reconstruction(weights, folders[:2])
    assert rows.iou.mean() > 0.75, f"with {MOST} photos: {rows.iou.round(3).tolist()}"
    assert (rows.iou - rows.found).mean() < 0.05 and rows.degrees.abs().max() < 6 and rows.mm.max() < 12
    assert (rows["iou at 128"] > 0.7).all()
    told = model_card.summarise_reconstruction(rows)
    figure = model_card.card_figure(weights, rows, folders[0].parent, size=32)
    assert "IoU" in " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))
    assert told["feet"] == 2 and told["iou"][1] <= told["iou"][0] <= told["iou"][2]


@pytest.mark.parametrize("ending", reconstruct.OUTPUT_FORMATS)
def test_every_format_is_written_and_reads_back(weights, right_foot, tmp_path, ending):
    foot = reconstruct.reconstruct(weights, read_photo_set(right_foot), 32, "given")
    path = tmp_path / f"foot{ending}"
    reconstruct.write_foot(foot, path)
    if ending == ".binvox":
        assert np.array_equal(read_binvox(path).volume, foot.solid)
        return
    mesh = trimesh.load_mesh(path)
    unit = 1000 if ending == ".stl" else 1
    assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(np.ptp(foot.mesh.vertices[:, 0]) * unit, rel=1e-3)
    assert mesh.is_watertight and mesh.volume > 0


def test_a_finer_grid_is_the_same_foot_and_as_long_as_it_is(weights, right_foot):
    off = []
    for one in sorted(right_foot.parent.glob("person-test-*")):
        shots = read_photo_set(one)
        coarse, fine = (reconstruct.reconstruct(weights, shots, size, "given") for size in (32, 128))
        assert fine.solid.shape == (128,) * 3 and not fine.solid[:, 48:].any()
        assert fine.solid.mean() == pytest.approx(coarse.solid.mean(), rel=0.1)
        length = uncertainty.measure_with_intervals(weights, shots, fine).measures.length
        off.append(length - model_card.true_capture_measures(one)["length"])
    assert len(off) == 4 and abs(np.mean(off)) < 5 and np.abs(off).max() < 12, off


def test_cameras_noted_by_hand_are_aligned_first(weights, right_foot):
    """Azimuth off by up to 8 degrees, elevation by 15, distance by 30 %, aim by 4 cm, as on the slides."""
    rng, before, after = np.random.default_rng(5), [], []
    for one in sorted(right_foot.parent.glob("person-test-*")):
        shots, mesh = read_photo_set(one), trimesh.load_mesh(one / "model.obj", process=False)
        truth = voxelise(mesh.vertices, mesh.faces, FOOT_CUBE, 32).volume
        for _ in range(2):
            wrong = replace(shots, cameras=[noted(camera, rng) for camera in shots.cameras])
            for how, scores in (("exact", before), ("noted", after)):
                scores.append(iou(reconstruct.reconstruct(weights, wrong, 32, "given", how).solid, truth))
    assert np.mean(after) > np.mean(before) + 0.03, (before, after)
    with pytest.raises(ValueError, match="without a typical foot"):
        reconstruct.reconstruct(replace(weights, typical_foot=None), wrong, 32, cameras="noted")


def test_the_command_says_what_it_did_and_how_sure_it_is(copy, capsys):
    assert run(copy, "--placement", "found") == 0
    told = capsys.readouterr().out
    assert "4 photos of a right foot; placement found" in told and "mm long; sure of" in told
    assert "silhouettes agree to" in told and (copy.parent / "foot.obj").is_file()


def test_left_and_right_are_mirror_images(weights, right_foot):
    """A capture and its mirror image, told as the other foot, give mirrored solids."""
    shots = read_photo_set(right_foot)
    across = np.diag([1.0, 1, -1, 1])
    turn = np.diag([-1.0, 1, 1, 1])
    photos = [photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for photo in shots.photos]
    cameras = []
    for camera in shots.cameras:
        intrinsics = camera.intrinsics.copy()
        intrinsics[0, 2] = camera.width - intrinsics[0, 2]
        cameras.append(replace(camera, intrinsics=intrinsics, extrinsics=turn @ camera.extrinsics @ across))
    other = replace(shots, photos=photos, cameras=cameras, side="left")
    one, two = (reconstruct.reconstruct(weights, which, 32, "given") for which in (shots, other))
    assert iou(one.solid, two.solid[:, :, ::-1]) > 0.97


def test_photos_of_any_size_and_turn(copy, weights):
    """Larger photos that lie on their side in the file, as a phone writes them, give the same foot."""
    known = reconstruct.reconstruct(weights, read_photo_set(copy), 32, "given")
    for path in sorted((copy / "rendering").glob("*.jpg")):
        photo = Image.open(path).convert("RGB").resize((1500, 1500), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise when shown
        photo.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    again = reconstruct.reconstruct(weights, read_photo_set(copy), 32, "given")
    assert iou(known.solid, again.solid) > 0.93


# -------------------------------------------------------------------------------------------------- what it can do with


def test_without_a_list_the_pictures_are_taken_by_name_and_the_side_is_asked_for(copy, weights):
    (copy / "rendering" / "renderings.txt").unlink()
    (copy / "subject.json").unlink()
    with pytest.raises(ValueError, match="unknown side.*--side left or --side right"):
        read_photo_set(copy)
    shots = read_photo_set(copy, "right")
    assert len(shots.photos) == MOST and np.linalg.norm(shots.initial_position) < 0.05, (
        "where the cameras look, on the floor"
    )


def test_without_camera_matrices_the_metadata_rows_are_taken(copy):
    (copy / "cameras.json").unlink()
    rows = [line.split() for line in (copy / "rendering" / "rendering_metadata.txt").read_text().splitlines()]
    shots = read_photo_set(copy)
    for camera, row in zip(shots.cameras, rows, strict=True):
        wanted = look_at(tuple(map(float, row)), FOOT_CUBE.centre, camera.width, camera.height)
        assert np.allclose(camera.extrinsics, wanted.extrinsics)


def test_one_photo_is_enough_to_begin_with(copy, weights):
    only = copy / "rendering"
    name = (only / "renderings.txt").read_text().split()[0]
    (only / "renderings.txt").write_text(name)
    write_cameras(copy / "cameras.json", read_cameras(copy / "cameras.json")[:1])
    foot = reconstruct.reconstruct(weights, read_photo_set(copy), 32)
    assert foot.solid.any() and list(foot.agreement) == [name]


def test_of_two_hundred_photos_some_are_taken(copy):
    names = (copy / "rendering" / "renderings.txt").read_text().split() * 50
    (copy / "rendering" / "renderings.txt").write_text("\n".join(names))
    write_cameras(copy / "cameras.json", read_cameras(copy / "cameras.json") * 50)
    assert len(read_photo_set(copy).photos) == MAX_VIEWS


# ------------------------------------------------------------------------------------------------------ what it refuses


def no_photos(copy: Path) -> None:
    for path in (copy / "rendering").iterdir():
        path.unlink()


def no_row(copy: Path) -> None:
    (copy / "cameras.json").unlink()
    path = copy / "rendering" / "rendering_metadata.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))


def looking_away(copy: Path) -> None:
    cameras = read_cameras(copy / "cameras.json")
    away = [replace(c, extrinsics=np.diag([-1.0, 1, -1, 1]) @ c.extrinsics) for c in cameras]
    write_cameras(copy / "cameras.json", away)


def aside(copy: Path) -> None:
    cameras = read_cameras(copy / "cameras.json")
    for camera in cameras:
        camera.extrinsics[0, 3] += 2.0
    write_cameras(copy / "cameras.json", cameras)


def inside(copy: Path) -> None:
    cameras = read_cameras(copy / "cameras.json")
    cameras[1].extrinsics[:3, 3] = -cameras[1].extrinsics[:3, :3] @ [0.0, 0.05, 0.0]
    write_cameras(copy / "cameras.json", cameras)


def replaced(copy: Path, photo: Image.Image) -> None:
    first = (copy / "rendering" / "renderings.txt").read_text().split()[0]
    photo.save(copy / "rendering" / first, "png")


def no_cameras(copy: Path) -> None:
    (copy / "cameras.json").unlink()
    (copy / "rendering" / "rendering_metadata.txt").unlink()


def a_camera_too_few(copy: Path) -> None:
    write_cameras(copy / "cameras.json", read_cameras(copy / "cameras.json")[1:])


REFUSED = {
    "no photos": (no_photos, "no photos; expected images"),
    "no cameras": (no_cameras, "no cameras; expected cameras.json"),
    "a photo without a row": (no_row, "3 rows for 4 photos"),
    "a camera too few": (a_camera_too_few, "3 cameras for 4 photos"),
    "looking away": (looking_away, "inside the cube or looks away"),
    "aside": (aside, "does not see the foot's place"),
    "a camera inside": (inside, "inside the cube or looks away"),
    "huge": (
        lambda copy: replaced(copy, Image.new("1", (10_000, 10_000))),
        "10000 x 10000 pixels; the limit is 64000000",
    ),
    "another shape": (lambda copy: replaced(copy, Image.new("RGB", (128, 96))), "its camera has"),
    "text": (lambda copy: (copy / "rendering" / "00.jpg").write_text("no photo"), "not a readable image"),
    "a photo that is missing": (lambda copy: (copy / "rendering" / "02.jpg").unlink(), "02.jpg: missing"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_is_one_clear_sentence(copy, capsys, fault):
    spoil, sentence = REFUSED[fault]
    spoil(copy)
    assert run(copy) == 1
    told = capsys.readouterr().err
    assert sentence in told and told.startswith("p2v: ") and told.count("\n") == 1, told
    assert not (copy.parent / "foot.obj").exists()


def test_targets_that_cannot_be_written(copy, capsys):
    assert run(copy, out="foot.doc") == 1
    assert "cannot write .doc; expected .obj" in capsys.readouterr().err
    (copy.parent / "file").write_text("")
    assert run(copy, "--placement", "given", out="file/foot.obj") == 1
    assert "p2v: " in capsys.readouterr().err


def test_weights_are_made_tested_and_kept_with_their_card(smoke, tmp_path):
    learning = replace(smoke.config.finetuning, placement_noise=(4.0, 0.025))
    target = tmp_path / "kept" / "tiny.safetensors"
    assert pretraining.train_pretrained(replace(smoke.config, finetuning=learning), target, tmp_path / "work") == target
    weights = pretrained.load_pretrained(target)
    assert weights.card["data"]["captures"] == [4, 4, 4] and len(weights.card["test IoU by photos"]) == 3
    assert set(weights.card["minutes"]) == {"exact", "exact, on mats", "by hand", "by hand, on mats", "finer"}
    assert weights.card["mean foot IoU"]["iou"] > 0.5 and weights.threshold == weights.card["threshold"]
    pretrained.update_card(target, {"told": 1})
    assert (
        pretrained.load_pretrained(target).card["told"]
        == 1
        == json.loads(target.with_suffix(".json").read_text())["told"]
    )


def test_weights_of_something_else(copy, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, other, {"name": "pix2vox-a"})
    for path, sentence in (
        (other, "weights of another network; expected weights of the unprojection network"),
        (tmp_path / "none.safetensors", "no such file; expected weights"),
        (copy / "subject.json", "cannot be read"),
    ):
        assert run(copy, "--weights", str(path)) == 1
        assert sentence in capsys.readouterr().err


def test_weights_with_a_card_that_lies(tmp_path):
    config = {"encoder": [4, 4, 4, 4], "features": 4, "volume": [4, 4, 4]}
    model = Ensemble(models.configure("rays", **config), 2, 4)
    card = {
        "network": "rays",
        "members": 2,
        "config": config,
        "finer": 4,
        "threshold": 0.4,
    }
    pretrained.save_pretrained(tmp_path / "right.safetensors", model, card)
    again = pretrained.load_pretrained(tmp_path / "right.safetensors")
    for name, value in model.state_dict().items():
        assert torch.allclose(value.float(), again.model.state_dict()[name].float(), atol=1e-2)
    for wrong in ({"features": 5}, {"nothing": 1}, {"image_size": 40}):
        pretrained.save_pretrained(
            tmp_path / "wrong.safetensors", model, {**card, "config": {**card["config"], **wrong}}
        )
        with pytest.raises(ValueError, match=r"wrong.safetensors: its card and its weights do not fit"):
            pretrained.load_pretrained(tmp_path / "wrong.safetensors")
