"""Anatomical feet of a population's people: anny's lower legs, posed, levelled on the floor and cut.

Both meshes of a foot stand in the world frame of `p2vlib.geometry.frames`: metres, y up, floor at y = 0, +x along the
floor projection of pternion -> tip of the second toe, the cut foot's bounding box centred on x = z = 0.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import manifold3d
import numpy as np
import trimesh

from p2vlib.geometry.frames import FOOT_CUT_HEIGHT, SIDES, foot_cube
from p2vtools.synthesis.feet.population import FootShape, Person
from p2vtools.synthesis.feet.template import LegTemplate, leg_template, pose_legs

_HEEL_HEIGHT = 0.06
"""Pternion is sought below this height, metres: higher up the calf may lean out behind the heel."""


@dataclass(frozen=True, eq=False)
class SyntheticFoot:
    """One foot of one person in the world frame, metres."""

    subject: str
    side: str
    leg_mesh: trimesh.Trimesh
    """Foot and lower leg, closed at the knee; ``vertex_attributes["albedo"]`` is linear RGB, ``[vertices, 3]``."""
    solid: trimesh.Trimesh
    """The true shape: watertight, below `FOOT_CUT_HEIGHT`."""
    skin: tuple[float, float, float]
    """Mean albedo of the skin, linear RGB."""
    pternion: np.ndarray
    """Rearmost point of the heel, ``[3]``."""
    second_toe: np.ndarray
    """Tip of the second toe, ``[3]``."""
    length: float
    """Pternion to the longest toe along x."""
    ball_breadth: float
    """Largest width between 55 and 80 % of the length, square to the axis."""
    heel_breadth: float
    """Width at 16 % of the length."""
    instep_height: float
    """Highest point of the back of the foot at 60 % of the length."""


def make_feet(person: Person) -> dict[str, SyntheticFoot]:
    """Both feet of a person, by side. Takes some hundredths of a second after the first call of a process.

    Raises:
        ValueError: a foot that leaves its cube.
    """
    posed = _posed_legs(person)
    return {side: _foot(person, side, posed) for side in SIDES}


def _posed_legs(person: Person) -> np.ndarray:
    """Both legs of a person in the world's axes, not yet on the floor, ``[model vertices, 3]``, metres."""
    changes = {"measure-ankle-circ-incr": person.ankle, "measure-calf-circ-incr": person.calf}
    pose = {}
    for side, shape in (("left", person.left), ("right", person.right)):
        changes |= {f"{side[0]}-foot-scale-horiz-incr": shape.width, f"{side[0]}-foot-scale-vert-incr": shape.instep}
        pose |= _pose(shape, side)
    return pose_legs(person.phenotypes(), changes, pose)


def _pose(shape: FootShape, side: str) -> dict[str, np.ndarray]:
    """The turned bones of one side, in anny's axes: a turn about +x bends down, one about +z turns towards +x."""
    outwards = 1.0 if side == "left" else -1.0
    letter = side[0].upper()
    forwards_lean, outwards_lean = shape.lean
    pose = {f"foot.{letter}": _turn(-forwards_lean, -outwards * outwards_lean, 0.0)}
    for toe in range(5):
        spread = shape.hallux_valgus if toe == 0 else shape.toe_spread * (toe - 1) / 3
        pose[f"toe{toe + 1}-1.{letter}"] = _turn(
            shape.toe_flexion[toe], 0.0, outwards * spread, reach=shape.toe_reach[toe]
        )
        pose[f"toe{toe + 1}-2.{letter}"] = _turn(shape.toe_curl[toe], 0.0, 0.0)
    return pose


def _turn(about_x: float, about_y: float, about_z: float, reach: float = 0.0) -> np.ndarray:
    """A bone's turn in degrees about anny's axes and its shift forwards (-y), metres, ``[4, 4]``."""
    matrix = trimesh.transformations.euler_matrix(*np.deg2rad([about_x, about_y, about_z]))
    matrix[1, 3] = -reach
    return matrix


def _foot(person: Person, side: str, posed: np.ndarray) -> SyntheticFoot:
    leg, shape = leg_template(side), getattr(person, side)
    vertices = _level(leg.smooth @ posed, leg)
    vertices = _rest_toes(vertices, leg)
    vertices = _along_axis(vertices, leg, shape.length)
    vertices = _along_axis(_reshape(vertices, leg, shape, side), leg, shape.length)
    vertices[:, 1] = _press(vertices[:, 1], shape.press)
    solid = _cut(vertices, leg.faces)
    middle = solid.bounds.mean(axis=0) * [1, 0, 1]
    vertices -= middle
    solid.apply_translation(-middle)
    foot_cube(solid.bounds)
    leg_mesh = trimesh.Trimesh(vertices, leg.faces, process=False)
    leg_mesh.vertex_attributes["albedo"] = _albedo(person, vertices, leg)
    heel, toe = _landmarks(vertices, leg)
    return SyntheticFoot(
        subject=person.id,
        side=side,
        leg_mesh=leg_mesh,
        solid=solid,
        skin=person.skin,
        pternion=heel,
        second_toe=toe,
        **_measures(vertices[leg.is_foot], heel),
    )


