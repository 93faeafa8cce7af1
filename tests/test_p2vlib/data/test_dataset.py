import io
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from p2vlib.config import from_params
from p2vlib.data import dataset, packed
from p2vtools.archives import capture_folder
from p2vtools.synthesis.collection import build_collection


def iou(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one & two).sum() / (one | two).sum())


def test_the_smoke_data_are_packed_once_with_each_person_in_one_split(smoke):
    path, table = packed.packed_path(smoke.config), smoke.captures.table
    made = path.stat().st_mtime_ns
    assert build_collection(smoke.config) == path and path.stat().st_mtime_ns == made
    assert path.stat().st_size < 50e6
    assert packed.fingerprint(from_params("smoke", seed=5)) == packed.fingerprint(smoke.config)
    assert packed.fingerprint(from_params("smoke", feet__train=3)) != packed.fingerprint(smoke.config)
    assert list(table) == list(dataset.COLUMNS) and not table.isna().to_numpy().any()
    feet = table[table.dataset == "feet"]
    assert (feet.groupby("subject").split.nunique() == 1).all() and feet.groupby("subject").side.nunique().eq(2).all()
    with pytest.raises(ValueError, match="studio"):
        smoke.captures.select(look="cinema")
    with pytest.raises(ValueError, match="no feet in the domain mat; the data hold phone, studio, wild"):
        dataset.load_feet(smoke.config, "mat")


def test_feet_and_objects_fill_their_cubes_and_right_feet_are_mirrored(smoke):
    # In the wild this holds below 6 cm: a leg that leans may leave the cube.
    captures = smoke.captures.select(dataset="feet", cube="metric")
    feet, in_the_wild = captures.truth.clone(), torch.tensor((captures.table.look == "wild").tolist())
    assert in_the_wild.any() and feet[:, :, 0].any(dim=(1, 2)).all()
    feet[in_the_wild, :, 6:] = False
    assert not (feet[:, [0, -1]].any() | feet[:, :, -1].any() | feet[:, :, :, [0, -1]].any())
    objects = smoke.captures.select(dataset="objects").truth
    reach = [objects.any(dim=tuple(d for d in (1, 2, 3) if d != axis)).sum(1) for axis in (1, 2, 3)]
    # Pointed and rounded ends taper below a voxel, so a bow or a bumper may stop a voxel or two short of the wall.
    assert torch.stack(reach).max(0).values.min() >= 28
    # Both feet of a person overlap well once the right one is mirrored, and much less where it is mirrored back.
    feet = smoke.captures.select(dataset="feet", cube="metric", look="studio")
    left, right = feet.select(side="left"), feet.select(side="right")
    assert left.table.subject.tolist() == right.table.subject.tolist()
    alike = (iou(left.truth, right.truth), iou(left.truth, right.truth.flip(3)))
    assert alike[0] > 0.75 and alike[0] > alike[1] + 0.1


def test_the_ground_truth_projects_onto_the_silhouettes(smoke):
    """The alpha of a studio photo covers the projected voxels: frame, camera, crop and grid fit together."""
    subject = min(smoke.objects.glob("ShapeNetRendering/*/*/subject.json"))
    capture = capture_folder.read_capture(subject.parent)
    centres = capture.truth.cube.voxel_centres(32)[capture.truth.volume]
    for photo, camera in zip(capture.files, capture.cameras, strict=True):
        alpha = np.asarray(Image.open(io.BytesIO(photo)))[..., 3] > 127
        u, v = np.clip(camera.project(centres)[:, :2].astype(int), 0, 136).T
        assert alpha[v, u].mean() > 0.95


def test_crops_and_canvases_of_photos_of_any_shape():
    # A gradient from left to right: the crop of a box shows its part of the ramp, and the end values beyond it.
    ramp = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], 90, axis=0).repeat(3, axis=2)
    image, size = Image.fromarray(ramp), 96
    for box in ((20, 10, 80, 70), (-300, -300, 500, 500), (-700.5, -100, 200, 800.5), (1e7, 0, 1e7 + 50, 50)):
        tracemalloc.start()
        cropped = dataset.crop_and_resize(image, box, size)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12 * 4 * 120 * 120 + 4 * size * size
        across = box[0] + (np.arange(size) + 0.5) / size * (box[2] - box[0])
        expected = 2 * (across - 0.5).clip(0, 119)
        assert np.abs(cropped[..., 0] - expected).max() <= 2 + 2 * (box[2] - box[0]) / size
    with pytest.raises(ValueError, match="at most 8 times the photo"):
        dataset.crop_and_resize(image, (-500, -500, 500, 500), size)
    with pytest.raises(ValueError, match="empty"):
        dataset.crop_and_resize(image, (5, 5, 5, 9), size)
    portrait = dataset._place_on_canvas(Image.new("RGB", (3, 4), (10, 20, 30)), 6)
    assert dataset._canvas_corner(Image.new("RGB", (3, 4)), 6) == (1, 1)
    expected = np.zeros((6, 6))
    expected[1:5, 1:4] = 255
    assert np.array_equal(portrait[..., 3], expected) and portrait[2, 2].tolist() == [10, 20, 30, 255]


def test_evenly_spaced_views():
    expected = {1: [0], 2: [0, 4], 4: [0, 2, 4, 6], 3: [0, 2, 5]}
    assert {views: dataset.evenly_spaced(8, views) for views in expected} == expected
    with pytest.raises(ValueError, match="9 views of 8 photos"):
        dataset.evenly_spaced(8, 9)


def test_mirroring_flips_photos_and_volume_and_reverses_the_views():
    photos = torch.arange(4 * 4 * 3 * 3).reshape(1, 4, 4, 3, 3).to(torch.uint8)
    truth = torch.rand(1, 3, 4, 5) > 0.5
    turned, solid = dataset.mirror_views(photos, truth, torch.tensor([True]))
    # Clockwise around the mirror image means the first photo, then the others backwards.
    assert torch.equal(turned[0], photos[0, [0, 3, 2, 1]].flip(-1)) and torch.equal(solid, truth.flip(3))
    again, solid = dataset.mirror_views(turned, solid, torch.tensor([True]))
    assert torch.equal(again, photos) and torch.equal(solid, truth)
    same, _ = dataset.mirror_views(photos, truth, torch.tensor([False]))
    assert torch.equal(same, photos)


def test_a_missing_or_stale_packed_file_is_an_error_that_names_the_command(smoke, home, capsys):
    with pytest.raises(ValueError, match="smoke.safetensors: no such file; run `p2v data --scale smoke`"):
        packed.read_packed(smoke.config)
    packed.packed_path(smoke.config).parent.mkdir(parents=True)
    save_file({"photos": np.zeros(1)}, packed.packed_path(smoke.config), {"fingerprint": "another"})
    with pytest.raises(ValueError, match="holds other data .*; run `p2v data --scale smoke`"):
        dataset.load(smoke.config)
    packed.packed_path(smoke.config).write_bytes(b"damaged")
    assert not packed.is_current(smoke.config)
    assert "smoke.safetensors: cannot be read" in (out := capsys.readouterr().out) and "it is made again" in out
