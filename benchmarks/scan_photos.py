"""Photos of scanned feet, rendered by a ray caster that shares no code, light or texture with the training renderer.

Embree finds what a pixel sees; colours are value noise, light is one lamp with shadow rays and an ambient part dimmed
by occlusion rays, and the picture gets exposure, gamma, noise and JPEG. Frame and unit of a scan are those of
`clean_scan`; the true solid is the scan itself with its holes closed, not the smoothed surface.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy.ndimage import map_coordinates

from p2vlib.geometry.cameras import Camera, look_at
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE, Points
from p2vlib.geometry.grids import Faces, voxelise
from p2vtools.archives.capture_folder import write_capture
from p2vtools.archives.photo_files import encode_photo
from p2vtools.capture.scan_cleaning import clean_scan
from p2vtools.files import atomic_directory
from p2vtools.fit.measure import HEEL_HEIGHT
from p2vtools.fit.photo_set import PhotoSet, read_photo_set

PIXELS = 400
"""Side of a photo."""

LAMP_RAYS, SKY_RAYS = 4, 6
"""Rays per pixel to the lamp and into the hemisphere."""

RGB = Float[np.ndarray, "points 3"]

Mask = Bool[np.ndarray, "height width"]


@dataclass(frozen=True)
class Look:
    """The content and the cameras of a capture. Colours are linear reflectances."""

    floor: str = "speckles"
    skin: tuple[float, float, float] = (0.42, 0.25, 0.17)
    cover: str = ""
    """stripes: a sock, plain: a grey one, tattoo: dark ink on the instep; empty: bare skin."""
    beside: str = ""
    """box, or foot: a second foot; empty: nothing."""
    sun: bool = False
    elevations: tuple[float, float] = (30.0, 65.0)
    distances: tuple[float, float] = (0.45, 0.70)
    field_of_view: float = 55.0
    roll: float = 4.0
    length: float | None = None
    """The foot is scaled to this length, metres."""


FACTORS = {
    "no change": Look(),
    "striped sock": Look(cover="stripes"),
    "plain sock": Look(cover="plain"),
    "tattoo": Look(cover="tattoo"),
    "box": Look(beside="box"),
    "second foot": Look(beside="foot"),
    "sun": Look(sun=True),
    "dark skin": Look(skin=(0.07, 0.042, 0.028)),
    "white sheet": Look(floor="sheet"),
    "tiles": Look(floor="tiles"),
    "wood": Look(floor="wood"),
    "low cameras": Look(elevations=(14.0, 24.0)),
    "tilted cameras": Look(roll=30.0),
    "near, wide angle": Look(distances=(0.30, 0.36), field_of_view=74.0),
    "child": Look(length=0.201),
}
"""Name -> a capture in which one factor is changed."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A scanned foot in its own frame, metres."""

    name: str
    side: str
    mesh: trimesh.Trimesh
    """Closed, with the leg."""

    @property
    def length(self) -> float:
        """`foot_length`, mm."""
        return 1000 * foot_length(self.mesh.vertices)

    @functools.cached_property
    def solids(self) -> dict[int, Bool[np.ndarray, "x y z"]]:
        """Voxels along an edge, 32 and 128 -> the true solid."""
        solids = {size: voxelise(self.mesh.vertices, self.mesh.faces, FOOT_CUBE, size).volume for size in (32, 128)}
        for size, solid in solids.items():
            solid[:, round(FOOT_SHARE * size) :] = False
        return solids


def foot_length(vertices: Points) -> float:
    """From heel to toes, as `measure_foot` measures it, metres."""
    return float(np.ptp(vertices[vertices[:, 1] < HEEL_HEIGHT, 0]))


def read_scan(path: Path, template: np.ndarray, length: float | None = None, mirrored: bool = False) -> Scan:
    """Reads a scan, turns it into the foot's frame and closes it; `Look.length` and the mirror image are optional."""
    mesh = trimesh.load_mesh(path)
    cleaned = clean_scan(mesh, template)
    mesh.apply_transform(cleaned.to_foot)
    mesh.update_faces(mesh.nondegenerate_faces())
    mesh = max(mesh.split(only_watertight=False), key=lambda part: part.area)
    name, side = path.stem, cleaned.side
    if length is not None:
        mesh.apply_scale(1000 * length / Scan(name, side, mesh).length)
    if mirrored:
        name, side = f"{name}, mirrored", "left" if side == "right" else "right"
        mesh.apply_transform(np.diag([1.0, 1.0, -1.0, 1.0]))
    low = mesh.vertices[mesh.vertices[:, 1] < 0.06]
    mesh.apply_translation(-(low.min(0) + low.max(0)) / 2 * [1, 0, 1] - [0, low[:, 1].min(), 0])
    return Scan(name, side, _close(mesh))


