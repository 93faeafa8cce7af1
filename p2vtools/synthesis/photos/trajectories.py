"""Cameras of the two photo domains: R2N2's studio cameras, and the trajectory of a hand-held phone around a foot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from p2vlib.geometry.cameras import Camera, Row, look_at, r2n2_camera
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, R2N2_PIXELS
from p2vtools.synthesis.photos.floors import FLOOR_KINDS, Floor
from p2vtools.synthesis.photos.phone_camera import Sensor

Colour = tuple[float, float, float]
"""Linear RGB: a reflectance, or the tint of a light."""

PHONE_PIXELS = 128
NEAREST, FARTHEST = 0.40, 0.70
"""Distance of the phone from its target, metres."""

LOWEST, HIGHEST = 30.0, 65.0
"""Elevation of the phone above its target, degrees."""

HIGHEST_BEHIND = 48.0
"""Highest elevation straight behind the leg, degrees: a phone held higher would touch the calf."""

TROUSERS = ((0.015, 0.016, 0.02), (0.02, 0.03, 0.07), (0.05, 0.05, 0.05), (0.06, 0.045, 0.03), (0.03, 0.04, 0.03))
"""Linear reflectance of trouser cloth."""

LIGHTING_KINDS = ("sun", "lamp", "window", "overcast")


@dataclass(frozen=True)
class Lamp:
    """A light that casts shadows."""

    kind: str
    """``sun`` (infinitely far away), ``sphere`` or ``panel``."""
    azimuth: float
    elevation: float
    """Degrees."""
    distance: float
    """From the target, metres; unused for the sun."""
    size: float
    """Radius of a sphere, edge of a panel, metres: larger lights cast softer shadows; unused for the sun."""
    share: float
    """Of the light on a bare floor."""
    tint: Colour


@dataclass(frozen=True)
class Lighting:
    """A key light and a fill light; together they give a bare floor a radiance equal to its reflectance."""

    kind: str
    """One of `LIGHTING_KINDS`."""
    key: Lamp
    zenith_tint: Colour
    horizon_tint: Colour
    """The fill light is interpolated between the last two."""
    seed: int
    """Of the variations of the fill light."""


@dataclass(frozen=True, eq=False)
class PhoneTrajectory:
    """Cameras and scene of one phone capture, and how its light drifts along the trajectory.

    The last six fields have one entry per view, in the order of the trajectory. Without drift they are constant.
    """

    rows: list[Row]
    """Metadata rows, metric and exact: where each camera is, seen from ``target``."""
    cameras: list[Camera]
    target: Float[np.ndarray, "3"]
    """Centre of the foot, metres."""
    floor: Floor
    lighting: Lighting
    trousers: Colour
    sensor: Sensor
    seed: int
    """Of the rendering noise and the sensor noise."""
    exposure: Float[np.ndarray, " views"]
    """Factor of all light."""
    white_balance: Float[np.ndarray, "views 3"]
    """Factor of each RGB channel."""
    key_strength: Float[np.ndarray, " views"]
    """Factor of the key light."""
    key_rotation: Float[np.ndarray, " views"]
    """Added to the azimuth of the key light, degrees."""
    photographer: Float[np.ndarray, "views 2"]
    """Position (x, z) of the person who holds the phone and casts a shadow, metres."""
    phone_positions: Float[np.ndarray, "views 3"]
    """Position of the hand with the phone, metres."""


def sample_studio_cameras(
    rng: np.random.Generator, views: int, unit: float, target: np.ndarray
) -> tuple[list[Row], list[Camera]]:
    """R2N2's protocol: metadata rows and cameras of 137 x 137 pixels.

    Azimuth is uniform, elevation 25-30 degrees, in-plane rotation 0, distance ratio 0.65-0.95 as in the real metadata.

    Args:
        unit: diagonal of the object's bounding box, metres.
        target: its centre, metres.
    """
    azimuth, elevation = rng.uniform(0, 360, views), rng.uniform(25, 30, views)
    ratio = rng.uniform(0.65, 0.95, views)
    rows = [(float(a), float(e), 0.0, float(r), 25.0) for a, e, r in zip(azimuth, elevation, ratio, strict=True)]
    return rows, [r2n2_camera(row, unit, target, R2N2_PIXELS, R2N2_PIXELS) for row in rows]


def sample_phone_trajectory(
    rng: np.random.Generator, views: int, target: np.ndarray, drift: bool = True, pixels: int = PHONE_PIXELS
) -> PhoneTrajectory:
    """Samples a phone capture around ``target`` (the centre of the foot, metres).

    The same ``rng`` state gives the same scene and cameras with and without ``drift``.

    Raises:
        ValueError: ``views`` is less than 1.
    """
    if views < 1:
        raise ValueError(f"a trajectory needs at least one view; found {views}")
    target = np.asarray(target, dtype=float)
    rows, cameras = _sample_hand_held_cameras(rng, views, target, pixels)
    floor = Floor(str(rng.choice(FLOOR_KINDS)), int(rng.integers(2**31)), float(rng.uniform(0, 360)))
    lighting = _sample_lighting(rng, outdoors=floor.kind == "grass")
    time = np.linspace(0, 1, views) if views > 1 else np.zeros(1)
    time = (time ** rng.uniform(0.6, 1.7)) * float(drift)
    warmth = rng.uniform(-0.12, 0.12) + time * _signed_uniform(rng, 0.06, 0.22)
    exposure = rng.uniform(-0.4, 0.6) + time * _signed_uniform(rng, 0.2, 0.7)
    key_strength = time * _signed_uniform(rng, 0.2, 0.9)
    key_rotation = time * _signed_uniform(rng, 10, 50)
    rng.random(4)  # unused; keeps the random stream of the existing data
    holding = cameras if drift else cameras[:1] * views
    return PhoneTrajectory(
        rows=rows,
        cameras=cameras,
        target=target,
        floor=floor,
        lighting=lighting,
        trousers=tuple((np.array(TROUSERS[rng.integers(len(TROUSERS))]) * rng.uniform(0.7, 1.5)).tolist()),
        sensor=Sensor(
            shot_noise=float(rng.uniform(0.01, 0.045)),
            read_noise=float(rng.uniform(0.002, 0.012)),
            vignetting=float(rng.uniform(0.05, 0.4)),
            contrast=float(rng.uniform(-0.2, 0.45)),
            jpeg_quality=int(rng.integers(55, 93)),
        ),
        seed=int(rng.integers(2**31)),
        exposure=2.0**exposure,
        white_balance=np.exp(np.stack([warmth, np.full(views, rng.uniform(-0.03, 0.03)), -warmth], axis=1)),
        key_strength=2.0**key_strength,
        key_rotation=key_rotation,
        photographer=np.stack([photographer_position(camera, target) for camera in holding]),
        phone_positions=np.stack([camera.position - 0.06 * camera.extrinsics[2, :3] for camera in holding]),
    )


def _signed_uniform(rng: np.random.Generator, smallest: float, largest: float) -> float:
    """A number between ``smallest`` and ``largest`` with a random sign."""
    return float(rng.uniform(smallest, largest) * rng.choice([-1, 1]))


def _sample_hand_held_cameras(
    rng: np.random.Generator, views: int, target: np.ndarray, pixels: int
) -> tuple[list[Row], list[Camera]]:
    """Metric rows and cameras: jittered equal steps clockwise from the front."""
    step = 360 / views
    azimuth = step * np.arange(views) + min(8, step / 5) * rng.uniform(-1, 1, views)
    # The first view is the one nearest the front and not before it: sorting by azimuth keeps the clockwise order.
    azimuth[0] = abs(azimuth[0])
    fov = rng.uniform(42, 58)
    # The cube's edge at the target fills this share of the image width, as far as the length of an arm allows it.
    share = rng.uniform(0.46, 0.60)
    mean_distance = np.clip(FOOT_CUBE_EDGE / share / 2 / np.tan(np.deg2rad(fov) / 2), 0.46, 0.66)
    distance = np.clip(mean_distance * np.exp(0.06 * rng.standard_normal(views)), NEAREST, FARTHEST)
    frontality = 0.5 + 0.5 * np.cos(np.deg2rad(azimuth))
    ceiling = HIGHEST_BEHIND + (HIGHEST - HIGHEST_BEHIND) * np.sqrt(frontality)
    elevation = np.clip(rng.uniform(35, 60) + 4.5 * rng.standard_normal(views), LOWEST, ceiling)
    roll = np.clip(3.0 * rng.standard_normal(views), -8, 8)
    aim = target + np.clip(0.015 * rng.standard_normal((views, 3)), -0.03, 0.03)
    rows, cameras = [], []
    for view in range(views):
        row = (float(azimuth[view]), float(elevation[view]), float(roll[view]), float(distance[view]), float(fov))
        position = look_at(row, target, pixels, pixels).position
        rows.append(row)
        cameras.append(aim_camera(position, aim[view], roll[view], fov, pixels, pixels))
    return rows, cameras


def aim_camera(position: np.ndarray, aim: np.ndarray, roll: float, fov: float, width: int, height: int) -> Camera:
    """The camera at ``position`` that looks at ``aim`` (metres)."""
    x, y, z = position - aim
    distance = float(np.linalg.norm([x, y, z]))
    azimuth, elevation = np.rad2deg(np.arctan2(z, x)), np.rad2deg(np.arcsin(y / distance))
    return look_at((float(azimuth), float(elevation), roll, distance, fov), aim, width, height)


def photographer_position(camera: Camera, target: np.ndarray) -> np.ndarray:
    """Where the person with the phone stands, behind it by the reach of a bent arm: ``[2]`` (x, z), metres."""
    outwards = (camera.position - target)[[0, 2]]
    return camera.position[[0, 2]] + 0.38 * outwards / np.linalg.norm(outwards)


def _sample_lighting(rng: np.random.Generator, outdoors: bool) -> Lighting:
    """Sun and sky, or the lamps and windows of a room."""
    if outdoors:
        kind = str(rng.choice(["sun", "overcast"], p=[0.65, 0.35]))
    else:
        kind = str(rng.choice(LIGHTING_KINDS, p=[0.3, 0.35, 0.25, 0.1]))
    seed, azimuth = int(rng.integers(2**31)), float(rng.uniform(0, 360))
    room = rng.uniform([0.95, 0.88, 0.75], [1.05, 1.0, 1.05])
    if kind == "sun":
        elevation, size, share = rng.uniform(28, 68), 0.0, rng.uniform(0.6, 0.85)
        key = (1.0, rng.uniform(0.86, 0.97), rng.uniform(0.68, 0.92))
        zenith, horizon = (0.45, 0.68, 1.2), (0.85, 0.95, 1.05)
        if not outdoors:
            zenith, horizon = room, room * rng.uniform(0.6, 1.2)
    elif kind == "lamp":
        elevation, size, share = rng.uniform(42, 80), rng.uniform(0.03, 0.30), rng.uniform(0.5, 0.75)
        key = (1.0, rng.uniform(0.72, 0.95), rng.uniform(0.45, 0.9))
        zenith, horizon = room * (1.0, 0.93, 0.8), room * rng.uniform(0.5, 1.0)
    elif kind == "window":
        elevation, size, share = rng.uniform(25, 48), rng.uniform(0.7, 1.3), rng.uniform(0.4, 0.65)
        key, zenith, horizon = (rng.uniform(0.85, 1.0), 0.97, 1.06), room, room * rng.uniform(0.6, 1.1)
    else:
        elevation, size, share = rng.uniform(62, 85), rng.uniform(2.0, 3.0), rng.uniform(0.3, 0.45)
        key, zenith, horizon = (0.95, 1.0, 1.07), (0.95, 1.0, 1.08), (0.8, 0.84, 0.9)
    shape = {"sun": "sun", "lamp": "sphere"}.get(kind, "panel")
    tint = tuple((np.array(key) / np.mean(key)).tolist())
    lamp = Lamp(shape, azimuth, float(elevation), float(rng.uniform(1.9, 2.6)), float(size), float(share), tint)
    return Lighting(kind, lamp, tuple(map(float, zenith)), tuple(map(float, horizon)), seed)
