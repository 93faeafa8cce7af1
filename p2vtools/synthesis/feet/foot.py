"""Synthetic feet: anny's lower legs, posed for a person of the population, levelled on the floor and cut.

Both meshes of a foot are in the world frame of `p2vlib.geometry.frames`: metres, y up, floor at y = 0, +x along the
floor projection of pternion -> tip of the second toe, the bounding box of the cut foot centred on x = z = 0. Legs of
people of wide variety may lean out of the cube, so their feet are centred by the part below `HEEL_HEIGHT`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import manifold3d
import numpy as np
import trimesh

from p2vlib.geometry.frames import FOOT_CUT_HEIGHT, SIDES, Cube, foot_cube
from p2vtools.synthesis.feet.deformation import deform_foot, lean_shank
from p2vtools.synthesis.feet.legs import LegTemplate, leg_template, pose_legs
from p2vtools.synthesis.feet.population import FootShape, Person

HEEL_HEIGHT = 0.06
"""Pternion lies below this height, metres: further up the calf may lean out behind the heel."""

BUMP_COMPRESSION = 0.001
"""Depth to which the bumps of a sole are flattened, metres."""


@dataclass(frozen=True, eq=False)
class SyntheticFoot:
    """One foot of one person in the world frame, metres."""

    subject: str
    side: str
    leg_mesh: trimesh.Trimesh
    """Foot and lower leg, closed at the knee; ``vertex_attributes["albedo"]`` is linear RGB, ``[vertices, 3]``."""
    solid: trimesh.Trimesh
    """The ground truth: watertight, cut at `FOOT_CUT_HEIGHT`."""
    pternion: np.ndarray
    """Rearmost point of the heel, ``[3]``."""
    second_toe: np.ndarray
    """Tip of the second toe, ``[3]``."""
    length: float
    """Pternion to the longest toe along x."""
    cube: Cube
    """The cube of the foot."""


def make_feet(person: Person) -> dict[str, SyntheticFoot]:
    """Both feet of a person, by side; takes a few hundredths of a second after the first call in a process.

    Raises:
        ValueError: a foot does not fit into its cube.
    """
    changes = {"measure-ankle-circ-incr": person.ankle, "measure-calf-circ-incr": person.calf}
    pose = {}
    for side, shape in (("left", person.left), ("right", person.right)):
        changes |= {f"{side[0]}-foot-scale-horiz-incr": shape.width, f"{side[0]}-foot-scale-vert-incr": shape.instep}
        pose |= _pose(shape, side)
    posed = pose_legs(person.phenotypes(), changes, pose)
    return {side: _make_foot(person, side, posed) for side in SIDES}


def _pose(shape: FootShape, side: str) -> dict[str, np.ndarray]:
    """Bone transforms of one side in anny's axes: a rotation about +x bends down, one about +z turns towards +x."""
    outwards = 1.0 if side == "left" else -1.0
    letter = side[0].upper()
    # A large lean would fold the skin of anny's ankle, so it is applied to the finished foot.
    forwards_lean, outwards_lean = (0.0, 0.0) if shape.form else shape.lean
    pose = {f"foot.{letter}": _bone_transform(-forwards_lean, -outwards * outwards_lean, 0.0)}
    for toe in range(5):
        spread = shape.hallux_valgus if toe == 0 else shape.toe_spread * (toe - 1) / 3
        root = _bone_transform(shape.toe_flexion[toe], 0.0, outwards * spread, extension=shape.toe_extension[toe])
        pose[f"toe{toe + 1}-1.{letter}"] = root
        pose[f"toe{toe + 1}-2.{letter}"] = _bone_transform(shape.toe_curl[toe], 0.0, 0.0)
    return pose


def _bone_transform(about_x: float, about_y: float, about_z: float, extension: float = 0.0) -> np.ndarray:
    """Rotation in degrees about anny's axes and translation forwards (-y) in metres, ``[4, 4]``."""
    matrix = trimesh.transformations.euler_matrix(*np.deg2rad([about_x, about_y, about_z]))
    matrix[1, 3] = -extension
    return matrix


def _make_foot(person: Person, side: str, posed: np.ndarray) -> SyntheticFoot:
    """A foot from both ``posed`` legs in world axes, not yet on the floor, ``[model vertices, 3]``, metres."""
    leg, shape = leg_template(side), getattr(person, side)
    vertices = _level(leg.subdivision @ posed, leg)
    vertices = _lift_toes(vertices, leg)
    vertices = _align_and_scale(vertices, leg, shape.length)
    vertices = _align_and_scale(_reshape(vertices, leg, shape, side), leg, shape.length)
    vertices[:, 1] = _flatten_sole(vertices[:, 1], shape.compression)
    if shape.form:
        for _ in range(2):  # aligning and scaling change the measures a little
            heel, _ = _axis_points(vertices, leg)
            vertices = deform_foot(vertices - heel * [1, 0, 1], leg, shape.form, side, shape.length)
            vertices = _align_and_scale(vertices, leg, shape.length)
        vertices[:, 1] = _flatten_sole(vertices[:, 1], BUMP_COMPRESSION)
        vertices = _align_and_scale(lean_shank(vertices, shape.lean, side, shape.length), leg, shape.length)
    solid = _cut(vertices, leg.faces)
    centre = _bounds(solid, shape).mean(axis=0) * [1, 0, 1]
    vertices -= centre
    solid.apply_translation(-centre)
    leg_mesh = trimesh.Trimesh(vertices, leg.faces, process=False)
    leg_mesh.vertex_attributes["albedo"] = _albedo(person, vertices, leg)
    heel, toe = _axis_points(vertices, leg)
    length = float(vertices[leg.is_foot, 0].max() - heel[0])
    return SyntheticFoot(person.id, side, leg_mesh, solid, heel, toe, length, foot_cube(_bounds(solid, shape)))


