"""Cameras of the domain ``wild``: the ways in which people photograph a foot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float
from trimesh.ray.ray_pyembree import RayMeshIntersector

from p2vlib.geometry.cameras import Camera, Row, look_at
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_CUT_HEIGHT, Cube
from p2vtools.synthesis.photos.trajectories import aim_camera

LONG_SIDE = 192
"""Pixels along the longer side of a photo."""

SHAPES = ((3, 4), (4, 3), (9, 16), (16, 9), (1, 1))
SHAPE_SHARES = (0.52, 0.2, 0.12, 0.06, 0.10)
"""Width and height of a photo in proportion, and the share of each."""

STYLES = {"round": 0.36, "uneven": 0.2, "arc": 0.2, "wearer": 0.12, "random": 0.12}
"""Style -> share: around the foot in even or uneven steps, along an arc, from above by the wearer, anywhere."""

NEAREST, FARTHEST = 0.24, 1.2
"""Range of the distance of the phone from the foot, metres."""

LOWEST, HIGHEST = 15.0, 88.0
"""Range of the elevation of the phone, degrees."""

CUT_OFF = 0.08
"""Share of the photos in which the edge cuts off part of the foot."""

MAX_CROP = 4.0
"""Largest crop to the cube of the foot (`Camera.crop_box`), relative to the longer side of the photo."""

MAX_BLOCKED = 0.25
"""Largest share of the foot that leg and clothes may hide."""

ATTEMPTS, NEARBY = 60, 14
"""Attempts to find a view, the first `NEARBY` of them near the wanted azimuth."""


def sample_wild_cameras(
    rng: np.random.Generator, views: int, foot: Float[np.ndarray, "points 3"], obstacles: trimesh.Trimesh
) -> tuple[list[Row], list[Camera]]:
    """Samples metadata rows and cameras of ``views`` photos of a foot, clockwise, the one nearest to the front first.

    The rows are metric, relative to the centre of the foot; the field of view is horizontal.

    Args:
        foot: points on the part below the ankle, metres; its length is along x.
        obstacles: leg above the ankle, thigh, trousers, other leg: no camera is inside them, and they hide little of
            the foot.
    """
    style = str(rng.choice(list(STYLES), p=list(STYLES.values())))
    lower, upper = foot.min(axis=0), foot.max(axis=0)
    target = (lower + upper) / 2 * [1, 0, 1] + [0, 0.03, 0]
    lenses = rng.uniform(42, 75, 2)
    two_lenses = rng.random() < 0.1
    shape = int(rng.choice(len(SHAPES), p=SHAPE_SHARES))
    share = float(np.clip(0.63 * np.exp(0.27 * rng.standard_normal()), 0.35, 0.95))
    level = float(np.clip(rng.normal(55, 16), LOWEST, HIGHEST))
    blockers, length = RayMeshIntersector(obstacles), float(upper[0] - lower[0])
    photographer = _Photographer(rng, style == "wearer", level, share, foot, target, length, blockers, obstacles)
    azimuths = _azimuths(rng, style, views)
    turned = rng.random() < 0.12
    found = []
    for azimuth in azimuths:
        fov = lenses[int(two_lenses and rng.random() < 0.5)]
        if rng.random() < 0.1:
            shape = int(rng.choice(len(SHAPES), p=SHAPE_SHARES))
        sideways = 90.0 * rng.choice([-1, 1]) if turned and rng.random() < 0.5 else 0.0
        found.append(photographer.find_view(azimuth, fov, shape, sideways))
    found.sort(key=lambda item: item[0][0])
    angles = np.array([row[0] for row, _ in found])
    first = int(np.abs((angles + 180) % 360 - 180).argmin())
    rows, cameras = zip(*(found[first:] + found[:first]), strict=True)
    return list(rows), list(cameras)


def _azimuths(rng: np.random.Generator, style: str, views: int) -> Float[np.ndarray, " views"]:
    start = rng.uniform(0, 360)
    if style == "round":
        return start + 360 / views * (np.arange(views) + 0.18 * rng.standard_normal(views))
    if style == "uneven":
        steps = rng.uniform(0.3, 1.7, views)
        return start + 360 * np.cumsum(steps) / steps.sum()
    if style == "arc":
        return start + rng.uniform(40, 230) * np.sort(rng.uniform(0, 1, views))
    if style == "wearer":
        return rng.normal(180, rng.uniform(15, 70), views)
    return rng.uniform(0, 360, views)


@dataclass(frozen=True, eq=False)
class _Photographer:
    """Someone who takes photos of a foot with obstacles around it."""

    rng: np.random.Generator
    is_wearer: bool
    """Takes photos from above, the toes upwards."""
    level: float
    """Usual elevation of the camera, degrees."""
    share: float
    """Usual share of the longer side of a photo that the length of the foot takes."""
    foot: Float[np.ndarray, "points 3"]
    target: Float[np.ndarray, "3"]
    length: float
    blockers: RayMeshIntersector
    obstacles: trimesh.Trimesh

    def blocked_share(self, position: Float[np.ndarray, "3"]) -> float:
        """The share of the foot that is hidden from ``position``; 1 close to an obstacle."""
        if np.square(np.asarray(self.obstacles.vertices) - position).sum(axis=1).min() < 0.07**2:
            return 1.0
        towards = self.foot - position
        distance = np.linalg.norm(towards, axis=1)
        origins = np.broadcast_to(position, towards.shape)
        hits, rays, _ = self.blockers.intersects_location(origins, towards / distance[:, None], multiple_hits=False)
        nearer = np.linalg.norm(hits - position, axis=1) < distance[rays] - 0.01
        return float(nearer.sum() / len(self.foot))

    def find_view(self, azimuth: float, fov: float, shape: int, sideways: float) -> tuple[Row, Camera]:
        """The first attempt in which obstacles hide at most `MAX_BLOCKED` of the foot, or the best of all attempts."""
        cut_off = self.rng.random() < CUT_OFF
        view_share = float(np.clip(self.share * np.exp(0.1 * self.rng.standard_normal()), 0.35, 0.95))
        best: tuple[Row, Camera] | None = None
        least = np.inf
        for attempt in range(ATTEMPTS):
            if self.is_wearer:
                elevation = self.rng.uniform(58, HIGHEST)
            elif self.rng.random() < 0.12 or attempt > 4:
                elevation = self.rng.uniform(LOWEST, HIGHEST)
            else:
                elevation = self.level + 7 * self.rng.standard_normal()
            elevation = float(np.clip(elevation, LOWEST, HIGHEST))
            jitter = self.rng.uniform(-1, 1) * 5 * (attempt + 0.6)
            roll = float(np.clip(5 * self.rng.standard_normal(), -15, 15)) + sideways
            angle = float((azimuth + jitter if attempt < NEARBY else self.rng.uniform(0, 360)) % 360)
            candidate = self.frame_foot((angle, elevation), roll, fov, shape, view_share, cut_off)
            if candidate is None:
                continue
            blocked = self.blocked_share(candidate[1].position)
            if blocked < least:
                best, least = candidate, blocked
            if blocked <= MAX_BLOCKED:
                break
        if best is None:
            raise RuntimeError(f"none of {ATTEMPTS} attempts gives a camera that sees the foot; expected at least one")
        return best

    def frame_foot(
        self, direction: tuple[float, float], roll: float, fov: float, shape: int, share: float, cut_off: bool
    ) -> tuple[Row, Camera] | None:
        """A camera in ``direction`` with the foot at a random position in the photo, whole or cut off by its edge."""
        proportion = np.array(SHAPES[shape])
        size = np.round(LONG_SIDE * proportion / proportion.max()).astype(int)
        fov_x = float(np.rad2deg(2 * np.arctan(np.tan(np.deg2rad(fov) / 2) * size[0] / LONG_SIDE)))
        distance = self.length / (share * 2 * np.tan(np.deg2rad(fov) / 2))
        nearest = NEAREST + 0.14 * self.rng.beta(1, 1.5)
        place, error = self.rng.uniform(-1, 1, 2), 0.5 * self.length * self.rng.uniform(0.1, 0.8)
        beyond, edge = self.rng.uniform(0.05, 0.4), self.rng.integers(4)
        for _ in range(7):
            distance = float(np.clip(distance, nearest, FARTHEST))
            row = (*direction, roll, distance, fov_x)
            position = look_at(row, self.target, *map(int, size)).position
            if self.is_wearer:
                roll_now = roll + _roll_with_toes_up(position, self.target, fov_x)
                row = (*direction, float((roll_now + 180) % 360 - 180), distance, fov_x)
            aim = self.target
            for _ in range(3):  # the aim is corrected twice
                camera = _aim_from(position, aim, row[2], fov_x, size)
                if camera is None:
                    return None
                box = _bounding_box(camera, self.foot)
                centre, extent = box.mean(axis=0), box[1] - box[0]
                slack = np.maximum(size - extent, 0) / 2 - 3
                wanted = size / 2 + place * np.clip(slack, 0, error / distance * camera.intrinsics[0, 0])
                if cut_off:
                    axis, sign = edge % 2, 1 if edge < 2 else -1
                    wanted[axis] = size[axis] / 2 + sign * (size[axis] / 2 - (0.5 - beyond) * extent[axis])
                # The pixel that has to become the middle of the photo.
                middle = centre - wanted + size / 2
                ray = camera.extrinsics[:3, :3].T @ np.linalg.solve(camera.intrinsics, [*middle, 1.0])
                aim = position + distance * ray / np.linalg.norm(ray)
            framed = cut_off or distance >= FARTHEST or (box[0] >= 1).all() and (box[1] <= size - 1).all()
            if framed and _crop(camera, self.foot) <= MAX_CROP:
                return row, camera
            distance *= 1.1
        return row, camera


def _crop(camera: Camera, foot: Float[np.ndarray, "points 3"]) -> float:
    """Edge of the crop to the cube of the foot in longer sides of the photo; infinite if the camera is too near."""
    x, _, z = ((foot.min(axis=0) + foot.max(axis=0)) / 2 - FOOT_CUBE_EDGE / 2).tolist()
    cube = Cube((x, 0.0, z), FOOT_CUBE_EDGE)  # a leg that leans far may leave it
    try:
        left, _, right, _ = camera.crop_box(cube, FOOT_CUT_HEIGHT)
    except ValueError:
        return np.inf
    return (right - left) / max(camera.width, camera.height)


def _bounding_box(camera: Camera, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "2 2"]:
    pixels = camera.project(points)[:, :2]
    return np.stack([pixels.min(axis=0), pixels.max(axis=0)])


def _aim_from(position: np.ndarray, aim: np.ndarray, roll: float, fov: float, size: np.ndarray) -> Camera | None:
    """The camera at ``position`` that looks at ``aim``; None: it would look straight down, or upwards."""
    elevation = np.rad2deg(np.arcsin((position - aim)[1] / np.linalg.norm(position - aim)))
    return aim_camera(position, aim, roll, fov, *map(int, size)) if -5 < elevation < 89.8 else None


def _roll_with_toes_up(position: np.ndarray, target: np.ndarray, fov: float) -> float:
    """The in-plane rotation that shows the toes above the heel, degrees."""
    camera = _aim_from(position, target + [1e-3, 0, 0], 0.0, fov, np.array([100, 100]))
    if camera is None:
        return 0.0
    pixels = camera.project(target + np.array([[-0.05, 0, 0], [0.05, 0, 0]]))[:, :2]
    right, down = pixels[1] - pixels[0]
    return float(np.rad2deg(np.arctan2(right, -down)))
