"""Rendered photos of a foot on a mat or a sheet, taken on a walk around it with a phone, and their ground truth."""

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
from p2vtools.fit.placement import pose_matrix
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.mat import Mat, get_mat, random_plain_sheet, random_sheet
from p2vtools.synthesis.photos.phone_camera import Optics
from p2vtools.synthesis.photos.rendering import render_phone_photos
from p2vtools.synthesis.photos.trajectories import sample_phone_trajectory

SEED = 0x9E6BF54
"""Seed of the people of the benchmark; no network was trained and no threshold chosen on them (`config.FeetData`)."""

PAPERS = ("a3", "a4")
"""Paper of the mat, for two people each, so for left and right feet; two A4 sheets glued together are an A3."""

SHEETS = ("a4", "letter")
"""Plain sheets, for four people each."""

WIDTH, HEIGHT = 960, 720
"""Size of a photo in pixels: a third of a phone's, so the marks of the mat are three times harder to detect."""

SAMPLES = 4
"""Light paths per pixel."""

DISTORTION, SHAKE = 0.10, 1.5
"""Largest absolute k1 of the lens; standard deviation of camera shake along each axis, pixels."""


@dataclass(frozen=True, eq=False)
class Walk:
    """The photos of one walk around one foot on a mat or a plain sheet, and their ground truth."""

    foot: SyntheticFoot
    paper: str
    """Name of the paper."""
    mat: Mat | None
    """None: a plain sheet."""
    photos: list[bytes]
    """JPEG files without EXIF."""
    cameras: list[Camera]
    """True cameras in the frame of the foot, without lens distortion."""
    lens: Optics
    to_mat: Float[np.ndarray, "4 4"]
    """From the frame of the foot to that of the mat or the sheet, metres."""

    @property
    def surface(self) -> str:
        """The paper of the mat, or ``plain`` and the paper of the sheet."""
        return self.paper if self.mat else f"plain {self.paper}"

    @property
    def cameras_on_mat(self) -> list[Camera]:
        """The true cameras in the frame of the mat or the sheet."""
        to_foot = np.linalg.inv(self.to_mat)
        return [replace(camera, extrinsics=camera.extrinsics @ to_foot) for camera in self.cameras]

    def visible_corners(self, view: int) -> Bool[np.ndarray, " corners"]:
        """Which corners of the board of a mat a photo shows: inside the image and not occluded by the foot."""
        camera = self.cameras[view]
        corners = (self.mat.corners() - self.to_mat[:3, 3]) @ self.to_mat[:3, :3]
        pixels = camera.project(corners)
        in_image = ((pixels[:, :2] > 0) & (pixels[:, :2] < [camera.width, camera.height])).all(1)
        rays = camera.position - corners
        return in_image & ~self.foot.leg_mesh.ray.intersects_any(corners + 1e-3 * rays, rays)

    def write(self, folder: Path) -> Path:
        """Writes the photos as ``00.jpg``, ``01.jpg`` and so on; returns ``folder``."""
        for number, photo in enumerate(self.photos):
            write_bytes(folder / f"{number:02d}.jpg", photo)
        return folder

    def images(self) -> list[Image.Image]:
        """The decoded photos."""
        return [Image.open(io.BytesIO(photo)).convert("RGB") for photo in self.photos]


def render_walk(case: int, views: int, plain: bool = False) -> Walk:
    """Renders person number ``case`` on a mat, or on a ``plain`` sheet: the left foot for even numbers, else the right.

    The result depends on the arguments alone. The walk has a generator of its own, so it does not change with
    the number of random values that the person takes.
    """
    side = SIDES[case % 2]
    (person,) = sample_population(SEED, 1, first=case)
    foot = make_feet(person)[side]
    (seed,) = np.random.SeedSequence([SEED, case]).spawn(1)
    rng = np.random.default_rng(seed)
    walk = sample_phone_trajectory(rng, views, np.array([0.0, 0.05, 0.0]), pixels=WIDTH)
    cameras = [_crop_to_landscape(camera) for camera in walk.cameras]
    paper = SHEETS[case // 4 % len(SHEETS)] if plain else PAPERS[case // 2 % len(PAPERS)]
    mat = None if plain else get_mat(paper)
    sheet = random_plain_sheet(paper, rng) if mat is None else random_sheet(mat, rng)
    lens = Optics(float(rng.uniform(-DISTORTION, DISTORTION)), SHAKE * rng.standard_normal((views, 2)))
    photos = render_phone_photos(foot.leg_mesh, replace(walk, cameras=cameras), SAMPLES, sheet, lens)
    to_mat = np.linalg.inv(pose_matrix(sheet.rotation, np.array([sheet.position[0], 0.0, sheet.position[1]])))
    return Walk(foot, paper, mat, photos, cameras, lens, to_mat)


def _crop_to_landscape(camera: Camera) -> Camera:
    """Crops the image of a square ``camera`` of `WIDTH` pixels to `HEIGHT` rows."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[1, 2] = HEIGHT / 2
    return Camera(intrinsics, camera.extrinsics, WIDTH, HEIGHT)
