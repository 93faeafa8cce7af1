"""Photos of meshes by Mitsuba: R2N2's studio look, and a phone's pictures of a bare foot.

Light comes in two parts. The key light (sun, lamp, window) is traced by Mitsuba in every photo, with its shadows and
the shine of the skin. The fill light (sky, room, what the floor sends back) hardly changes over a foot and does not
depend on the camera: `fill.py` gathers it once a capture, and surfaces give it off as a glow. So few samples a pixel
give little noise. Only the variant `scalar_rgb` is used: it needs no compiler on the machine and draws the same
picture on every one.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from p2vlib.geometry.cameras import Camera
from p2vtools.synthesis.mat import Sheet
from p2vtools.synthesis.photos.fill_light import floor_frame, gather, on_floor
from p2vtools.synthesis.photos.floors import SPAN, texture
from p2vtools.synthesis.photos.lens import Lens, distort, widened_camera
from p2vtools.synthesis.photos.sensor import develop, jpeg, srgb
from p2vtools.synthesis.photos.surfaces import MATT, SKIN, Corners, corner_normals, mitsuba_scalar, reflectance, surface
from p2vtools.synthesis.photos.trajectories import Light, PhotoWalk

Scene = dict[str, Any]

STUDIO_KEY = 1.5
STUDIO_FILL = (0.75, 0.38)
"""Irradiance of the studio's key light, and radiance of its backdrop above and below: even and soft."""

STUDIO_LAMP = np.array([-0.45, -0.75, -1.0])
"""Where the key light stands, in the camera's axes (x right, y down, z forward): over the left shoulder."""

METERED, METERING = 0.32, 0.5
"""A phone shows skin and floor of this mean reflectance as they are and makes up for this share of any difference."""


def studio_photos(mesh: trimesh.Trimesh, cameras: list[Camera], spp: int) -> list[UInt8[np.ndarray, "height width 4"]]:
    """RGBA pictures in soft even light, as the ShapeNet renderings: transparent around the object, no floor.

    Colours are the mesh's own (see `surfaces.reflectance`), grey without them. A picture depends on the mesh, its
    camera and ``spp`` (samples a pixel) alone.
    """
    normals, colours = corner_normals(mesh), reflectance(mesh, (0.45, 0.45, 0.45))
    above, below = STUDIO_FILL
    glow = colours * (below + (above - below) * (0.5 + 0.5 * normals[..., 1:2]))
    shape = surface(mesh, normals, colours, glow, MATT)
    pictures = []
    for camera in cameras:
        away = -camera.extrinsics[:3, :3].T @ STUDIO_LAMP
        lamp = {"type": "directional", "direction": away.tolist(), "irradiance": STUDIO_KEY}
        picture = _render({"mesh": shape, "key": lamp}, camera, spp, seed=0)
        alpha = np.clip(picture[..., 3:], 0, 1)
        colour = srgb(picture[..., :3] / np.maximum(alpha, 1e-6))
        pictures.append(np.round(255 * np.dstack([colour, alpha])).astype(np.uint8))
    return pictures


def phone_photos(
    mesh: trimesh.Trimesh, walk: PhotoWalk, spp: int, sheet: Sheet | None = None, lens: Lens | None = None
) -> list[bytes]:
    """One JPEG a view of the whole scene of ``walk`` around ``mesh`` (foot and lower leg, standing on y = 0).

    With a ``sheet`` the foot stands on it; without a ``lens`` the phone is a pinhole that is held still.

    The skin is the mesh's vertex attribute ``albedo``; without it, the walk's skin tone times the mesh's colours. The
    pictures depend on the mesh, the walk and ``spp`` (samples a pixel) alone.
    """
    skin = reflectance(mesh, (1.0, 1.0, 1.0))
    if "albedo" not in mesh.vertex_attributes:
        skin = skin * walk.skin
    pattern = texture(walk.floor)
    still = _still_scene(mesh, skin, walk, pattern, sheet)
    metered = (METERED / np.sqrt(pattern.mean() * skin.mean())) ** METERING
    photos = []
    for view, camera in enumerate(walk.cameras):
        seed = np.random.SeedSequence((walk.seed, view)).generate_state(2)
        key = _key_light(walk.light, walk.key[view], walk.swing[view], walk.target)
        scene = {**still, **_walker(walk.walker[view], walk.phones[view]), "key": key}
        radiance = _render(scene, widened_camera(camera) if lens else camera, spp, int(seed[0]))[..., :3]
        if lens:
            radiance = distort(radiance, camera, lens, view)
        noise = np.random.default_rng(seed[1])
        picture = develop(radiance, walk.sensor, metered * walk.exposure[view], walk.white[view], noise)
        photos.append(jpeg(picture, walk.sensor.quality))
    return photos