def _bounds(solid: trimesh.Trimesh, shape: FootShape) -> np.ndarray:
    """Bounds of the part of a cut foot that its cube has to hold, ``[2, 3]``."""
    if not shape.form:
        return solid.bounds
    below = solid.vertices[solid.vertices[:, 1] < HEEL_HEIGHT]
    return np.stack([below.min(axis=0), below.max(axis=0)])


def _level(vertices: np.ndarray, leg: LegTemplate) -> np.ndarray:
    """Rotates the foot until heel, ball of the big toe and ball of the small toe stand at height zero."""
    for _ in range(3):  # after a rotation, another point of a region may be the lowest
        points = np.array([vertices[region][vertices[region, 1].argmin()] for region in leg.tripod])
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        normal *= np.sign(normal[1]) / np.linalg.norm(normal)
        axis = np.cross(normal, [0.0, 1.0, 0.0])
        rotation = trimesh.transformations.rotation_matrix(np.arcsin(np.linalg.norm(axis)), axis)[:3, :3]
        vertices = (vertices - points[0]) @ rotation.T
    return vertices


def _lift_toes(vertices: np.ndarray, leg: LegTemplate) -> np.ndarray:
    """Lifts each toe that would reach below the floor until it rests on it."""
    lifted = vertices.copy()
    for weights in leg.toes:
        lifted[:, 1] += weights * max(0.0, -vertices[weights > 0.5, 1].min())
    return lifted


def _align_and_scale(vertices: np.ndarray, leg: LegTemplate, length: float) -> np.ndarray:
    """Rotates the foot until pternion -> second toe runs along +x and scales it to ``length``."""
    vertices = vertices.copy()
    for _ in range(20):
        heel, toe = _axis_points(vertices, leg)
        yaw = np.arctan2(toe[2] - heel[2], toe[0] - heel[0])
        rotation = trimesh.transformations.rotation_matrix(yaw, [0, 1, 0])[:3, :3]
        vertices = vertices @ rotation.T
        vertices *= length / (vertices[leg.is_foot, 0].max() - _axis_points(vertices, leg)[0][0])
        if abs(yaw) < 1e-7:
            break
    return vertices


def _reshape(vertices: np.ndarray, leg: LegTemplate, shape: FootShape, side: str) -> np.ndarray:
    """Applies what anny has no parameters for: arch, taper from forefoot to heel, adduction of the forefoot."""
    reshaped = vertices.copy()
    heel, _ = _axis_points(vertices, leg)
    along = np.clip((vertices[:, 0] - heel[0]) / shape.length, 0, 1)
    inwards = 1.0 if side == "left" else -1.0
    # The bend starts at the ankle and grows quadratically: its slope at the toes is twice its mean.
    bend = np.tan(np.deg2rad(shape.adduction)) * shape.length * np.clip(along - 0.3, 0, None) ** 2 / (2 * 0.7)
    reshaped[:, 1] += shape.arch * leg.arch
    reshaped[:, 2] = vertices[:, 2] * (1 + shape.taper * (along - 0.4)) + inwards * bend
    return reshaped


def _axis_points(vertices: np.ndarray, leg: LegTemplate) -> tuple[np.ndarray, np.ndarray]:
    """Pternion and the tip of the second toe of a foot that points along +x, each ``[3]``."""
    heel = vertices[leg.is_foot & (vertices[:, 1] < HEEL_HEIGHT)]
    toe = vertices[leg.toes[1] > 0.5]
    return heel[heel[:, 0].argmin()], toe[toe[:, 0].argmax()]


def _flatten_sole(height: np.ndarray, depth: float) -> np.ndarray:
    """Flattens the lowest ``depth`` metres with a soft minimum, without a crease; the lowest point becomes 0."""
    above = height - height.min() - depth
    softness = depth / 4
    flattened = (above + np.sqrt(above**2 + softness**2)) / 2
    return flattened - flattened.min()


def _cut(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    """The closed solid below `FOOT_CUT_HEIGHT`."""
    leg = manifold3d.Manifold(manifold3d.Mesh(vertices.astype(np.float32), faces.astype(np.uint32)))
    mesh = leg.trim_by_plane((0.0, -1.0, 0.0), -FOOT_CUT_HEIGHT).to_mesh()
    solid = trimesh.Trimesh(mesh.vert_properties[:, :3], mesh.tri_verts, process=False)
    if not solid.is_watertight or solid.volume <= 0:
        raise ValueError(f"the cut foot is not a closed solid ({leg.status()}, volume {solid.volume:.2e} m3)")
    return solid


def _albedo(person: Person, vertices: np.ndarray, leg: LegTemplate) -> np.ndarray:
    """Skin with redder toes and soles, paler nails and soft mottling, ``[vertices, 3]`` linear RGB."""
    skin = np.asarray(person.skin)
    rng = np.random.default_rng(zlib.crc32(person.id.encode()))
    waves = rng.normal(scale=120.0, size=(3, 12))
    mottling = 1 + 0.03 * np.cos(vertices @ waves + rng.uniform(0, 2 * np.pi, 12)).sum(axis=1) / np.sqrt(6)
    red = leg.redness[:, None] * [0.06, -0.12, -0.10]
    albedo = skin * (1 + red) * mottling[:, None]
    nail = 0.8 * skin + 0.2 * np.array([0.72, 0.52, 0.45])
    albedo += leg.nails[:, None] * (nail - albedo)
    return np.clip(albedo, 0.003, 0.95).astype(np.float32)
