"""Light of the domain ``wild``: photographic environment maps (HDRI), or sun, lamps, windows, flash, dim rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from p2vlib.files import reading
from p2vtools.synthesis.assets import FETCH_AGAIN, asset_files
from p2vtools.synthesis.photos.fill_light import EnvironmentMap, make_environment
from p2vtools.synthesis.photos.surfaces import mitsuba_scalar
from p2vtools.synthesis.photos.trajectories import Lamp

OUTDOOR_MAPS = ("bridge", "city", "dawn", "esplanade", "forest", "night", "park", "sky", "sunrise", "sunset", "venice")
"""Names of the environment maps of outdoor scenes; the others are rooms."""

HDRI_SHARE = 0.5
"""Share of the captures that are lit by a photographic environment map, if there are any."""

KINDS_INDOORS = {"sun": 0.22, "lamps": 0.32, "window": 0.17, "flash": 0.1, "dim": 0.1, "even": 0.09}
KINDS_OUTDOORS = {"sun": 0.75, "even": 0.25}


@dataclass(frozen=True, eq=False)
class WildLight:
    """Light of one capture. Together the lights give a bare white floor a mean radiance of 1."""

    name: str
    """The kind, or the name of the photographic environment map."""
    lamps: tuple[Lamp, ...]
    flash: float
    """Share of the flash, a small light beside the lens."""
    environment: EnvironmentMap
    """Everything else: the light that casts no sharp shadows."""
    backdrop: Float[np.ndarray, "fine_rows fine_columns 3"]
    """What is visible beyond floor and walls."""

    @property
    def white(self) -> Float[np.ndarray, "3"]:
        """The colour of a white floor in all lights, mean 1."""
        total = (
            floor_light(self.environment) + self.flash + sum(lamp.share * np.array(lamp.tint) for lamp in self.lamps)
        )
        return total / total.mean()


def floor_light(environment: EnvironmentMap) -> Float[np.ndarray, "3"]:
    """The radiance of a white diffuse floor under ``environment``."""
    angle, solid_angle = _angles(environment.shape[:2])
    weight = solid_angle * np.clip(np.cos(angle), 0, None) / np.pi
    return np.einsum("rcn,r->n", environment, weight)


def _angles(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Angle from the zenith and solid angle of a pixel, for each row."""
    angle = (np.arange(shape[0]) + 0.5) / shape[0] * np.pi
    return angle, np.sin(angle) * (np.pi / shape[0]) * (2 * np.pi / shape[1])


def sample_wild_light(rng: np.random.Generator, outdoors: bool) -> WildLight:
    """Samples the light of a capture; ``outdoors`` excludes rooms."""
    files = [file for file in asset_files("hdri") if (file.stem in OUTDOOR_MAPS) or not outdoors]
    if rng.random() < HDRI_SHARE and files:
        return _sample_photographic_light(rng, files)
    return _sample_procedural_light(rng, outdoors)


@lru_cache(maxsize=18)
def read_environment(path: Path) -> EnvironmentMap:
    """An environment map, ``[128, 256, 3]``, not negative.

    Raises:
        FileError: the file is damaged.
    """
    import drjit

    mi = mitsuba_scalar()
    drjit.set_thread_count(2)  # Mitsuba's EXR reader waits forever for a second thread
    try:
        with reading(path, FETCH_AGAIN):
            image = np.clip(np.array(mi.Bitmap(str(path)), dtype=np.float32)[..., :3], 0, None)
    finally:
        drjit.set_thread_count(1)
    return cv2.resize(image, (256, 128), interpolation=cv2.INTER_AREA)


