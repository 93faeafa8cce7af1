"""The two looks as plain data: R2N2's studio cameras, and the walk around a foot with a phone in the hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from p2vlib.geometry.cameras import Camera, Row, look_at, r2n2_camera
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, R2N2_PIXELS
from p2vtools.synthesis.photos.floors import FLOORS, Floor
from p2vtools.synthesis.photos.sensor import Sensor

Colour = tuple[float, float, float]
"""Linear RGB: a reflectance, or the tint of a light."""

PHONE_PIXELS = 128
NEAREST, FARTHEST = 0.40, 0.70
"""Distance of a phone from its target, metres."""

LOWEST, HIGHEST = 30.0, 65.0
"""Elevation of a phone above its target, degrees."""

BEHIND = 48.0
"""Highest elevation straight behind the leg: a phone held higher there would touch the calf."""

SKINS = (
    (0.72, 0.49, 0.37),
    (0.62, 0.38, 0.26),
    (0.47, 0.26, 0.16),
    (0.31, 0.15, 0.085),
    (0.17, 0.075, 0.042),
    (0.08, 0.037, 0.024),
)
"""Linear reflectance of skin from light to dark, after the Monk scale's sRGB swatches with the redness of a foot."""

CLOTHS = ((0.015, 0.016, 0.02), (0.02, 0.03, 0.07), (0.05, 0.05, 0.05), (0.06, 0.045, 0.03), (0.03, 0.04, 0.03))

LIGHTS = ("sun", "lamp", "window", "overcast")


@dataclass(frozen=True)
class Light:
    """One key light over one fill light; together they give a bare floor a radiance equal to its reflectance.

    ``kind`` is one of ``LIGHTS``; ``azimuth`` and ``elevation`` (degrees) say where the key light stands, ``size``
    (metres at ``distance``; unused for the sun) how soft its shadows are, ``share`` how much of the floor's light it
    gives; ``key`` is its tint; ``zenith`` and ``horizon`` are the tints of the fill, ``seed`` makes its blotches.
    """

    kind: str
    azimuth: float
    elevation: float
    distance: float
    size: float
    share: float
    key: Colour
    zenith: Colour
    horizon: Colour
    seed: int


@dataclass(frozen=True, eq=False)
class PhotoWalk:
    """A phone capture before the shutter: its cameras, its scene, and what drifts while the walker goes round.

    The last six fields have one entry a view, in the order of the walk: ``exposure`` and ``white`` (RGB) multiply the
    light, ``key`` multiplies the key light alone, ``swing`` (degrees) turns the key light; ``walker`` (x and z,
    metres) is where the person with the phone stands and ``phones`` (metres) where their hand is, for their shadow.
    Without drift each is the same in every view. ``skin`` is for a mesh that has no albedo of its own.
    """

    rows: list[Row]
    cameras: list[Camera]
    target: Float[np.ndarray, "3"]
    floor: Floor
    light: Light
    skin: Colour
    cloth: Colour
    sensor: Sensor
    seed: int
    exposure: Float[np.ndarray, "views"]
    white: Float[np.ndarray, "views 3"]
    key: Float[np.ndarray, "views"]
    swing: Float[np.ndarray, "views"]
    walker: Float[np.ndarray, "views 2"]
    phones: Float[np.ndarray, "views 3"]


def studio_cameras(
    rng: np.random.Generator, views: int, unit: float, target: np.ndarray
) -> tuple[list[Row], list[Camera]]:
    """R2N2's protocol: ``views`` metadata rows and their cameras of 137 pixels.

    Azimuth is random all round, elevation 25-30 degrees, in-plane rotation 0, the distance ratio .65-.95 as in the
    real metadata; ``unit`` is the diagonal of the object's bounding box and ``target`` its centre, metres.
    """
    azimuth, elevation = rng.uniform(0, 360, views), rng.uniform(25, 30, views)
    ratio = rng.uniform(0.65, 0.95, views)
    rows = [(float(a), float(e), 0.0, float(r), 25.0) for a, e, r in zip(azimuth, elevation, ratio, strict=True)]
    return rows, [r2n2_camera(row, unit, target, R2N2_PIXELS, R2N2_PIXELS) for row in rows]


