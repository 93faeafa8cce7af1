"""Photos of meshes, rendered with Mitsuba: R2N2's studio domain, and phone photos of a bare foot.

Light has two parts. The key light (sun, lamp, window) is traced by Mitsuba in every photo, with its shadows and the
gloss of the skin. The fill light (sky, room, reflections from the floor) does not depend on the camera: `fill_light`
computes it once per capture, and surfaces emit it. Few samples per pixel therefore give little noise. Only the variant
`scalar_rgb` is used: it needs no compiler and renders the same image on every machine.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, UInt8
from trimesh.ray.ray_pyembree import RayMeshIntersector

from p2vlib.geometry.cameras import Camera
from p2vtools.archives.photo_files import encode_photo
from p2vtools.synthesis.colours import linear_to_srgb
from p2vtools.synthesis.mat import Sheet
from p2vtools.synthesis.photos import fill_light
from p2vtools.synthesis.photos.floors import SPAN, Texture, floor_texture
from p2vtools.synthesis.photos.phone_camera import Optics, apply_optics, simulate_sensor, widened_camera
from p2vtools.synthesis.photos.props import tube
from p2vtools.synthesis.photos.surfaces import (
    MATTE,
    SKIN,
    Corners,
    Frame,
    corner_normals,
    corner_reflectance,
    flat_frame,
    mitsuba_mesh,
    mitsuba_scalar,
)
from p2vtools.synthesis.photos.trajectories import Lamp, PhoneTrajectory

Scene = dict[str, Any]

STUDIO_KEY = 1.5
"""Irradiance of the studio's key light."""

STUDIO_FILL = (0.75, 0.38)
"""Radiance of the studio's environment from above and below."""

STUDIO_KEY_POSITION = np.array([-0.45, -0.75, -1.0])
"""Of the key light, in camera axes (x right, y down, z forward): over the photographer's left shoulder."""

SKIN_TONE = (0.47, 0.26, 0.16)
"""Linear RGB of the skin of a mesh without colours."""

DARK = {"type": "diffuse", "reflectance": 0.05}
"""Material of the phone and of the person who holds it."""

METERED_REFLECTANCE, METERING = 0.32, 0.5
"""Automatic exposure compensates this share of the deviation of the mean reflectance of skin and floor."""


def render_studio_photos(
    mesh: trimesh.Trimesh, cameras: list[Camera], spp: int
) -> list[UInt8[np.ndarray, "height width 4"]]:
    """Renders RGBA images in soft, even light like the ShapeNet renderings: transparent background, no floor.

    Colours are the mesh's (see `surfaces.corner_reflectance`), or grey. An image depends only on the mesh, its camera
    and ``spp`` (samples per pixel).
    """
    normals, colours = corner_normals(mesh), corner_reflectance(mesh, (0.45, 0.45, 0.45))
    above, below = STUDIO_FILL
    emission = colours * (below + (above - below) * (0.5 + 0.5 * normals[..., 1:2]))
    shape = mitsuba_mesh(mesh, normals, colours, emission, MATTE)
    images = []
    for camera in cameras:
        direction = -camera.extrinsics[:3, :3].T @ STUDIO_KEY_POSITION
        key = {"type": "directional", "direction": direction.tolist(), "irradiance": STUDIO_KEY}
        image = render_radiance({"mesh": shape, "key": key}, camera, spp, seed=0)
        alpha = np.clip(image[..., 3:], 0, 1)
        colour = linear_to_srgb(image[..., :3] / np.maximum(alpha, 1e-6))
        images.append(np.round(255 * np.dstack([colour, alpha])).astype(np.uint8))
    return images