def _sample_photographic_light(rng: np.random.Generator, files: Sequence[Path]) -> WildLight:
    """An environment map turned at random; its brightest part above the horizon becomes a lamp or the sun."""
    file = files[rng.integers(len(files))]
    image = np.roll(read_environment(file), int(rng.integers(256)), axis=1)
    # The saturation is reduced, since the white balance of a phone compensates most of it.
    grey = image.mean(axis=2, keepdims=True)
    image = (grey + rng.uniform(0.15, 0.65) * (image - grey)) * _tint(rng, 0.12)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    coarse = cv2.resize(image.astype(np.float32), (64, 32), interpolation=cv2.INTER_AREA).astype(float)
    angle, solid_angle = _angles(coarse.shape[:2])
    azimuth = 2 * np.pi * (np.arange(64) + 0.5) / 64
    up, around = np.meshgrid(angle, azimuth, indexing="ij")
    direction = np.stack([np.sin(up) * np.sin(around), np.cos(up), -np.sin(up) * np.cos(around)], axis=-1)
    brightness = coarse.mean(axis=2) * (direction[..., 1] > 0.2)
    peak = direction[np.unravel_index(brightness.argmax(), brightness.shape)]
    key = (direction @ peak > np.cos(np.deg2rad(25))) & (brightness > 0.3 * brightness.max())
    ordinary = np.median(brightness[direction[..., 1] > 0.2])
    weight = (solid_angle * np.clip(np.cos(angle), 0, None) / np.pi)[:, None]
    surplus = np.where(key, 1 - ordinary / np.maximum(brightness, 1e-6), 0).clip(0, 1)[..., None]
    light = (coarse * surplus * weight[..., None]).sum(axis=(0, 1))
    centre = (direction * (coarse.mean(axis=2, keepdims=True) * surplus * weight[..., None])).sum(axis=(0, 1))
    rest = coarse * (1 - surplus)
    total = (floor_light(rest) + light).mean()
    # The key light is made stronger or weaker: clouds, curtains, lamps that are switched off.
    share = float(np.clip(light.mean() / total * rng.uniform(0.7, 2.2), 0.02, 0.9))
    scale = (1 - share) / floor_light(rest).mean()
    x, y, z = centre / np.linalg.norm(centre)
    spread = np.sqrt(max((surplus > 0).sum(), 1) * (np.pi / 32) ** 2)
    lamp = Lamp(
        kind="sun" if file.stem in OUTDOOR_MAPS and share > 0.35 else "sphere",
        azimuth=float(np.rad2deg(np.arctan2(z, x))),
        elevation=float(max(np.rad2deg(np.arcsin(y)), 14.0)),
        distance=2.3,
        size=float(np.clip(2.3 * spread / 2, 0.05, 0.6) * rng.uniform(0.3, 1.0)),
        share=share,
        tint=tuple((light / light.mean()).tolist()),
    )
    backdrop = np.clip(image * (scale if np.isfinite(scale) else 1.0), 0, 4)
    return WildLight(file.stem, (lamp,), 0.0, rest * scale, backdrop.astype(np.float32))


def _tint(rng: np.random.Generator, spread: float) -> Float[np.ndarray, "3"]:
    """A colour between warm and cold, mean 1."""
    warmth, green = rng.uniform(-spread, spread), 0.3 * rng.uniform(-spread, spread)
    tint = np.exp([warmth, green, -warmth])
    return tint / tint.mean()


def _sample_procedural_light(rng: np.random.Generator, outdoors: bool) -> WildLight:
    kinds = KINDS_OUTDOORS if outdoors else KINDS_INDOORS
    name = str(rng.choice(list(kinds), p=list(kinds.values())))
    azimuth, flash, lamps = float(rng.uniform(0, 360)), 0.0, []
    room = _tint(rng, 0.15)
    zenith, horizon = room, room * rng.uniform(0.4, 1.3)

    def lamp(kind: str, elevation: float, size: float, share: float, tint: np.ndarray, turn: float = 0.0) -> None:
        place = float((azimuth + turn) % 360), float(elevation), float(rng.uniform(1.5, 2.6))
        lamps.append(Lamp(kind, *place, float(size), float(share), tuple(tint.tolist())))

    if name == "sun":
        warm = _tint(rng, 0.05) * [1.12, 1.0, 0.82]
        lamp("sun", 12 + 63 * rng.beta(1.2, 1.4), 0, rng.uniform(0.6, 0.93), warm / warm.mean())
        if outdoors:
            zenith, horizon = np.array([0.45, 0.68, 1.2]), np.array([0.85, 0.95, 1.05])
    elif name == "lamps":
        shares = rng.uniform(0.45, 0.85) * rng.dirichlet(np.full(rng.integers(1, 5), 3.0))
        for share in shares:
            lamp("sphere", rng.uniform(35, 84), rng.uniform(0.02, 0.25), share, _tint(rng, 0.3), rng.uniform(0, 360))
    elif name == "window":
        lamp("panel", rng.uniform(12, 45), rng.uniform(0.5, 1.5), rng.uniform(0.4, 0.8), _tint(rng, 0.12))
    elif name == "flash":
        flash = float(rng.uniform(0.4, 0.95))
    elif name == "dim":
        elevation, size, share = rng.uniform([20, 0.03, 0.4], [75, 0.3, 0.9])
        lamp("sphere", elevation, size, share, _tint(rng, 0.1) * [1.2, 1.0, 0.7])
    else:
        lamp("panel", rng.uniform(55, 85), rng.uniform(1.5, 3.0), rng.uniform(0.2, 0.45), _tint(rng, 0.1))
    share = 1 - (flash + sum(lamp.share for lamp in lamps))
    tints = [tuple(tint.tolist()) for tint in (zenith, horizon)]
    uneven = name != "even" and not (name == "sun" and outdoors)
    environment, _ = make_environment(int(rng.integers(2**31)), *tints, share, uneven)
    return WildLight(name, tuple(lamps), flash, environment, environment.astype(np.float32))
