"""An unseen person's foot on a mat, photographed as a phone in a hand does it, with everything about it known."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from p2vlib.files import write_bytes
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import SIDES
from p2vtools.fit.reconstruct import pose_matrix
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.mat import Mat, get_mat, random_sheet
from p2vtools.synthesis.photos import trajectories
from p2vtools.synthesis.photos.phone_camera import Optics
from p2vtools.synthesis.photos.rendering import render_phone_photos

SEED = 31
"""Of the people who are examined; no network and no threshold has met any of them (`config.FeetData`)."""

PAPERS = ("a3", "a3", "tabloid", "a4")
"""What the mats of one person after the other are printed on: two A4 glued together are an A3."""

WIDTH, HEIGHT = 960, 720
"""Pixels of a photo: a third of a phone's, so that marks of the mat are three times as hard to see."""

SAMPLES = 4
"""Light paths a pixel."""

DISTORTION, SHAKE = 0.10, 1.5
"""Largest k1 of a lens, up or down, and standard deviation of a shake along each axis, pixels."""


@dataclass(frozen=True, eq=False)
class MatWalk:
    """One walk around one foot on a mat."""

    foot: SyntheticFoot
    mat: Mat
    photos: list[bytes]
    """JPEG, without EXIF."""
    cameras: list[Camera]
    """Where they were taken from, in the foot's frame, without the lens's distortion."""
    lens: Optics
    to_mat: Float[np.ndarray, "4 4"]
    """From the foot's frame to the mat's, metres."""

    @property
    def cameras_on_mat(self) -> list[Camera]:
        """The cameras in the frame of the mat."""
        back = np.linalg.inv(self.to_mat)
        return [replace(camera, extrinsics=camera.extrinsics @ back) for camera in self.cameras]

    def visible_corners(self, view: int) -> Bool[np.ndarray, " corners"]:
        """Which corners of the board the photo shows: in the picture, and not behind the foot."""
        camera = self.cameras[view]
        corners = (self.mat.corners() - self.to_mat[:3, 3]) @ self.to_mat[:3, :3]
        pixels = camera.project(corners)
        inside = ((pixels[:, :2] > 0) & (pixels[:, :2] < [camera.width, camera.height])).all(1)
        towards = camera.position - corners
        hidden = self.foot.leg_mesh.ray.intersects_any(corners + 1e-3 * towards, towards)
        return inside & ~hidden

    def write(self, folder: Path) -> Path:
        """The photos as they come from a phone."""
        for number, photo in enumerate(self.photos):
            write_bytes(folder / f"{number:02d}.jpg", photo)
        return folder

    def pictures(self) -> list[Image.Image]:
        """The photos, decoded."""
        return [Image.open(io.BytesIO(photo)).convert("RGB") for photo in self.photos]


def render_walk(case: int, views: int) -> MatWalk:
    """Person number ``case`` on a mat; left and right foot in turns. It depends on both numbers alone."""
    side = SIDES[case % 2]
    (person,) = sample_population(SEED, 1, first=case)
    foot = make_feet(person)[side]
    rng = np.random.default_rng([SEED, case])
    walk = trajectories.sample_phone_trajectory(rng, views, np.array([0.0, 0.05, 0.0]), pixels=WIDTH)
    cameras = [_landscape(camera) for camera in walk.cameras]
    mat = get_mat(PAPERS[case % len(PAPERS)])
    sheet = random_sheet(mat, rng)
    lens = Optics(float(rng.uniform(-DISTORTION, DISTORTION)), SHAKE * rng.standard_normal((views, 2)))
    photos = render_phone_photos(foot.leg_mesh, replace(walk, cameras=cameras), SAMPLES, sheet, lens)
    to_mat = np.linalg.inv(pose_matrix(sheet.rotation, np.array([sheet.position[0], 0.0, sheet.position[1]])))
    return MatWalk(foot, mat, photos, cameras, lens, to_mat)


def _landscape(camera: Camera) -> Camera:
    """The square ``camera`` of `WIDTH` pixels with less above and below."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[1, 2] = HEIGHT / 2
    return Camera(intrinsics, camera.extrinsics, WIDTH, HEIGHT)
