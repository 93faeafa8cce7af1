"""Scenes of the domain ``wild``: everything in a capture except the foot, as varied as in photos from phones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float

from p2vlib.geometry.cameras import Camera, Row
from p2vtools.synthesis.colours import any_colour
from p2vtools.synthesis.mat import MATS, random_sheet
from p2vtools.synthesis.photos import props, wild_floors
from p2vtools.synthesis.photos.phone_camera import Processing, Sensor, sample_processing
from p2vtools.synthesis.photos.surfaces import Frame, flat_frame
from p2vtools.synthesis.photos.wild_cameras import sample_wild_cameras
from p2vtools.synthesis.photos.wild_light import WildLight, sample_wild_light

SHEETS = {"a4": (0.297, 0.210), "letter": (0.279, 0.216), "a3": (0.420, 0.297)}
SHEET_SHARES = (0.6, 0.2, 0.2)
PAPER_SHARE, MAT_SHARE = 0.6, 0.08
"""Shares of the feet on a white sheet and on a printed mat."""

OTHER_FOOT_SHARE = 0.4


@dataclass(frozen=True, eq=False)
class FlatObject:
    """A rectangle on the floor or the wall with its reflectance."""

    name: str
    texture: wild_floors.Texture
    frame: Frame
    """From [-1, 1]^2 (columns and rows of the texture) to the world, metres."""


@dataclass(frozen=True, eq=False)
class WildScene:
    """Everything in one capture of a foot except the foot."""

    rows: list[Row]
    cameras: list[Camera]
    target: Float[np.ndarray, "3"]
    """Point on the floor in the middle of the foot."""
    floor: str
    """One of `wild_floors.FLOORS`."""
    floor_seed: int
    floor_frame: Frame
    """From [-1, 1]^2 (columns and rows of the texture) to the world, metres."""
    gloss: dict | None
    """Parameters of the principled material of the floor; None: a matte floor."""
    skin_gloss: dict
    flats: tuple[FlatObject, ...]
    """Rug, paper or mat, wall."""
    light: WildLight
    thighs: tuple[trimesh.Trimesh, ...]
    cloth: trimesh.Trimesh | None
    """Trousers of both legs, with the vertex attribute ``albedo``."""
    other_foot: Frame | None
    """Transform that mirrors the foot to the other one; None: there is none."""
    objects: tuple[tuple[str, trimesh.Trimesh], ...]
    sensor: Sensor
    processing: tuple[Processing, ...]
    exposure: Float[np.ndarray, " views"]
    """Deviation from the automatic exposure, factor."""
    white_balance: Float[np.ndarray, "views 3"]
    photographer: bool
    """Whether the upper body of the photographer casts a shadow."""
    seed: int


def sample_wild_scene(rng: np.random.Generator, views: int, leg: trimesh.Trimesh, side: str) -> WildScene:
    """Samples a capture of ``leg`` (foot and lower leg standing on y = 0, toes along +x)."""
    low = np.asarray(leg.vertices)[:, 1] < 0.09
    foot = np.asarray(leg.vertices)[low]
    target = (foot.min(axis=0) + foot.max(axis=0)) / 2 * [1, 0, 1]
    shares = [share for _, share, _ in wild_floors.FLOORS.values()]
    floor = str(rng.choice(list(wild_floors.FLOORS), p=[share / sum(shares) for share in shares]))
    outdoors = floor in wild_floors.OUTDOORS
    other = props.other_foot(rng, leg, side) if rng.random() < OTHER_FOOT_SHARE else None
    thighs, cloth = _sample_clothes(rng, leg, other)
    high = np.asarray(leg.vertices)[:, 1][leg.faces].min(axis=1) > props.ANKLE_HEIGHT + 0.02
    hiding = [trimesh.Trimesh(leg.vertices, leg.faces[high], process=False), *thighs]
    hiding += [] if cloth is None else [cloth]
    hiding += [] if other is None else [props.transform_mesh(leg, other)]
    # Points evenly over the surface, although vertices are denser on the toes, and the extreme points.
    area = np.bincount(np.asarray(leg.faces).ravel(), np.repeat(leg.area_faces, 3), len(leg.vertices))[low]
    chosen = rng.choice(len(foot), 150, replace=False, p=area / area.sum())
    points = foot[np.concatenate([chosen, foot.argmin(axis=0), foot.argmax(axis=0)])]
    obstacles = trimesh.util.concatenate(hiding)
    rows, cameras = sample_wild_cameras(rng, views, points, obstacles)
    objects = _sample_objects(rng, leg, [leg, *hiding], target, cameras)
    light = sample_wild_light(rng, outdoors)
    sensor, processing, exposure = _sample_phone(rng, views, dim=light.name == "dim")
    drift = np.linspace(-1, 1, views) * rng.normal(0, 0.04) + 0.015 * rng.standard_normal(views)
    warmth = rng.normal(0, 0.06) + drift
    balance = light.white ** -rng.uniform(0.4, 1.0)
    return WildScene(
        rows=rows,
        cameras=cameras,
        target=target,
        floor=floor,
        floor_seed=int(rng.integers(2**31)),
        floor_frame=flat_frame(target, rng.uniform(0, 360), wild_floors.SPAN, wild_floors.SPAN),
        gloss=_gloss(rng, (0.05, 0.35), (0.3, 0.8)) if wild_floors.FLOORS[floor][2] and rng.random() < 0.65 else None,
        skin_gloss=_gloss(rng, (0.3, 0.6), (0.2, 0.6)),
        flats=_sample_flats(rng, target, outdoors, cameras),
        light=light,
        thighs=thighs,
        cloth=cloth,
        other_foot=other,
        objects=objects,
        sensor=sensor,
        processing=processing,
        exposure=exposure,
        white_balance=balance * np.exp(np.stack([warmth, np.full(views, rng.normal(0, 0.02)), -warmth], axis=1)),
        photographer=bool(rng.random() < 0.75),
        seed=int(rng.integers(2**31)),
    )


def _sample_clothes(
    rng: np.random.Generator, leg: trimesh.Trimesh, mirror: np.ndarray | None
) -> tuple[tuple[trimesh.Trimesh, ...], trimesh.Trimesh | None]:
    """Thighs, and trousers or None, for one or both legs."""
    kind = str(rng.choice(["none", "short", "long"], p=[0.36, 0.18, 0.46]))
    if rng.random() < 0.5:  # standing
        direction = np.array([rng.normal(0.0, 0.15), 1.0, rng.normal(0, 0.1)])
    else:
        direction = np.array([-1.0, rng.uniform(-0.1, 0.5), rng.normal(0, 0.25)])
    tube, middles, radii = props.thigh(leg, direction / np.linalg.norm(direction))
    centres, reach = props.leg_curve(leg)
    centres, reach = np.concatenate([centres, middles[1:]]), np.concatenate([reach, radii[1:]])
    knee = 0.02 * (len(centres) - len(middles))
    cloth = None
    if kind != "none":
        hem = knee + rng.uniform(0.02, 0.2) if kind == "short" else rng.uniform(0.02, max(knee, 0.1))
        cloth = props.trousers(rng, centres, reach, float(hem), float(rng.beta(1.2, 1.5)))
    if mirror is None:
        return (tube,), cloth
    if cloth is not None:
        cloth = trimesh.util.concatenate([cloth, props.transform_mesh(cloth, mirror)])
    return (tube, props.transform_mesh(tube, mirror)), cloth


def _sample_objects(
    rng: np.random.Generator,
    leg: trimesh.Trimesh,
    occupied: list[trimesh.Trimesh],
    target: np.ndarray,
    cameras: list[Camera],
) -> tuple[tuple[str, trimesh.Trimesh], ...]:
    """Shoes and other objects beside the foot, none of them close to a camera."""
    names = list(rng.choice(list(props.PROPS), rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])))
    if rng.random() < 0.22:
        names += ["shoe"] * int(rng.integers(1, 3))
    points = np.concatenate([np.asarray(mesh.vertices)[::4] for mesh in occupied])
    placed = []
    for name in names:
        mesh = props.shoe(rng, leg) if name == "shoe" else props.PROPS[name](rng)
        mesh = props.place(rng, mesh, points, target)
        if mesh is None:
            continue
        vertices = np.asarray(mesh.vertices)
        near = min(np.square(vertices - camera.position).sum(axis=1).min() for camera in cameras)
        lower, upper = mesh.bounds - 0.04 * np.array([[1], [-1]])
        inside = any(((camera.position > lower) & (camera.position < upper)).all() for camera in cameras)
        if near > 0.12**2 and not inside:
            placed.append((str(name), mesh))
            points = np.concatenate([points, vertices])
    return tuple(placed)


def _gloss(rng: np.random.Generator, roughness: tuple[float, float], specular: tuple[float, float]) -> dict:
    return {"roughness": float(rng.uniform(*roughness)), "specular": float(rng.uniform(*specular))}


def _sample_flats(
    rng: np.random.Generator, target: np.ndarray, outdoors: bool, cameras: list[Camera]
) -> tuple[FlatObject, ...]:
    flats = []
    if rng.random() < 0.22:
        size = rng.uniform([0.4, 0.3], [1.6, 1.1])
        centre = target + [rng.normal(0, 0.35), 0, rng.normal(0, 0.35)]
        frame = flat_frame(centre, rng.uniform(0, 360), *size, 1e-4)
        flats.append(FlatObject("rug", wild_floors.rug_texture(int(rng.integers(2**31))), frame))
    choice = rng.random()
    if choice < PAPER_SHARE:
        width, depth = SHEETS[str(rng.choice(list(SHEETS), p=SHEET_SHARES))]
        print_ = str(rng.choice(wild_floors.PAPER_PRINTS, p=[0.72, 0.07, 0.05, 0.08, 0.08]))
        if rng.random() < 0.75:
            turn = rng.normal(0, 12) + 90 * rng.integers(4) * (rng.random() < 0.4)
        else:
            turn = rng.uniform(0, 360)
        offset = rng.normal(0, rng.choice([0.015, 0.07]), 2)
        frame = flat_frame(target + [offset[0], 0, offset[1]], turn, width, depth, 2e-4)
        texture = wild_floors.paper_texture(print_, width, depth, int(rng.integers(2**31)))
        flats.append(FlatObject("paper", texture, frame))
    elif choice < PAPER_SHARE + MAT_SHARE:
        sheet = random_sheet(list(MATS.values())[rng.integers(len(MATS))], rng)
        centre = target + [sheet.position[0], 0, sheet.position[1]]
        texture = np.repeat(sheet.reflectance[::-1, :, None], 3, axis=2).astype(np.float32)
        flats.append(FlatObject("mat", texture, flat_frame(centre, sheet.rotation, sheet.width, sheet.depth, 2e-4)))
    if not outdoors and rng.random() < 0.4:
        flats += _sample_wall(rng, target, cameras)
    return tuple(flats)


def _sample_wall(rng: np.random.Generator, target: np.ndarray, cameras: list[Camera]) -> list[FlatObject]:
    """A wall beyond the foot and all cameras, with a skirting board."""
    angle = rng.uniform(0, 2 * np.pi)
    outwards = np.array([np.cos(angle), 0, np.sin(angle)])
    reach = max((camera.position - target) @ outwards for camera in cameras)
    centre = target + max(rng.uniform(0.45, 2.5), reach + 0.15) * outwards
    sideways = np.cross([0.0, 1.0, 0.0], -outwards)
    flats = []
    heights = (("wall", 0.0, 2.6, 0.0), ("skirting", 0.0, rng.uniform(0.05, 0.14), 0.01))
    for name, lower, upper, forward in heights:
        frame = np.eye(4)
        frame[:3, 0], frame[:3, 1], frame[:3, 2] = 3.0 * sideways, [0, (upper - lower) / 2, 0], -outwards
        frame[:3, 3] = centre - forward * outwards + [0, (lower + upper) / 2, 0]
        colour = any_colour(rng, 0.15, 0.85) * np.exp(0.02 * rng.standard_normal((64, 128, 1)))
        flats.append(FlatObject(name, np.clip(colour, 0.01, 0.9).astype(np.float32), frame))
    return flats


def _sample_phone(
    rng: np.random.Generator, views: int, dim: bool
) -> tuple[Sensor, tuple[Processing, ...], Float[np.ndarray, " views"]]:
    """Sensor, processing of each photo, deviation of the exposure."""
    noise = float(np.exp(rng.uniform(np.log(0.006), np.log(0.05)))) * (2.0 if dim else 1.0)
    sensor = Sensor(
        shot_noise=noise,
        read_noise=noise * float(rng.uniform(0.1, 0.5)),
        vignetting=float(rng.uniform(0.0, 0.4)),
        contrast=float(rng.uniform(-0.25, 0.6)),
        jpeg_quality=int(rng.integers(55, 97)),
    )
    sent, shaky = rng.random() < 0.25, rng.random() < 0.12
    processing = tuple(sample_processing(rng, sent, shaky) for _ in range(views))
    bias = rng.normal(0, 0.35) + (rng.uniform(0.4, 1.0) if rng.random() < 0.12 else 0.0) - 0.5 * dim * rng.random()
    return sensor, processing, 2.0 ** (bias + 0.12 * rng.standard_normal(views))