def phone_walk(
    rng: np.random.Generator, views: int, target: np.ndarray, drift: bool = True, pixels: int = PHONE_PIXELS
) -> PhotoWalk:
    """Draws a whole phone capture around ``target`` (the middle of the foot, metres).

    With ``drift`` off the scene and the cameras are those of the same ``rng`` with it on, and nothing changes along
    the walk. Rows are metric and true: where each camera really stands, seen from ``target``.

    Raises:
        ValueError: no view.
    """
    if views < 1:
        raise ValueError(f"a walk needs at least one view; found {views}")
    target = np.asarray(target, dtype=float)
    rows, cameras = _hand_held(rng, views, target, pixels)
    floor = Floor(str(rng.choice(FLOORS)), int(rng.integers(2**31)), float(rng.uniform(0, 360)))
    light = _light(rng, outdoors=floor.kind == "grass")
    time = np.linspace(0, 1, views) if views > 1 else np.zeros(1)
    time = (time ** rng.uniform(0.6, 1.7))[:, None] * float(drift)
    warmth = rng.uniform(-0.12, 0.12) + time[:, 0] * _either(rng, 0.06, 0.22)
    exposure = rng.uniform(-0.4, 0.6) + time[:, 0] * _either(rng, 0.2, 0.7)
    key = time[:, 0] * _either(rng, 0.2, 0.9)
    swing = time[:, 0] * _either(rng, 10, 50)
    seen_from = cameras if drift else cameras[:1] * views
    return PhotoWalk(
        rows=rows,
        cameras=cameras,
        target=target,
        floor=floor,
        light=light,
        skin=_skin(rng),
        cloth=tuple((np.array(CLOTHS[rng.integers(len(CLOTHS))]) * rng.uniform(0.7, 1.5)).tolist()),
        sensor=Sensor(
            shot=float(rng.uniform(0.01, 0.045)),
            read=float(rng.uniform(0.002, 0.012)),
            vignetting=float(rng.uniform(0.05, 0.4)),
            contrast=float(rng.uniform(-0.2, 0.45)),
            quality=int(rng.integers(55, 93)),
        ),
        seed=int(rng.integers(2**31)),
        exposure=2.0**exposure,
        white=np.stack([np.exp(warmth), np.exp(0 * warmth + rng.uniform(-0.03, 0.03)), np.exp(-warmth)], axis=1),
        key=2.0**key,
        swing=swing,
        walker=np.stack([_stand(camera, target) for camera in seen_from]),
        phones=np.stack([camera.position - 0.06 * camera.extrinsics[2, :3] for camera in seen_from]),
    )


def _either(rng: np.random.Generator, least: float, most: float) -> float:
    """A change of at least ``least`` and at most ``most``, up or down."""
    return float(rng.uniform(least, most) * rng.choice([-1, 1]))


def _hand_held(rng: np.random.Generator, views: int, target: np.ndarray, pixels: int) -> tuple[list[Row], list[Camera]]:
    """Metric rows and cameras of a walk: even steps clockwise from the front, with the irregularity of a hand."""
    step = 360 / views
    azimuth = step * np.arange(views) + min(8, step / 5) * rng.uniform(-1, 1, views)
    # The walk starts nearest the front without passing it, so that sorting by column 1 is the clockwise order.
    azimuth[0] = abs(azimuth[0])
    fov = rng.uniform(42, 58)
    # The cube's edge at the target fills this share of the picture's width, as far as an arm's length allows it.
    share = rng.uniform(0.46, 0.60)
    usual = np.clip(FOOT_CUBE_EDGE / share / 2 / np.tan(np.deg2rad(fov) / 2), 0.46, 0.66)
    distance = np.clip(usual * np.exp(0.06 * rng.standard_normal(views)), NEAREST, FARTHEST)
    from_front = 0.5 + 0.5 * np.cos(np.deg2rad(azimuth))
    ceiling = BEHIND + (HIGHEST - BEHIND) * np.sqrt(from_front)
    elevation = np.clip(rng.uniform(35, 60) + 4.5 * rng.standard_normal(views), LOWEST, ceiling)
    roll = np.clip(3.0 * rng.standard_normal(views), -8, 8)
    aim = target + np.clip(0.015 * rng.standard_normal((views, 3)), -0.03, 0.03)
    rows, cameras = [], []
    for view in range(views):
        row = (float(azimuth[view]), float(elevation[view]), float(roll[view]), float(distance[view]), float(fov))
        position = look_at(row, target, pixels, pixels).position
        rows.append(row)
        cameras.append(_aimed(position, aim[view], roll[view], fov, pixels))
    return rows, cameras