def _close(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Fills each hole with triangles to its centre; the sole's centre lies on the floor."""
    edges = mesh.edges[trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1)]
    vertices, faces = [mesh.vertices], [mesh.faces]
    count = len(mesh.vertices)
    for loop in trimesh.graph.connected_components(edges, min_len=3):
        centre = mesh.vertices[loop].mean(0)
        vertices.append([centre * [1, centre[1] > 0.06, 1]])
        own = edges[np.isin(edges[:, 0], loop)]
        faces.append(np.column_stack([own[:, ::-1], np.full(len(own), count)]))
        count += 1
    return trimesh.Trimesh(np.concatenate(vertices), np.concatenate(faces), process=False)


# --------------------------------------------------------------------------------------------------------------- photos


def photograph(scan: Scan, look: Look, views: int, seed: int, cache: Path) -> PhotoSet:
    """Photos all round ``scan``, from ``cache`` if they were rendered before; the cameras are in the foot's frame."""
    key = json.dumps([scan.name, scan.mesh.vertices.sum().round(6), asdict(look), views, seed])
    digest = hashlib.sha256((inspect.getsource(World) + key).encode()).hexdigest()[:12]
    folder = cache / f"{scan.name.replace(', ', '-')}-{views}-{digest}"
    if not folder.is_dir():
        rng = np.random.default_rng(seed)
        rows = [
            (
                360 * view / views + rng.uniform(-0.4, 0.4) * 360 / views,
                rng.uniform(*look.elevations),
                rng.uniform(-1, 1) * look.roll,
                rng.uniform(*look.distances),
                look.field_of_view,
            )
            for view in range(views)
        ]
        aims = np.array([0.0, 0.04, 0.0]) + rng.uniform(-0.02, 0.02, (views, 3))
        cameras = [look_at(row, aim, PIXELS, PIXELS) for row, aim in zip(rows, aims, strict=True)]
        world = World(scan, look, rng)
        photos = {f"{view:02d}.jpg": world.photo(camera, rng) for view, camera in enumerate(cameras)}
        subject = {"side": scan.side, "cube": {"lower": list(FOOT_CUBE.lower), "edge": FOOT_CUBE.edge}}
        with atomic_directory(folder) as partial:
            write_capture(partial, photos, rows, cameras, subject)
    return replace(read_photo_set(folder), scale="rendered")