def render_phone_photos(
    mesh: trimesh.Trimesh,
    trajectory: PhoneTrajectory,
    spp: int,
    sheet: Sheet | None = None,
    optics: Optics | None = None,
) -> list[bytes]:
    """Renders one JPEG per view of ``mesh`` (foot and lower leg, standing on y = 0) in the scene of ``trajectory``.

    The photos depend only on the arguments. The skin has the mesh's colours (`surfaces.corner_reflectance`), or
    `SKIN_TONE`.

    Args:
        spp: samples per pixel.
        sheet: on the floor under the foot.
        optics: None is a pinhole camera without motion blur.
    """
    skin = corner_reflectance(mesh, SKIN_TONE)
    texture = floor_texture(trajectory.floor)
    static = _static_scene(mesh, skin, trajectory, texture, sheet)
    metering = (METERED_REFLECTANCE / np.sqrt(texture.mean() * skin.mean())) ** METERING
    photos = []
    for view, camera in enumerate(trajectory.cameras):
        render_seed, sensor_seed = np.random.SeedSequence((trajectory.seed, view)).generate_state(2)
        photographer = upper_body(trajectory.photographer[view], trajectory.phone_positions[view])
        drift = trajectory.key_strength[view], trajectory.key_rotation[view]
        key = key_light(trajectory.lighting.key, trajectory.target, *drift)
        scene = {**static, **photographer, "key": key}
        radiance = render_radiance(scene, widened_camera(camera) if optics else camera, spp, int(render_seed))[..., :3]
        if optics:
            radiance = apply_optics(radiance, camera, optics, view)
        exposure, rng = metering * trajectory.exposure[view], np.random.default_rng(sensor_seed)
        image = simulate_sensor(radiance, trajectory.sensor, exposure, trajectory.white_balance[view], rng)
        photos.append(encode_photo(image, quality=trajectory.sensor.jpeg_quality))
    return photos


def _static_scene(
    mesh: trimesh.Trimesh, skin: Corners, trajectory: PhoneTrajectory, texture: Texture, sheet: Sheet | None
) -> Scene:
    """The part of the scene that all views share: foot, trousers, floor and environment, emitting the fill light."""
    mi = mitsuba_scalar()
    trousers = _trousers(mesh)
    blockers, lighting = RayMeshIntersector(trimesh.util.concatenate([mesh, trousers])), trajectory.lighting
    tints, uneven = (lighting.zenith_tint, lighting.horizon_tint), lighting.kind in ("lamp", "window")
    sky, far = fill_light.make_environment(lighting.seed, *tints, 1 - lighting.key.share, uneven)
    light = fill_light.gather_light(blockers, sky, texture.mean(axis=(0, 1)), skin.mean(axis=(0, 1)))
    on_mesh, near = fill_light.light_on_mesh(light, mesh), fill_light.light_on_floor(light, trajectory, far)
    cloth = np.broadcast_to(trajectory.trousers, (len(trousers.faces), 3, 3))
    environment = {"type": "envmap", "bitmap": mi.Bitmap(sky.astype(np.float32)), "sampling_weight": 0.0}
    # The centre of the floor has the contact shadow; the rest lies slightly lower and extends to the horizon.
    paper = {} if sheet is None else {"paper": _paper(sheet, trajectory, near)}
    return {
        **paper,
        "foot": mitsuba_mesh(mesh, mesh.vertex_normals[mesh.faces], skin, skin * on_mesh[mesh.faces], SKIN),
        "trousers": mitsuba_mesh(trousers, corner_normals(trousers), cloth, cloth * far, MATTE),
        "near": _floor(trajectory, texture, texture * near, 0.0, SPAN / 2),
        "far": _floor(trajectory, texture, texture * far, -2e-4, 4.5 * SPAN),
        "backdrop": mi.load_dict(environment),
    }


def render_radiance(
    scene: Scene, camera: Camera, spp: int, seed: int, shadow_rays: int = 1
) -> Float[np.ndarray, "height width 4"]:
    """Linear radiance and alpha: direct light with ``shadow_rays`` per sample, and emission."""
    mi = mitsuba_scalar()
    integrator = {"type": "direct", "emitter_samples": shadow_rays, "bsdf_samples": 0}
    scene = {"type": "scene", "integrator": integrator, "sensor": _mitsuba_camera(mi, camera), **scene}
    return np.array(mi.render(mi.load_dict(scene), spp=spp, seed=seed))


