"""Silhouettes of volumes, and cameras and volumes fitted to them."""

import numpy as np
import pytest
import torch

from p2vlib.evaluation import iou_at
from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.projection import project_points, render_silhouettes, voxel_centres
from p2vtools.fit.silhouette_fitting import align_cameras, no_update, refine_volume, update_cameras

CUBE = Cube((-0.16, 0.0, -0.16), 0.32)


def orbit(views: int = 6) -> torch.Tensor:
    """Cameras ``[1, views, 3, 7]`` around the cube."""
    cameras = []
    for view in range(views):
        camera = look_at((360 * view / views, 40.0, 0.0, 0.6, 50.0), CUBE.centre, 128, 128)
        cameras.append(camera.normalised(CUBE, camera.crop_box(CUBE)))
    return torch.tensor(np.stack(cameras), dtype=torch.float32)[None]


def ball(centre: tuple[float, float, float], radius: float) -> torch.Tensor:
    distance = (voxel_centres(32) - torch.tensor(centre)).norm(dim=1)
    return (distance < radius).reshape(1, 32, 32, 32)


def places(cameras: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    return project_points(cameras, points).uv


def test_silhouette_covers_the_projected_voxels():
    volume, cameras = ball((0.6, 0.4, 0.5), 0.2), orbit()
    silhouettes = render_silhouettes(volume.float(), cameras, 48)[0]
    pixels = ((places(cameras, voxel_centres(32)[volume.flatten()])[0] + 1) / 2 * 48).long().clamp(0, 47)
    for mask, where in zip(silhouettes, pixels, strict=True):
        assert (mask[where[:, 1], where[:, 0]] > 0.5).float().mean() > 0.97
        expected = torch.unique(where, dim=0).shape[0]
        assert expected * 0.8 < (mask > 0.5).sum() < expected * 1.25, "no pixels elsewhere"
    assert not render_silhouettes(torch.zeros(1, 32, 32, 32), cameras, 16).any()


def test_camera_inside_the_cube():
    cameras = orbit(1)
    cameras[..., 6] = -(cameras[..., 3:6] @ torch.tensor([0.5, 0.5, 0.5]))
    assert torch.isfinite(render_silhouettes(ball((0.5, 0.9, 0.5), 0.05).float(), cameras, 16)).all()


def test_update_cameras():
    cameras, pivot = orbit(), torch.tensor([[0.5, 0.15, 0.5]])
    same = no_update(cameras)
    assert torch.allclose(update_cameras(cameras, same), cameras, atol=1e-6)
    rotated = update_cameras(cameras, same._replace(rotation=0.3 * torch.ones(1, 6, 3)))
    farther = update_cameras(cameras, same._replace(log_distance=torch.full((1, 6), 0.2)))
    for updated in (rotated, farther):
        assert torch.allclose(places(updated, pivot), places(cameras, pivot), atol=1e-4), "the pivot stays in place"
    assert torch.linalg.det(rotated[..., 3:6]).flatten().tolist() == pytest.approx([1.0] * 6, abs=1e-4)
    longer = update_cameras(cameras, same._replace(log_focal=torch.full((1, 6), 0.2)))
    areas = [render_silhouettes(ball((0.5, 0.3, 0.5), 0.15).float(), one, 48).sum() for one in (cameras, longer)]
    assert areas[1] / areas[0] == pytest.approx(np.exp(0.2) ** 2, rel=0.1)


def test_align_cameras_recovers_perturbed_cameras():
    solid, cameras = ball((0.55, 0.3, 0.5), 0.15) | ball((0.4, 0.2, 0.65), 0.1), orbit()
    masks = render_silhouettes(solid.float(), cameras, 48)
    torch.manual_seed(0)
    noise = no_update(cameras)._replace(rotation=0.1 * torch.randn(1, 6, 3), translation=0.06 * torch.randn(1, 6, 2))
    start = update_cameras(cameras, noise)
    aligned = align_cameras(solid, masks, start, steps=40, learning_rate=0.02)
    points = torch.tensor([[0.55, 0.3, 0.5], [0.4, 0.2, 0.65]])
    before, after = ((places(one, points) - places(cameras, points)).norm(dim=-1).mean() for one in (start, aligned))
    assert after < 0.35 * before


def test_refine_volume_improves_a_wrong_volume():
    truth, cameras = ball((0.5, 0.5, 0.5), 0.25), orbit()
    masks = render_silhouettes(truth.float(), cameras, 24)
    # Too large on one side, and uncertain everywhere.
    wrong = 0.05 + 0.55 * ball((0.56, 0.5, 0.5), 0.3).float() + 0.2 * truth.float()
    refined = refine_volume(wrong, masks, cameras, steps=20)
    before, after = (iou_at(volume, truth, (0.5,)).item() for volume in (wrong, refined))
    assert after > before + 0.05, f"{before:.3f} -> {after:.3f}"
    assert not refined.requires_grad and torch.equal(refine_volume(0 * wrong, masks, cameras, 1), 0 * wrong)