def _still_scene(
    mesh: trimesh.Trimesh,
    skin: Corners,
    walk: PhotoWalk,
    pattern: Float[np.ndarray, "height width 3"],
    sheet: Sheet | None = None,
) -> Scene:
    """What is the same in every view: foot, trousers, floor and backdrop, glowing with the fill light."""
    mi = mitsuba_scalar()
    trousers = _trousers(mesh)
    fill = gather(mesh, trousers, walk, pattern.mean(axis=(0, 1)), skin.mean(axis=(0, 1)))
    cloth = np.broadcast_to(walk.cloth, (len(trousers.faces), 3, 3))
    backdrop = {"type": "envmap", "bitmap": mi.Bitmap(fill.backdrop.astype(np.float32)), "sampling_weight": 0.0}
    # The middle of the floor carries the contact shadow; the rest, a hair lower, goes on to the horizon.
    paper = {} if sheet is None else {"paper": _paper(sheet, walk, fill.floor)}
    return {
        **paper,
        "foot": surface(mesh, mesh.vertex_normals[mesh.faces], skin, skin * fill.mesh[mesh.faces], SKIN),
        "trousers": surface(trousers, corner_normals(trousers), cloth, cloth * fill.open_floor, MATT),
        "near": _floor(walk, pattern, pattern * fill.floor, 0.0, SPAN / 2),
        "far": _floor(walk, pattern, pattern * fill.open_floor, -2e-4, 4.5 * SPAN),
        "backdrop": mi.load_dict(backdrop),
    }


def _render(scene: Scene, camera: Camera, spp: int, seed: int) -> Float[np.ndarray, "height width 4"]:
    """Linear radiance and alpha: direct light with one shadow ray a sample, and whatever glows."""
    mi = mitsuba_scalar()
    integrator = {"type": "direct", "emitter_samples": 1, "bsdf_samples": 0}
    parts = {"type": "scene", "integrator": integrator, "sensor": _sensor(mi, camera), **scene}
    return np.array(mi.render(mi.load_dict(parts), spp=spp, seed=seed))


def _sensor(mi: ModuleType, camera: Camera) -> Scene:
    """Mitsuba's camera (x left, y up, z forward) of ours (x right, y down, z forward)."""
    focal, centre = camera.intrinsics[0, 0], camera.intrinsics[:2, 2]
    if not np.allclose([camera.intrinsics[1, 1], *centre], [focal, camera.width / 2, camera.height / 2], rtol=1e-6):
        raise ValueError(f"a rendered photo needs square pixels and a central axis; found {camera.intrinsics.tolist()}")
    to_world = np.linalg.inv(camera.extrinsics) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    return {
        "type": "perspective",
        "fov_axis": "x",
        "fov": float(2 * np.rad2deg(np.arctan(camera.width / 2 / focal))),
        "near_clip": 0.005,
        "to_world": mi.ScalarTransform4f(to_world),
        "film": {
            "type": "hdrfilm",
            "width": camera.width,
            "height": camera.height,
            "pixel_format": "rgba",
            "rfilter": {"type": "box"},
        },
        "sampler": {"type": "independent"},
    }


def _key_light(light: Light, strength: float, swing: float, target: np.ndarray) -> Scene:
    """Sun, lamp or bright surface, turned by ``swing`` degrees; at ``strength`` 1 it gives its share of the light."""
    mi = mitsuba_scalar()
    azimuth, elevation = np.deg2rad([light.azimuth + swing, light.elevation])
    towards = np.array([np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth)])
    tint = np.asarray(light.key) / np.mean(light.key)
    irradiance = strength * np.pi * light.share * tint / towards[1]
    if light.kind == "sun":
        return {"type": "directional", "direction": (-towards).tolist(), "irradiance": _rgb(irradiance)}
    place = (target + light.distance * towards).tolist()
    if light.kind == "lamp":
        radiance = irradiance * (light.distance / light.size) ** 2 / np.pi
        shape = {"type": "sphere", "center": place, "radius": light.size}
    else:
        radiance = irradiance * (light.distance / light.size) ** 2
        frame = mi.ScalarTransform4f().look_at(place, target.tolist(), [0, 1, 0]).scale(light.size / 2)
        shape = {"type": "rectangle", "to_world": frame}
    return {**shape, "emitter": {"type": "area", "radiance": _rgb(radiance)}}


def _rgb(colour: np.ndarray) -> Scene:
    return {"type": "rgb", "value": np.asarray(colour, dtype=float).tolist()}