def _mitsuba_camera(mi: ModuleType, camera: Camera) -> Scene:
    """Converts a camera (x right, y down, z forward) to Mitsuba's axes (x left, y up, z forward)."""
    focal, centre = camera.intrinsics[0, 0], camera.intrinsics[:2, 2]
    if not np.allclose([camera.intrinsics[1, 1], *centre], [focal, camera.width / 2, camera.height / 2], rtol=1e-6):
        raise ValueError(
            f"rendering needs square pixels and a centred principal point; found {camera.intrinsics.tolist()}"
        )
    film = {"type": "hdrfilm", "pixel_format": "rgba", "rfilter": {"type": "box"}}
    to_world = np.linalg.inv(camera.extrinsics) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    return {
        "type": "perspective",
        "fov_axis": "x",
        "fov": float(2 * np.rad2deg(np.arctan(camera.width / 2 / focal))),
        "near_clip": 0.005,
        "to_world": mi.ScalarTransform4f(to_world),
        "film": {**film, "width": camera.width, "height": camera.height},
        "sampler": {"type": "independent"},
    }


def key_light(lamp: Lamp, target: Float[np.ndarray, "3"], strength: float = 1.0, rotation: float = 0.0) -> Scene:
    """A lamp that gives a bare floor at ``target`` the radiance ``strength * share * tint``.

    Args:
        rotation: added to its azimuth, degrees.
    """
    azimuth, elevation = np.deg2rad([lamp.azimuth + rotation, lamp.elevation])
    towards = np.array([np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth)])
    irradiance = strength * np.pi * lamp.share * np.asarray(lamp.tint) / towards[1]
    if lamp.kind == "sun":
        return {"type": "directional", "direction": (-towards).tolist(), "irradiance": rgb(irradiance)}
    position = (target + lamp.distance * towards).tolist()
    radiance = irradiance * (lamp.distance / lamp.size) ** 2
    if lamp.kind == "sphere":
        shape, radiance = {"type": "sphere", "center": position, "radius": lamp.size}, radiance / np.pi
    else:
        frame = mitsuba_scalar().ScalarTransform4f().look_at(position, target.tolist(), [0, 1, 0]).scale(lamp.size / 2)
        shape = {"type": "rectangle", "to_world": frame}
    return {**shape, "emitter": {"type": "area", "radiance": rgb(radiance)}}


def rgb(colour: np.ndarray) -> Scene:
    """The description of a linear RGB ``colour`` for Mitsuba."""
    return {"type": "rgb", "value": np.asarray(colour, dtype=float).tolist()}


def _floor(trajectory: PhoneTrajectory, texture: Texture, emission: Texture, height: float, extent: float) -> Any:
    """A square of floor that extends ``extent`` metres from the target."""
    frame = flat_frame(trajectory.target, trajectory.floor.rotation, 2 * extent, 2 * extent, height)
    # With an odd number of repeats the centre of the texture is under the foot.
    return textured_rectangle(frame, texture, emission, 2 * extent / SPAN)


def _paper(sheet: Sheet, trajectory: PhoneTrajectory, fill: Texture) -> Any:
    """The sheet, 0.1 mm above the floor, with the fill light of the floor under it."""
    x, z = sheet.position
    frame = flat_frame([x, 0, z], sheet.rotation, sheet.width, sheet.depth, 1e-4)
    if sheet.corner_heights:
        return _bent_paper(sheet, frame, trajectory, fill)
    # Mitsuba counts the rows of a texture from below.
    texture = np.repeat(sheet.reflectance[::-1, :, None], 3, axis=2)
    y, x = ((np.arange(size) + 0.5) / size * 2 - 1 for size in texture.shape[:2])
    points = frame[:3, 3] + x[None, :, None] * frame[:3, 0] + y[:, None, None] * frame[:3, 1]
    return textured_rectangle(frame, texture, texture * fill_light.sample_floor_light(fill, trajectory, points))


