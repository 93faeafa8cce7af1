"""From light to a JPEG: exposure, white balance, vignetting, noise, tone curve, compression, as in a phone."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

Radiance = Float[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Sensor:
    """What stays the same in one phone: ``shot`` and ``read`` noise, ``vignetting``, ``contrast``, JPEG ``quality``.

    ``shot`` is the standard deviation of the noise of a white pixel, ``read`` that of a black one, both as a share
    of white; ``vignetting`` is the share of the light lost in the corners; ``contrast`` 0 is plain
    sRGB, below it shadows are lifted.
    """

    shot: float
    read: float
    vignetting: float
    contrast: float
    quality: int


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB in [0, 1] (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def develop(
    radiance: Radiance, sensor: Sensor, exposure: float, white: Float[np.ndarray, "3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture that the phone shows of linear ``radiance``; ``exposure`` and ``white`` (RGB) multiply it."""
    height, width = radiance.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    reach = ((rows + 0.5) / height - 0.5) ** 2 + ((columns + 0.5) / width - 0.5) ** 2
    light = radiance * exposure * white * (1 - sensor.vignetting * reach / 0.5)[..., None]
    deviation = np.sqrt(sensor.read**2 + sensor.shot**2 * np.clip(light, 0, 1))
    light = light + deviation * rng.standard_normal(light.shape)
    # A shoulder instead of a cut: bright skin stays skin, as phones keep it.
    light = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.6), light)
    tone = srgb(light)
    tone = tone + sensor.contrast * (tone * tone * (3 - 2 * tone) - tone)
    return np.round(255 * tone).astype(np.uint8)


def jpeg(picture: UInt8[np.ndarray, "height width 3"], quality: int) -> bytes:
    """The picture as a JPEG file without EXIF."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
