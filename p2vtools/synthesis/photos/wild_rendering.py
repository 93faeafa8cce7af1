"""Photos of the domain ``wild``, rendered with Mitsuba: traced key lights, precomputed fill light."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.ray.ray_pyembree import RayMeshIntersector

from p2vlib.geometry.cameras import Camera
from p2vtools.synthesis.photos.fill_light import Light, gather_light, light_on_mesh
from p2vtools.synthesis.photos.phone_camera import process_photo
from p2vtools.synthesis.photos.props import transform_mesh
from p2vtools.synthesis.photos.rendering import (
    DARK,
    SKIN_TONE,
    Scene,
    key_light,
    render_radiance,
    rgb,
    textured_rectangle,
    upper_body,
)
from p2vtools.synthesis.photos.surfaces import (
    MATTE,
    Corners,
    Frame,
    corner_normals,
    corner_reflectance,
    mitsuba_mesh,
    mitsuba_scalar,
)
from p2vtools.synthesis.photos.trajectories import photographer_position
from p2vtools.synthesis.photos.wild_floors import Texture, wild_floor_texture
from p2vtools.synthesis.photos.wild_light import floor_light
from p2vtools.synthesis.photos.wild_scenes import WildScene

GRID, GRID_EDGE = 72, 0.9
"""The fill light of the floor is computed for ``GRID`` x ``GRID`` points in a square of ``GRID_EDGE`` metres."""

EXPOSURE, METERING = 0.62, 0.4
"""Automatic exposure: ``EXPOSURE * brightness ** -METERING`` for the mean ``brightness`` of a photo."""

SHADOW_RAYS = 4
"""Shadow rays per sample, for soft shadows and several lights."""

WALL_LIGHT = 0.6
"""Light on a wall as a share of that on the floor."""


def render_wild_photos(leg: trimesh.Trimesh, painted: trimesh.Trimesh, scene: WildScene, spp: int) -> list[bytes]:
    """Renders one JPEG per camera of ``scene``; the photos depend only on the arguments.

    Args:
        leg: foot and lower leg standing on y = 0, as given to `sample_wild_scene`.
        painted: the same surface, possibly with more vertices, with the vertex attribute ``albedo``.
        spp: samples per pixel.
    """
    static = _static_scene(leg, painted, scene)
    lamps = {f"lamp-{number}": key_light(lamp, scene.target) for number, lamp in enumerate(scene.light.lamps)}
    photos = []
    for view, camera in enumerate(scene.cameras):
        render_seed, sensor_seed = np.random.SeedSequence((scene.seed, view)).generate_state(2)
        lights = {**lamps, **_flash(scene, camera)}
        content = {**static, **lights, **_photographer(scene, camera)}
        # One shadow ray is exact for a single light without extent.
        is_sharp = len(lights) == 1 and next(iter(lights.values()))["type"] in ("directional", "point")
        radiance = render_radiance(content, camera, spp, int(render_seed), 1 if is_sharp else SHADOW_RAYS)[..., :3]
        brightness = np.minimum(radiance, 1.5).mean()
        exposure = EXPOSURE * max(brightness, 0.01) ** -METERING * scene.exposure[view]
        rng = np.random.default_rng(sensor_seed)
        arguments = scene.processing[view], scene.sensor, exposure, scene.white_balance[view], rng
        photos.append(process_photo(radiance, *arguments))
    return photos


def _static_scene(leg: trimesh.Trimesh, painted: trimesh.Trimesh, scene: WildScene) -> Scene:
    """The surfaces that all views share; they emit the fill light."""
    texture = wild_floor_texture(scene.floor, scene.floor_seed)
    skin = corner_reflectance(painted, SKIN_TONE)
    parts = [leg, *scene.thighs, *(mesh for _, mesh in scene.objects)]
    parts += [] if scene.cloth is None else [scene.cloth]
    parts += [] if scene.other_foot is None else [transform_mesh(leg, scene.other_foot)]
    blockers = RayMeshIntersector(trimesh.util.concatenate(parts))
    paper = next((flat for flat in scene.flats if flat.name in ("paper", "mat")), None)
    ground = (texture if paper is None else paper.texture).mean(axis=(0, 1))
    open_floor = floor_light(scene.light.environment)
    fill = gather_light(blockers, scene.light.environment, ground, skin.mean(axis=(0, 1)))
    floor = _floor_light(scene, fill, open_floor)
    content = _bodies(leg, painted, skin, scene, fill)
    near, far = scene.floor_frame.copy(), scene.floor_frame @ np.diag([9.0, 9.0, 1.0, 1.0])
    far[1, 3] = -2e-4
    content["near"] = textured_rectangle(near, texture, texture * _on_flat(floor, scene, near), gloss=scene.gloss)
    content["far"] = textured_rectangle(far, texture, texture * open_floor, 9.0, gloss=scene.gloss)
    for flat in scene.flats:
        upright = flat.frame[1, 1] != 0
        light = WALL_LIGHT * open_floor if upright else _on_flat(floor, scene, flat.frame, flat.texture.shape[:2])
        content[flat.name] = textured_rectangle(flat.frame, flat.texture, flat.texture * light)
    mi = mitsuba_scalar()
    bitmap = mi.Bitmap(np.ascontiguousarray(scene.light.backdrop, dtype=np.float32))
    return {**content, "backdrop": mi.load_dict({"type": "envmap", "bitmap": bitmap, "sampling_weight": 0.0})}


def _bodies(
    leg: trimesh.Trimesh, painted: trimesh.Trimesh, skin: Corners, scene: WildScene, fill: Light
) -> dict[str, Any]:
    """Feet, thighs, clothes and objects."""
    material = {"type": "principled", **scene.skin_gloss}
    content = {"foot": _foot(leg, painted, skin, material, fill, 28)}
    if scene.other_foot is not None:
        matrix = scene.other_foot
        mirrored = transform_mesh(painted, matrix)
        content["other"] = _foot(transform_mesh(leg, matrix), mirrored, skin[:, ::-1], material, fill, 12)
    height = np.asarray(painted.vertices)[:, 1]
    tone = np.asarray(painted.vertex_attributes["albedo"])[height > height.max() - 0.05].mean(axis=0)
    for number, thigh in enumerate(scene.thighs):
        colours = np.broadcast_to(tone, (len(thigh.faces), 3, 3))
        content[f"thigh-{number}"] = _surface(thigh, thigh.vertex_normals[thigh.faces], colours, material, fill)
    if scene.cloth is not None:
        cloth = scene.cloth
        colours = corner_reflectance(cloth, SKIN_TONE)
        content["cloth"] = _surface(cloth, cloth.vertex_normals[cloth.faces], colours, MATTE, fill)
    for number, (name, mesh) in enumerate(scene.objects):
        shiny = {"type": "principled", "roughness": 0.35, "specular": 0.5}
        bsdf = MATTE if name in ("lump", "cable") else shiny
        colours = corner_reflectance(mesh, SKIN_TONE)
        content[f"object-{number}"] = _surface(mesh, corner_normals(mesh), colours, bsdf, fill)
    return content


def _foot(
    leg: trimesh.Trimesh, painted: trimesh.Trimesh, skin: Corners, material: Scene, fill: Light, rays: int
) -> Any:
    """A painted leg with the fill light of its coarse surface ``leg``."""
    light = light_on_mesh(fill, leg, rays)
    if len(painted.vertices) != len(leg.vertices):
        distance, near = cKDTree(leg.vertices).query(painted.vertices, k=3)
        weight = 1 / (distance + 1e-5)
        light = (light[near] * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    return mitsuba_mesh(painted, painted.vertex_normals[painted.faces], skin, skin * light[painted.faces], material)


def _surface(mesh: trimesh.Trimesh, normals: Corners, colours: Corners, bsdf: Scene, fill: Light) -> Any:
    """A mesh whose fill light is computed at its corners, slightly inside its faces."""
    points = mesh.triangles + 0.1 * (mesh.triangles_center[:, None] - mesh.triangles)
    light = fill(points.reshape(-1, 3), np.asarray(normals, dtype=float).reshape(-1, 3), 10)
    return mitsuba_mesh(mesh, normals, colours, colours * light.reshape(-1, 3, 3), bsdf)


def _floor_light(scene: WildScene, fill: Light, open_floor: np.ndarray) -> Float[np.ndarray, "grid grid 3"]:
    """Fill light of the floor around the target on a grid along x (columns) and z (rows)."""
    steps = ((np.arange(GRID) + 0.5) / GRID - 0.5) * GRID_EDGE
    z, x = np.meshgrid(steps, steps, indexing="ij")
    points = scene.target + np.stack([x.ravel(), np.zeros(x.size), z.ravel()], axis=1)
    light = fill(points, np.broadcast_to([0.0, 1.0, 0.0], points.shape), 32).reshape(GRID, GRID, 3)
    light = cv2.GaussianBlur(light, (0, 0), 0.8)
    fade = np.clip(6 * (0.5 - np.abs((np.arange(GRID) + 0.5) / GRID - 0.5)), 0, 1)
    return open_floor + np.minimum.outer(fade, fade)[..., None] * (light - open_floor)


def _on_flat(
    light: Float[np.ndarray, "grid grid 3"], scene: WildScene, frame: Frame, shape: tuple[int, int] = (256, 256)
) -> Texture:
    """The fill light of the floor on a rectangle, bilinear; 256 x 256 is enlarged to the size of a floor texture."""
    y, x = (((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32) for size in shape)
    origin = (frame[:3, 3] - scene.target) / GRID_EDGE * GRID + GRID / 2 - 0.5
    scale = frame[:3, :2] / GRID_EDGE * GRID
    column = (origin[0] + x[None, :] * scale[0, 0] + y[:, None] * scale[0, 1]).astype(np.float32)
    row = (origin[2] + x[None, :] * scale[2, 0] + y[:, None] * scale[2, 1]).astype(np.float32)
    image = cv2.remap(light.astype(np.float32), column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(image, (1024, 1024)) if shape == (256, 256) else image


def _flash(scene: WildScene, camera: Camera) -> Scene:
    """A small light beside the lens; the floor at the foot receives its share."""
    if not scene.light.flash:
        return {}
    position = camera.position + 0.015 * camera.extrinsics[0, :3] + 0.012 * camera.extrinsics[2, :3]
    away = position - scene.target
    distance = float(np.linalg.norm(away))
    intensity = np.pi * scene.light.flash * distance**2 * distance / max(away[1], 0.3 * distance)
    return {"flash": {"type": "point", "position": position.tolist(), "intensity": rgb(np.full(3, intensity))}}


def _photographer(scene: WildScene, camera: Camera) -> Scene:
    """Phone, arm and upper body of the photographer, whose shadows are in the photo."""
    mi = mitsuba_scalar()
    right, down, forward = camera.extrinsics[:3, :3]
    frame = np.eye(4)
    half = (0.077, 0.037) if camera.width >= camera.height else (0.037, 0.077)
    frame[:3, 0], frame[:3, 1], frame[:3, 2] = half[0] * right, half[1] * down, 0.003 * forward
    frame[:3, 3] = camera.position - 0.012 * forward + 0.6 * half[1] * down
    content: Scene = {"phone": {"type": "cube", "to_world": mi.ScalarTransform4f(frame), "bsdf": DARK}}
    if not scene.photographer:
        return content
    return {**content, **upper_body(photographer_position(camera, scene.target), camera.position - 0.07 * forward)}
