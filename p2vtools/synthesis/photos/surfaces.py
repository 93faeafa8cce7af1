"""Meshes as Mitsuba shapes: corner normals, reflectance, and the emission that stands for the fill light."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from p2vtools.synthesis.colours import srgb_to_linear

Corners = Float[np.ndarray, "faces 3 3"]
"""Three numbers per corner of each face."""

Frame = Float[np.ndarray, "4 4"]
"""A transform to the world, metres."""

SKIN = {"type": "principled", "roughness": 0.45, "specular": 0.35}
MATTE = {"type": "diffuse"}

CREASE_COSINE = np.cos(np.deg2rad(40))
"""Cosine of the crease angle: faces that meet at less than 40 degrees are shaded smoothly."""


@cache
def mitsuba_scalar() -> ModuleType:
    """Mitsuba on one thread, since photos are rendered in parallel by processes."""
    import drjit
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    drjit.set_thread_count(1)
    return mitsuba


def corner_reflectance(mesh: trimesh.Trimesh, default: tuple[float, float, float]) -> Corners:
    """Linear RGB of the mesh's corners: its attribute ``albedo``, else the sRGB of its faces, else ``default``."""
    if "albedo" in mesh.vertex_attributes:
        return np.asarray(mesh.vertex_attributes["albedo"], dtype=float)[mesh.faces]
    if mesh.visual.kind == "face":
        return srgb_to_linear(mesh.visual.face_colors[:, :3] / 255.0)[:, None].repeat(3, axis=1)
    return np.broadcast_to(default, (len(mesh.faces), 3, 3)).astype(float)


def corner_normals(mesh: trimesh.Trimesh) -> Corners:
    """Unit normals per corner: the area-weighted mean over the adjacent faces within the crease angle."""
    faces, flat, areas = np.asarray(mesh.faces), np.asarray(mesh.face_normals), np.asarray(mesh.area_faces)
    normals = np.empty((len(faces), 3, 3))
    for corner in range(3):
        total = np.zeros((len(faces), 3))
        for other in np.asarray(mesh.vertex_faces)[faces[:, corner]].T:
            smooth = (other >= 0) & (np.einsum("fc,fc->f", flat[other], flat) > CREASE_COSINE)
            total += np.where(smooth, areas[other], 0)[:, None] * flat[other]
        normals[:, corner] = total
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(length > 0, normals / np.maximum(length, 1e-20), flat[:, None])


def flat_frame(
    centre: Float[np.ndarray, "3"] | list[float], degrees: float, width: float, depth: float, height: float = 0.0
) -> Frame:
    """The transform from [-1, 1]^2 and up to a horizontal rectangle in the world, metres.

    Its columns run along ``degrees`` (from x to z), its rows to the left of them.
    """
    angle = np.deg2rad(degrees)
    frame = np.eye(4)
    frame[:3, 0] = width / 2 * np.array([np.cos(angle), 0, np.sin(angle)])
    frame[:3, 1] = depth / 2 * np.array([np.sin(angle), 0, -np.cos(angle)])
    frame[:3, 2] = 0, 1, 0
    frame[:3, 3] = centre[0], height, centre[2]
    return frame


def mitsuba_mesh(
    mesh: trimesh.Trimesh, normals: Corners, colours: Corners, emission: Corners, bsdf: dict[str, Any]
) -> Any:
    """A Mitsuba mesh with per-corner normals, ``colours`` (reflectance of the key light) and ``emission``, linear."""
    mi = mitsuba_scalar()
    slot = "base_color" if bsdf["type"] == "principled" else "reflectance"
    bsdf = {**bsdf, slot: {"type": "mesh_attribute", "name": "vertex_color"}}
    radiance = {"type": "mesh_attribute", "name": "vertex_emission"}
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict({"type": "twosided", "inside": bsdf})
    properties["emitter"] = mi.load_dict({"type": "area", "radiance": radiance, "sampling_weight": 0.0})
    shape = mi.Mesh("surface", mesh.faces.size, len(mesh.faces), has_vertex_normals=True, props=properties)
    shape.add_attribute("vertex_color", 3, _flat(colours))
    shape.add_attribute("vertex_emission", 3, _flat(emission))
    parameters = mi.traverse(shape)
    parameters["vertex_positions"] = _flat(mesh.triangles)
    parameters["vertex_normals"] = _flat(normals)
    parameters["faces"] = np.arange(mesh.faces.size, dtype=np.uint32)
    parameters.update()
    return shape


def _flat(values: np.ndarray) -> Float[np.ndarray, " numbers"]:
    return np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