def _bent_paper(sheet: Sheet, frame: Frame, trajectory: PhoneTrajectory, fill: Texture) -> Any:
    """A bent sheet as a mesh with one colour per vertex: for plain sheets."""
    rows, columns = sheet.reflectance.shape
    x, y = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(1, -1, rows))  # the first row is at -z
    flat = frame[:3, 3] + x[..., None] * frame[:3, 0] + y[..., None] * frame[:3, 1]
    points = flat + sheet.heights(x, -y)[..., None] * frame[:3, 2]
    index = np.arange(rows * columns).reshape(rows, columns)
    first, right, below, across = (index[a : rows - 1 + a, b : columns - 1 + b].ravel() for a in (0, 1) for b in (0, 1))
    faces = np.vstack([np.column_stack([first, below, right]), np.column_stack([right, below, across])])
    mesh = trimesh.Trimesh(points.reshape(-1, 3), faces, process=False)
    colours = np.repeat(sheet.reflectance[..., None], 3, axis=2)
    emission = colours * fill_light.sample_floor_light(fill, trajectory, flat)
    corners = (values.reshape(-1, 3)[faces] for values in (colours, emission))
    return mitsuba_mesh(mesh, mesh.vertex_normals[faces], *corners, MATTE)


def textured_rectangle(
    frame: Frame, texture: Texture, emission: Texture, repeat: float = 1.0, gloss: Scene | None = None
) -> Any:
    """The rectangle from -1 to 1 in ``frame`` with a reflectance ``texture`` and an ``emission``, both repeated.

    Args:
        gloss: parameters of a principled material; None: a diffuse one.
    """
    mi = mitsuba_scalar()

    def bitmap(image: np.ndarray) -> Scene:
        texture = {"type": "bitmap", "bitmap": mi.Bitmap(image.astype(np.float32)), "raw": True}
        return {**texture, "to_uv": mi.ScalarTransform4f().scale([repeat, repeat, 1])}

    bsdf: Scene = {"type": "diffuse", "reflectance": bitmap(texture)}
    if gloss is not None:
        bsdf = {"type": "principled", "base_color": bitmap(texture), **gloss}
    emitter = {"type": "area", "radiance": bitmap(emission), "sampling_weight": 0.0}
    shape = {"type": "rectangle", "to_world": mi.ScalarTransform4f(frame), "bsdf": bsdf, "emitter": emitter}
    return mi.load_dict(shape)


def upper_body(position: Float[np.ndarray, "2"], hand: Float[np.ndarray, "3"]) -> Scene:
    """The person with the phone at ``position`` (x, z): outside every view, but the shadow is inside."""
    x, z = position.tolist()
    return {
        "torso": {"type": "cylinder", "p0": [x, 0.75, z], "p1": [x, 1.42, z], "radius": 0.17, "bsdf": DARK},
        "head": {"type": "sphere", "center": [x, 1.62, z], "radius": 0.115, "bsdf": DARK},
        "arm": {"type": "cylinder", "p0": [x, 1.35, z], "p1": hand.tolist(), "radius": 0.045, "bsdf": DARK},
    }


def _trousers(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """A trouser leg from just below the top of the leg upwards, which hides where the mesh ends."""
    hem = mesh.bounds[1, 1] - 0.06
    knee = mesh.vertices[mesh.vertices[:, 1] > hem - 0.02]
    centre = (knee.min(axis=0) + knee.max(axis=0))[[0, 2]] / 2
    radius = np.linalg.norm(knee[:, [0, 2]] - centre, axis=1).max() + 0.008
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    heights = hem + np.array([0.0, 0.02, 0.10, 0.25, 0.50])
    radii = radius * np.array([1.0, 1.02, 1.03, 1.08, 1.15])
    ring = np.column_stack([np.cos(angles), np.zeros(24), np.sin(angles)])
    rings = [r * ring + [centre[0], h, centre[1]] for r, h in zip(radii, heights, strict=True)]
    return tube(np.array(rings), clockwise=True)