def _floor(walk: PhotoWalk, pattern: np.ndarray, glow: np.ndarray, height: float, reach: float) -> Any:
    """A square of floor reaching ``reach`` metres from the target, covered with the pattern and its glow."""
    frame = floor_frame(walk) @ np.diag([reach, reach, 1.0, 1.0])
    frame[1, 3] = height
    # An odd number of repeats puts the middle of the texture under the foot.
    return _covered(frame, pattern, glow, 2 * reach / SPAN)


def _paper(sheet: Sheet, walk: PhotoWalk, fill: Float[np.ndarray, "height width 3"]) -> Any:
    """The sheet a tenth of a millimetre above the floor, in the light that the floor under it has."""
    turn = np.deg2rad(sheet.rotation)
    along, towards = np.array([np.cos(turn), 0, np.sin(turn)]), np.array([-np.sin(turn), 0, np.cos(turn)])
    frame = np.eye(4)
    frame[:3, 0], frame[:3, 1], frame[:3, 2] = sheet.width / 2 * along, -sheet.depth / 2 * towards, (0, 1, 0)
    frame[:3, 3] = sheet.position[0], 1e-4, sheet.position[1]
    # Mitsuba counts the rows of a texture from below.
    printed = np.repeat(sheet.reflectance[::-1, :, None], 3, axis=2)
    y, x = ((np.arange(size) + 0.5) / size * 2 - 1 for size in printed.shape[:2])
    places = frame[:3, 3] + x[None, :, None] * frame[:3, 0] + y[:, None, None] * frame[:3, 1]
    return _covered(frame, printed, printed * on_floor(fill, walk, places))


def _covered(
    frame: Float[np.ndarray, "4 4"],
    pattern: Float[np.ndarray, "height width 3"],
    glow: Float[np.ndarray, "height width 3"],
    repeat: float = 1.0,
) -> Any:
    """A rectangle from -1 to 1 in ``frame``, covered ``repeat`` times with a pattern for the key light and its glow."""
    mi = mitsuba_scalar()

    def cover(picture: np.ndarray) -> Scene:
        bitmap = {"type": "bitmap", "bitmap": mi.Bitmap(picture.astype(np.float32)), "raw": True}
        return {**bitmap, "to_uv": mi.ScalarTransform4f().scale([repeat, repeat, 1])}

    return mi.load_dict(
        {
            "type": "rectangle",
            "to_world": mi.ScalarTransform4f(frame),
            "bsdf": {"type": "diffuse", "reflectance": cover(pattern)},
            "emitter": {"type": "area", "radiance": cover(glow), "sampling_weight": 0.0},
        }
    )


def _walker(stand: Float[np.ndarray, "2"], phone: Float[np.ndarray, "3"]) -> Scene:
    """The upper body of the person with the phone: no camera sees it, its shadow falls where theirs would."""
    x, z = stand.tolist()
    dark = {"type": "diffuse", "reflectance": 0.05}
    return {
        "torso": {"type": "cylinder", "p0": [x, 0.75, z], "p1": [x, 1.42, z], "radius": 0.17, "bsdf": dark},
        "head": {"type": "sphere", "center": [x, 1.62, z], "radius": 0.115, "bsdf": dark},
        "arm": {"type": "cylinder", "p0": [x, 1.35, z], "p1": phone.tolist(), "radius": 0.045, "bsdf": dark},
    }


def _trousers(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """A trouser leg from just below the top of the leg upwards, so that no picture shows where the mesh ends."""
    top = mesh.bounds[1, 1]
    hem = top - 0.06
    knee = mesh.vertices[mesh.vertices[:, 1] > hem - 0.02]
    centre = (knee.min(axis=0) + knee.max(axis=0))[[0, 2]] / 2
    radius = np.linalg.norm(knee[:, [0, 2]] - centre, axis=1).max() + 0.008
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    heights = hem + np.array([0.0, 0.02, 0.10, 0.25, 0.50])
    radii = radius * np.array([1.0, 1.02, 1.03, 1.08, 1.15])
    ring = np.column_stack([np.cos(angles), np.zeros(24), np.sin(angles)])
    points = np.concatenate([r * ring + [centre[0], h, centre[1]] for r, h in zip(radii, heights, strict=True)])
    index = np.arange(24)
    quads = [
        np.stack([24 * k + index, 24 * k + 24 + index, 24 * k + 24 + (index + 1) % 24, 24 * k + (index + 1) % 24], 1)
        for k in range(4)
    ]
    faces = np.concatenate(quads)
    return trimesh.Trimesh(points, np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]]), process=False)