def _aimed(position: np.ndarray, aim: np.ndarray, roll: float, fov: float, pixels: int) -> Camera:
    """The camera at ``position`` that looks at ``aim`` (metres)."""
    x, y, z = position - aim
    distance = float(np.linalg.norm([x, y, z]))
    azimuth, elevation = np.rad2deg(np.arctan2(z, x)), np.rad2deg(np.arcsin(y / distance))
    return look_at((azimuth, elevation, roll, distance, fov), aim, pixels, pixels)


def _stand(camera: Camera, target: np.ndarray) -> np.ndarray:
    """Where the walker stands: behind the phone by the reach of a bent arm, ``[2]`` (x, z), metres."""
    outwards = (camera.position - target)[[0, 2]]
    return camera.position[[0, 2]] + 0.38 * outwards / np.linalg.norm(outwards)


def _skin(rng: np.random.Generator) -> Colour:
    """A skin tone between two neighbours of ``SKINS``, with a little of its own hue."""
    place = rng.uniform(0, len(SKINS) - 1)
    lower = int(place)
    lighter, darker = np.log(SKINS[lower]), np.log(SKINS[min(lower + 1, len(SKINS) - 1)])
    tone = np.exp(lighter + (place - lower) * (darker - lighter))
    return tuple((tone * rng.uniform([0.96, 0.93, 0.88], [1.04, 1.05, 1.08])).tolist())


def _light(rng: np.random.Generator, outdoors: bool) -> Light:
    """Sun and sky, or the lamps and windows of a room."""
    kind = str(
        rng.choice(["sun", "overcast"], p=[0.65, 0.35]) if outdoors else rng.choice(LIGHTS, p=[0.3, 0.35, 0.25, 0.1])
    )
    seed, azimuth = int(rng.integers(2**31)), float(rng.uniform(0, 360))
    room = rng.uniform([0.95, 0.88, 0.75], [1.05, 1.0, 1.05])
    if kind == "sun":
        elevation, size, share = rng.uniform(28, 68), 0.0, rng.uniform(0.6, 0.85)
        tint = (1.0, rng.uniform(0.86, 0.97), rng.uniform(0.68, 0.92))
        zenith, horizon = (0.45, 0.68, 1.2), (0.85, 0.95, 1.05)
        if not outdoors:
            zenith, horizon = room, room * rng.uniform(0.6, 1.2)
    elif kind == "lamp":
        elevation, size, share = rng.uniform(42, 80), rng.uniform(0.03, 0.30), rng.uniform(0.5, 0.75)
        tint = (1.0, rng.uniform(0.72, 0.95), rng.uniform(0.45, 0.9))
        zenith, horizon = room * (1.0, 0.93, 0.8), room * rng.uniform(0.5, 1.0)
    elif kind == "window":
        elevation, size, share = rng.uniform(25, 48), rng.uniform(0.7, 1.3), rng.uniform(0.4, 0.65)
        tint, zenith, horizon = (rng.uniform(0.85, 1.0), 0.97, 1.06), room, room * rng.uniform(0.6, 1.1)
    else:
        elevation, size, share = rng.uniform(62, 85), rng.uniform(2.0, 3.0), rng.uniform(0.3, 0.45)
        tint, zenith, horizon = (0.95, 1.0, 1.07), (0.95, 1.0, 1.08), (0.8, 0.84, 0.9)
    numbers = {
        "distance": float(rng.uniform(1.9, 2.6)),
        "elevation": float(elevation),
        "size": float(size),
        "share": float(share),
    }
    tints = {
        name: tuple(float(part) for part in colour)
        for name, colour in (("key", tint), ("zenith", zenith), ("horizon", horizon))
    }
    return Light(kind=kind, azimuth=azimuth, seed=seed, **numbers, **tints)