def _level(vertices: np.ndarray, leg: LegTemplate) -> np.ndarray:
    """Stands the foot on its tripod: heel, ball of the big toe and ball of the small toe at height zero."""
    for _ in range(3):  # another point of a region may be the lowest once the foot has turned
        points = np.array([vertices[region][vertices[region, 1].argmin()] for region in leg.tripod])
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        normal *= np.sign(normal[1]) / np.linalg.norm(normal)
        axis = np.cross(normal, [0.0, 1.0, 0.0])
        turn = trimesh.transformations.rotation_matrix(np.arcsin(np.linalg.norm(axis)), axis)[:3, :3]
        vertices = (vertices - points[0]) @ turn.T
    return vertices


def _rest_toes(vertices: np.ndarray, leg: LegTemplate) -> np.ndarray:
    """Lifts each toe that would reach below the floor until it rests on it."""
    lifted = vertices.copy()
    for weights in leg.toes:
        lifted[:, 1] += weights * max(0.0, -vertices[weights > 0.5, 1].min())
    return lifted


def _along_axis(vertices: np.ndarray, leg: LegTemplate, length: float) -> np.ndarray:
    """Turns the foot until pternion -> second toe runs along +x and scales it to ``length``."""
    vertices = vertices.copy()
    for _ in range(20):
        heel, toe = _landmarks(vertices, leg)
        yaw = np.arctan2(toe[2] - heel[2], toe[0] - heel[0])
        turn = trimesh.transformations.rotation_matrix(yaw, [0, 1, 0])[:3, :3]
        vertices = vertices @ turn.T
        vertices *= length / (vertices[leg.is_foot, 0].max() - _landmarks(vertices, leg)[0][0])
        if abs(yaw) < 1e-7:
            break
    return vertices


def _reshape(vertices: np.ndarray, leg: LegTemplate, shape: FootShape, side: str) -> np.ndarray:
    """What anny has no dial for: the arch, a forefoot wider or narrower than the heel, and one that turns inwards."""
    reshaped = vertices.copy()
    heel, _ = _landmarks(vertices, leg)
    along = np.clip((vertices[:, 0] - heel[0]) / shape.length, 0, 1)
    inwards = 1.0 if side == "left" else -1.0
    # The bend starts at the ankle and grows evenly, so its slope at the toes is twice its mean.
    bend = np.tan(np.deg2rad(shape.adduction)) * shape.length * np.clip(along - 0.3, 0, None) ** 2 / (2 * 0.7)
    reshaped[:, 1] += shape.arch * leg.arch
    reshaped[:, 2] = vertices[:, 2] * (1 + shape.taper * (along - 0.4)) + inwards * bend
    return reshaped


def _landmarks(vertices: np.ndarray, leg: LegTemplate) -> tuple[np.ndarray, np.ndarray]:
    """Pternion and the tip of the second toe of a foot that points along +x, each ``[3]``."""
    heel = vertices[leg.is_foot & (vertices[:, 1] < _HEEL_HEIGHT)]
    toe = vertices[leg.toes[1] > 0.5]
    return heel[heel[:, 0].argmin()], toe[toe[:, 0].argmax()]


def _press(height: np.ndarray, depth: float) -> np.ndarray:
    """Presses the sole ``depth`` metres into the floor, which flattens it without a crease; the lowest point is 0."""
    sunk = height - height.min() - depth
    softness = depth / 4
    pressed = (sunk + np.sqrt(sunk**2 + softness**2)) / 2
    return pressed - pressed.min()


def _cut(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    """The closed solid below `FOOT_CUT_HEIGHT`."""
    closed = manifold3d.Manifold(manifold3d.Mesh(vertices.astype(np.float32), faces.astype(np.uint32)))
    mesh = closed.trim_by_plane((0.0, -1.0, 0.0), -FOOT_CUT_HEIGHT).to_mesh()
    solid = trimesh.Trimesh(mesh.vert_properties[:, :3], mesh.tri_verts, process=False)
    if not solid.is_watertight or solid.volume <= 0:
        raise ValueError(f"a foot's cut is not a closed solid ({closed.status()}, volume {solid.volume:.2e} m3)")
    return solid


def _measures(foot: np.ndarray, heel: np.ndarray) -> dict[str, float]:
    """What an anthropometrist would note, from the foot's vertices along +x, metres."""
    length = foot[:, 0].max() - heel[0]
    along = (foot[:, 0] - heel[0]) / length
    ball = foot[(along > 0.55) & (along < 0.8) & (foot[:, 1] < 0.05), 2]
    rear = foot[(np.abs(along - 0.16) < 0.02) & (foot[:, 1] < 0.05), 2]
    return {
        "length": float(length),
        "ball_breadth": float(np.ptp(ball)),
        "heel_breadth": float(np.ptp(rear)),
        "instep_height": float(foot[np.abs(along - 0.6) < 0.02, 1].max()),
    }


def _albedo(person: Person, vertices: np.ndarray, leg: LegTemplate) -> np.ndarray:
    """Skin with redder toes and soles, paler nails and a soft mottling, ``[vertices, 3]`` linear RGB."""
    skin = np.asarray(person.skin)
    rng = np.random.default_rng(zlib.crc32(person.id.encode()))
    waves = rng.normal(scale=120.0, size=(3, 12))
    mottling = 1 + 0.03 * np.cos(vertices @ waves + rng.uniform(0, 2 * np.pi, 12)).sum(axis=1) / np.sqrt(6)
    red = leg.redness[:, None] * [0.06, -0.12, -0.10]
    albedo = skin * (1 + red) * mottling[:, None]
    nail = 0.8 * skin + 0.2 * np.array([0.72, 0.52, 0.45])
    albedo += leg.nails[:, None] * (nail - albedo)
    return np.clip(albedo, 0.003, 0.95).astype(np.float32)
