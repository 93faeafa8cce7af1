"""Silhouettes of volumes, and volumes that are bent towards silhouettes."""

from __future__ import annotations

import numpy as np
import torch

from p2vlib.evaluation import iou_at
from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.projection import project_points, render_silhouettes, voxel_centres
from p2vtools.fit.silhouette_fitting import refine_volume

CUBE = Cube((-0.16, 0.0, -0.16), 0.32)


def walk(views: int = 6) -> torch.Tensor:
    cameras = []
    for view in range(views):
        camera = look_at((360 * view / views, 40.0, 0.0, 0.6, 50.0), CUBE.centre, 128, 128)
        cameras.append(camera.normalised(CUBE, camera.crop_box(CUBE)))
    return torch.tensor(np.stack(cameras), dtype=torch.float32)[None]


def ball(middle: tuple[float, float, float], radius: float) -> torch.Tensor:
    away = voxel_centres(32) - torch.tensor(middle)
    return (away.norm(dim=1) < radius).reshape(1, 32, 32, 32)


def test_a_silhouette_is_where_the_voxels_show():
    volume, cameras = ball((0.6, 0.4, 0.5), 0.2), walk()
    shown = render_silhouettes(volume.float(), cameras, 48)[0]
    place = project_points(cameras, voxel_centres(32)[volume.flatten()]).uv[0]
    pixels = ((place + 1) / 2 * 48).long().clamp(0, 47)
    for mask, where in zip(shown, pixels, strict=True):
        assert (mask[where[:, 1], where[:, 0]] > 0.5).float().mean() > 0.97
        # A ball looks like a disc: as many pixels as one of its size, and none far from where its voxels show.
        count = (mask > 0.5).sum()
        assert torch.unique(where, dim=0).shape[0] * 0.8 < count < torch.unique(where, dim=0).shape[0] * 1.25
    assert not render_silhouettes(torch.zeros(1, 32, 32, 32), cameras, 16).any()


def test_a_camera_inside_and_rays_that_miss_are_no_trouble():
    cameras = walk(1)
    cameras[..., 6] = -(cameras[..., 3:6] @ torch.tensor([0.5, 0.5, 0.5]))  # in the middle of the cube
    inside = render_silhouettes(ball((0.5, 0.9, 0.5), 0.05).float(), cameras, 16)
    assert torch.isfinite(inside).all()


def test_gradients_reach_volume_and_cameras():
    volume, cameras = ball((0.5, 0.5, 0.5), 0.3).float().requires_grad_(), walk(2).requires_grad_()
    render_silhouettes(volume, cameras, 12).sum().backward()
    assert volume.grad.abs().sum() > 0 and torch.isfinite(cameras.grad).all() and cameras.grad.abs().sum() > 0


def test_a_volume_is_bent_to_what_the_photos_show():
    truth, cameras = ball((0.5, 0.5, 0.5), 0.25), walk()
    masks = render_silhouettes(truth.float(), cameras, 24)
    # Too large on one side and unsure of itself everywhere.
    wrong = 0.05 + 0.55 * ball((0.56, 0.5, 0.5), 0.3).float() + 0.2 * truth.float()
    bent = refine_volume(wrong, masks, cameras, steps=20)
    before, after = (iou_at(volume, truth, (0.5,)).item() for volume in (wrong, bent))
    assert after > before + 0.05, f"{before:.3f} -> {after:.3f}"
    assert not bent.requires_grad and torch.equal(refine_volume(0 * wrong, masks, cameras, 1), 0 * wrong)