class World:
    """A foot on a floor, the objects beside it and a lamp."""

    def __init__(self, scan: Scan, look: Look, rng: np.random.Generator) -> None:
        self.look, self.seed = look, int(rng.integers(1000))
        foot = scan.mesh
        outer = 1.0 if scan.side == "right" else -1.0
        parts = {"floor": trimesh.creation.box((4.0, 0.02, 4.0)).apply_translation([0, -0.0101, 0]), "foot": foot}
        top = float(foot.vertices[:, 1].max())
        if top < 0.3:  # a scan without a shank wears trousers
            ring = foot.vertices[foot.vertices[:, 1] > top - 0.02]
            middle, radius = (ring.min(0) + ring.max(0)) / 2, np.ptp(ring[:, 0]) / 2 + 0.012
            tube = trimesh.creation.cylinder(radius, 0.4, sections=64)
            tube.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
            parts["trousers"] = tube.apply_translation([middle[0], top + 0.18, middle[2]])
        if look.beside == "box":
            parts["box"] = trimesh.creation.box((0.20, 0.09, 0.12)).apply_translation([0.03, 0.045, 0.135 * outer])
        if look.beside == "foot":
            other = foot.copy().apply_transform(np.diag([1.0, 1.0, -1.0, 1.0]))
            parts["foot 2"] = other.apply_translation([-0.03, 0, -0.16 * outer])
        self.names = list(parts)
        self.part = np.repeat(np.arange(len(parts)), [len(mesh.faces) for mesh in parts.values()])
        self.mesh = trimesh.util.concatenate(list(parts.values()))
        self.normals = np.concatenate([mesh.vertex_normals for mesh in parts.values()])
        self.smooth = np.array([name.startswith(("foot", "trousers")) for name in self.names])
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(35, 50) if look.sun else 65)
        self.lamp = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth)]
        )
        self.lamp_size, self.lamp_power, self.sky_power = (0.01, 3.0, 0.35) if look.sun else (0.35, 0.8, 0.8)

    def photo(self, camera: Camera, rng: np.random.Generator) -> bytes:
        """A JPEG of ``camera``."""
        down, across = np.mgrid[: camera.height, : camera.width] + rng.uniform(0, 1, (2, camera.height, camera.width))
        rays = np.column_stack([across.ravel(), down.ravel(), np.ones(across.size)])
        rays = rays @ np.linalg.inv(camera.intrinsics).T @ camera.extrinsics[:3, :3]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        start = np.broadcast_to(camera.position, rays.shape)
        face = self.mesh.ray.intersects_first(start, rays)
        seen = face >= 0
        light = np.full((len(rays), 3), 0.15)
        light[seen] = self._shade(start[seen], rays[seen], face[seen], rng)
        light *= 0.2 / max(light.mean(), 1e-3) * rng.uniform(0.85, 1.2) * rng.uniform(0.93, 1.07, 3)
        pixels = np.clip(light, 0, 1) ** (1 / 2.2) + rng.normal(0, 0.012, light.shape)
        image = (255 * pixels.clip(0, 1)).astype(np.uint8).reshape(camera.height, camera.width, 3)
        return encode_photo(image, quality=85)

    def _shade(self, start: np.ndarray, rays: np.ndarray, face: np.ndarray, rng: np.random.Generator) -> RGB:
        corners, flat = self.mesh.triangles[face], self.mesh.face_normals[face]
        depth = ((corners[:, 0] - start) * flat).sum(1) / (rays * flat).sum(1)
        points = start + depth[:, None] * rays
        weights = trimesh.triangles.points_to_barycentric(corners, points)
        smooth = (self.normals[self.mesh.faces[face]] * weights[:, :, None]).sum(1)
        normal = np.where(self.smooth[self.part[face]][:, None], smooth, flat)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        origin = points + 4e-4 * flat
        lit, sky = np.zeros(len(points)), np.zeros(len(points))
        for _ in range(LAMP_RAYS):
            way = self.lamp + self.lamp_size * rng.normal(0, 1, points.shape)
            way /= np.linalg.norm(way, axis=1, keepdims=True)
            lit += ~self.mesh.ray.intersects_any(origin, way) * (normal * way).sum(1).clip(0)
        for _ in range(SKY_RAYS):
            way = rng.normal(0, 1, points.shape)
            way = normal + way / np.linalg.norm(way, axis=1, keepdims=True)
            way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
            sky += np.where(self.mesh.ray.intersects_any(origin, way), 0.3, 0.75 + 0.25 * way[:, 1])
        light = self.lamp_power * lit / LAMP_RAYS + self.sky_power * sky / SKY_RAYS
        return self._colours(points, self.part[face]) * light[:, None]

    def _colours(self, points: Float[np.ndarray, "points 3"], part: np.ndarray) -> RGB:
        colours = np.full((len(points), 3), 0.25)
        for number, name in enumerate(self.names):
            here = part == number
            place = points[here]
            if name == "floor":
                colours[here] = self._floor(place)
            elif name.startswith("foot"):
                colours[here] = self._skin(place)
            elif name == "box":
                colours[here] = np.array([0.35, 0.22, 0.12]) * (0.9 + 0.2 * _noise(place, 90, 7)[:, None])
            else:
                colours[here] = np.array([0.05, 0.06, 0.10]) * (0.8 + 0.4 * _noise(place, 400, 8)[:, None])
        return colours

    def _skin(self, p: Float[np.ndarray, "points 3"]) -> RGB:
        if self.look.cover == "stripes":
            light = (np.sin(2 * np.pi * (p[:, 0] + 0.6 * p[:, 1]) / 0.035) > 0)[:, None]
            return np.where(light, [0.7, 0.7, 0.65], [0.05, 0.08, 0.30]) * (0.85 + 0.3 * _noise(p, 500, 3)[:, None])
        if self.look.cover == "plain":
            return np.array([0.3, 0.3, 0.32]) * (0.8 + 0.4 * _noise(p, 500, 3)[:, None])
        tone = 0.8 + 0.25 * _noise(p, 30, self.seed) + 0.15 * _noise(p, 150, self.seed + 1)
        red = 0.12 * _noise(p, 20, self.seed + 2)[:, None] * [1, -1, -1]
        skin = np.array(self.look.skin) * (tone[:, None] + red)
        if self.look.cover == "tattoo":
            ink = (_noise(p, 45, 5) > 0.52) & (p[:, 1] > 0.025) & (p[:, 0] > -0.06) & (p[:, 0] < 0.07)
            skin[ink] = [0.03, 0.04, 0.06]
        return skin

    def _floor(self, p: Float[np.ndarray, "points 3"]) -> RGB:
        grain = _noise(p, 250, 11)[:, None]
        if self.look.floor == "wood":
            plank = np.floor(p[:, 2] / 0.11)
            rings = _noise(np.column_stack([0.06 * p[:, 0] + 7 * plank, 0 * plank, p[:, 2]]), 160, 12)
            shade = 0.7 + 0.4 * rings + 0.25 * _noise(np.column_stack([plank, 0 * plank, 0 * plank]), 1, 13)
            return np.array([0.36, 0.20, 0.10]) * (shade * (0.4 + 0.6 * (p[:, 2] / 0.11 - plank > 0.02)))[:, None]
        if self.look.floor == "tiles":
            cell, inside = np.floor(p[:, [0, 2]] / 0.15), (p[:, [0, 2]] / 0.15) % 1
            ring = np.hypot(*(inside - 0.5).T)
            mark = ((ring < 0.42) & (ring > 0.3)) | (ring < 0.15)
            base = np.where((cell.sum(1) % 2 == 0)[:, None], [0.6, 0.55, 0.45], [0.15, 0.22, 0.35])
            tile = np.where(mark[:, None], [0.45, 0.12, 0.08], base)
            return np.where((inside < 0.02).any(1)[:, None], 0.3, tile) * (0.9 + 0.2 * grain)
        stone = np.array([0.33, 0.32, 0.30]) * (0.75 + 0.3 * _noise(p, 15, 14)[:, None] + 0.3 * grain)
        if self.look.floor == "sheet":
            turned = p[:, [0, 2]] @ [[0.995, -0.1], [0.1, 0.995]]
            on_sheet = (np.abs(turned) < [0.1485, 0.105]).all(1)
            stone[on_sheet] = 0.82 + 0.03 * _noise(p[on_sheet], 30, 15)[:, None]
        return stone


