"""Reconstruction of a capture folder with the pretrained weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from safetensors.torch import save_file

from p2vlib import models
from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou, voxelise
from p2vlib.provenance import data_folder
from p2vtools.archives.binvox import read_binvox
from p2vtools.archives.camera_files import read_cameras, write_cameras
from p2vtools.fit import pretrained, uncertainty
from p2vtools.fit.camera_alignment import TypicalFoot, note_by_hand
from p2vtools.fit.ensemble import Ensemble
from p2vtools.fit.photo_set import MAX_VIEWS, read_photo_set
from p2vtools.fit.reconstruct import OUTPUT_FORMATS, reconstruct, write_foot
from p2vtools.study import model_card, pretraining
from p2vtools.study.validation_feet import change_cameras


def test_unseen_feet(weights, smoke):
    folders = sorted((data_folder("feet", "smoke") / "phone").glob("person-test-*"))[:2]
    rows = model_card.evaluate_reconstruction(weights, folders)
    assert rows.iou.mean() > 0.75, rows.iou.round(3).tolist()
    assert (rows.iou - rows.found).mean() < 0.05 and rows.degrees.abs().max() < 6 and rows.mm.max() < 12
    assert (rows["iou at 128"] > 0.7).all()
    summary = model_card.summarise_reconstruction(rows)
    assert summary["feet"] == 2 and summary["iou"][1] <= summary["iou"][0] <= summary["iou"][2]
    figure = model_card.card_figure(weights, rows, folders[0].parent, size=32)
    assert "IoU" in " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_output_formats_round_trip(weights, right_foot, tmp_path):
    foot = reconstruct(weights, read_photo_set(right_foot), 32, "given")
    for extension in OUTPUT_FORMATS:
        path = tmp_path / f"foot{extension}"
        write_foot(foot, path)
        if extension == ".binvox":
            assert np.array_equal(read_binvox(path).volume, foot.solid)
            continue
        mesh, unit = trimesh.load_mesh(path), 1000 if extension == ".stl" else 1
        assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(np.ptp(foot.mesh.vertices[:, 0]) * unit, rel=1e-3)
        assert mesh.is_watertight and mesh.volume > 0


def test_fine_grid_has_the_same_volume_and_the_true_length(weights, right_foot):
    errors = []
    for capture in sorted(right_foot.parent.glob("person-test-*")):
        photo_set = read_photo_set(capture)
        coarse, fine = (reconstruct(weights, photo_set, size, "given") for size in (32, 128))
        assert fine.solid.shape == (128,) * 3 and not fine.solid[:, 48:].any()
        assert fine.solid.mean() == pytest.approx(coarse.solid.mean(), rel=0.1)
        length = uncertainty.measure_with_intervals(weights, photo_set, fine).measures.length
        errors.append(length - model_card.true_capture_measures(capture)["length"])
    assert len(errors) == 4 and abs(np.mean(errors)) < 5 and np.abs(errors).max() < 12, errors


def test_cameras_noted_by_hand_are_aligned(weights, right_foot):
    capture = right_foot.parent / "person-test-0001-left"
    mesh = trimesh.load_mesh(capture / "model.obj", process=False)
    truth = voxelise(mesh.vertices, mesh.faces, FOOT_CUBE, 32).volume
    wrong = change_cameras(read_photo_set(capture), note_by_hand, np.random.default_rng(5))
    exact, noted = (iou(reconstruct(weights, wrong, 32, "given", mode).solid, truth) for mode in ("exact", "noted"))
    assert noted > exact + 0.1


def reconstruct_command(folder: Path, *options: str) -> list[str]:
    return ["reconstruct", str(folder), "--out", str(folder.parent / "foot.obj"), "--size", "32", *options]


def test_mirrored_capture_gives_the_mirrored_foot(weights, right_foot):
    photo_set = read_photo_set(right_foot)
    photos = [photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for photo in photo_set.photos]
    cameras = []
    for camera in photo_set.cameras:
        intrinsics = camera.intrinsics.copy()
        intrinsics[0, 2] = camera.width - intrinsics[0, 2]
        extrinsics = np.diag([-1.0, 1, 1, 1]) @ camera.extrinsics @ np.diag([1.0, 1, -1, 1])
        cameras.append(replace(camera, intrinsics=intrinsics, extrinsics=extrinsics))
    mirrored = replace(photo_set, photos=photos, cameras=cameras, side="left")
    right, left = (reconstruct(weights, one, 32, "given") for one in (photo_set, mirrored))
    assert iou(right.solid, left.solid[:, :, ::-1]) > 0.97


def test_agreement_is_that_of_the_photo_with_the_name(weights, right_foot):
    """The photos of a right foot are mirrored, which reverses their order."""
    photo_set = read_photo_set(right_foot)
    photo_set.photos[1] = Image.new("RGBA", photo_set.photos[1].size, "grey")
    agreement = reconstruct(weights, photo_set, 32, "given").silhouette_iou
    assert min(agreement, key=agreement.get) == photo_set.names[1], agreement


def test_photo_size_and_exif_rotation_do_not_matter(capture_copy, weights):
    expected = reconstruct(weights, read_photo_set(capture_copy), 32, "given")
    for path in sorted((capture_copy / "rendering").glob("*.jpg")):
        photo = Image.open(path).convert("RGB").resize((1500, 1500), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 6  # rotate clockwise for display
        photo.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    assert iou(expected.solid, reconstruct(weights, read_photo_set(capture_copy), 32, "given").solid) > 0.93


def test_without_a_list_of_photos_and_a_side(capture_copy):
    (capture_copy / "rendering" / "renderings.txt").unlink()
    (capture_copy / "subject.json").unlink()
    with pytest.raises(ValueError, match="--side left or --side right"):
        read_photo_set(capture_copy)
    photo_set = read_photo_set(capture_copy, "right")
    assert len(photo_set.photos) == 4
    assert np.linalg.norm(photo_set.initial_position) < 0.05, "on the floor, where the cameras aim"


def test_without_camera_matrices_the_metadata_rows_are_used(capture_copy):
    (capture_copy / "cameras.json").unlink()
    lines = (capture_copy / "rendering" / "rendering_metadata.txt").read_text().splitlines()
    for camera, line in zip(read_photo_set(capture_copy).cameras, lines, strict=True):
        expected = look_at(tuple(map(float, line.split())), FOOT_CUBE.centre, camera.width, camera.height)
        assert np.allclose(camera.extrinsics, expected.extrinsics)


def test_number_of_photos(capture_copy, weights):
    """One photo is enough; of two hundred, `MAX_VIEWS` are read."""
    listing, cameras = capture_copy / "rendering" / "renderings.txt", read_cameras(capture_copy / "cameras.json")
    names = listing.read_text().split()
    listing.write_text("\n".join(names * 50))
    write_cameras(capture_copy / "cameras.json", cameras * 50)
    assert len(read_photo_set(capture_copy).photos) == MAX_VIEWS
    listing.write_text(names[0])
    write_cameras(capture_copy / "cameras.json", cameras[:1])
    foot = reconstruct(weights, read_photo_set(capture_copy), 32)
    assert foot.solid.any() and list(foot.silhouette_iou) == names[:1]


def remove_cameras(folder: Path) -> None:
    (folder / "cameras.json").unlink()
    (folder / "rendering" / "rendering_metadata.txt").unlink()


def change_cameras_file(folder: Path, matrix: np.ndarray, first: int = 0) -> None:
    cameras = read_cameras(folder / "cameras.json")[first:]
    changed = [replace(camera, extrinsics=matrix @ camera.extrinsics) for camera in cameras]
    write_cameras(folder / "cameras.json", changed)


def replace_photo(folder: Path, mode: str, *size: int) -> None:
    Image.new(mode, size).save(folder / "rendering" / "00.jpg", "png")


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (remove_cameras, (), "plain photos become a capture folder by p2v capture"),
        (change_cameras_file, (np.eye(4), 1), "3 cameras for 4 photos"),
        (change_cameras_file, (np.diag([-1.0, 1, -1, 1]),), "inside the cube or looks away"),
        (change_cameras_file, (np.eye(4) + 2 * np.eye(4, k=3),), "does not see the position of the foot"),
        (replace_photo, ("1", 10_000, 10_000), "pixels; the limit is 64000000"),
        (replace_photo, ("RGB", 128, 96), "its camera has"),
    ],
)
def test_invalid_captures_are_rejected_with_one_line(capture_copy, command_error, spoil, arguments, message):
    """`test_capture_folder` and `test_dataset_validation` try the faults that other readers have as well."""
    spoil(capture_copy, *arguments)
    assert message in command_error(*reconstruct_command(capture_copy))
    assert not (capture_copy.parent / "foot.obj").exists()


def test_another_side_than_that_of_the_capture_is_rejected(capture_copy, command_error):
    error = command_error(*reconstruct_command(capture_copy, "--side", "left"))
    assert "subject.json says right foot; drop --side left" in error


def test_card_of_the_pretrained_weights(weights):
    for key in ("data", "recipe", "minutes", "machine", "commit", "threshold", "limits", "retrain"):
        assert weights.card[key], key
    assert pretrained.pretrained_path().stat().st_size < 10e6
    assert json.loads(pretrained.pretrained_path().with_suffix(".json").read_text()) == weights.card
    assert 0 < weights.threshold < 1 and sum(p.numel() for p in weights.model.parameters()) < 2e6


def test_weights_of_another_network_are_rejected(capture_copy, tmp_path, command_error):
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, other, {"name": "pix2vox-a"})
    for path, message in (
        (other, "weights of another network; expected weights of the unprojection network"),
        (tmp_path / "none.safetensors", "no such file; expected weights"),
        (capture_copy / "subject.json", "cannot be read"),
    ):
        assert message in command_error(*reconstruct_command(capture_copy, "--weights", str(path)))


def test_weights_round_trip_and_must_match_their_card(tmp_path):
    config = {"encoder": [4, 4, 4, 4], "features": 4, "volume": [4, 4, 4]}
    model = Ensemble(models.configure("rays", **config), 2, 4)
    card = {"network": "rays", "members": 2, "config": config, "finer": 4, "threshold": 0.4}
    typical = TypicalFoot(torch.ones(2, 2, 2, dtype=torch.bool), 0.1)
    pretrained.save_pretrained(tmp_path / "right.safetensors", model, card, typical)
    loaded = pretrained.load_pretrained(tmp_path / "right.safetensors")
    for name, value in model.state_dict().items():
        assert torch.allclose(value.float(), loaded.model.state_dict()[name].float(), atol=1e-2)
    for change in ({"features": 5}, {"nothing": 1}, {"image_size": 40}):
        path = tmp_path / "wrong.safetensors"
        pretrained.save_pretrained(path, model, {**card, "config": {**config, **change}}, typical)
        with pytest.raises(ValueError, match=r"wrong.safetensors: .*its card does not match its weights"):
            pretrained.load_pretrained(path)


def test_training_of_the_pretrained_weights(smoke, tmp_path):
    training = replace(smoke.config.finetuning, placement_noise=(4.0, 0.025), steps=1, batch=2, views=2)
    path = tmp_path / "kept" / "tiny.safetensors"
    assert pretraining.train_pretrained(replace(smoke.config, finetuning=training), path, tmp_path / "work") == path
    weights = pretrained.load_pretrained(path)
    assert weights.card["data"]["captures"] == [8, 8, 8] and len(weights.card["test IoU by photos"]) == 3
    stages = {f"{member}{stage}" for member in ("exact", "by hand") for stage in ("", ", on mats", ", in the wild")}
    assert set(weights.card["minutes"]) == {*stages, "finer"} and weights.takes_close_crops
    assert weights.card["mean foot IoU"]["iou"] > 0.5 and weights.threshold == weights.card["threshold"]
    pretrained.update_card(path, {"note": 1})
    card = json.loads(path.with_suffix(".json").read_text())
    assert pretrained.load_pretrained(path).card["note"] == 1 == card["note"]