def fill(polygons: Float[np.ndarray, "polygons corners 2"], camera: Camera) -> Mask:
    """Pixels inside any of the polygons."""
    image = np.zeros((camera.height, camera.width), np.uint8)
    for corners in np.rint(16 * (polygons - 0.5)).astype(np.int32):  # OpenCV's origin is the first pixel's centre
        cv2.fillPoly(image, [corners], 1, shift=4)
    return image > 0


def silhouette(vertices: Points, faces: Faces, camera: Camera) -> Mask:
    """Pixels of ``camera`` in which a mesh in its frame (metres) is seen; faces behind it are left out."""
    pixels = camera.project(vertices)
    return fill(pixels[faces][(pixels[faces][:, :, 2] > 0.01).all(1), :, :2], camera)


@functools.cache
def _lattice(seed: int) -> Float[np.ndarray, "x y z"]:
    return np.random.default_rng(seed).uniform(0, 1, (48, 48, 48))


def _noise(points: Float[np.ndarray, "points 3"], frequency: float, seed: int) -> Float[np.ndarray, " points"]:
    """Value noise, 0 to 1, with ``frequency`` cells per metre."""
    return map_coordinates(_lattice(seed), frequency * points.T + 24, order=1, mode="grid-wrap")


def all_scans(folder: Path, template: np.ndarray) -> Sequence[Scan]:
    """The scans ``*.ply`` in ``folder``, and the first one mirrored."""
    paths = sorted(folder.glob("*.ply"))
    if not paths:
        raise ValueError(f"{folder}: no scans; expected *.ply")
    return [*(read_scan(path, template) for path in paths), read_scan(paths[0], template, mirrored=True)]
