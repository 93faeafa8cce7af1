"""From scene radiance to the JPEG file of a phone or a messenger: blur, noise, sharpening, repeated compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from p2vtools.archives.photo_files import encode_photo
from p2vtools.synthesis.photos.phone_camera import Sensor, motion_kernel, simulate_sensor


@dataclass(frozen=True)
class Processing:
    """Processing of one photo."""

    defocus: float
    """Standard deviation of the blur of the lens, pixels."""
    motion: tuple[float, float]
    """Motion of the image during the exposure, pixels to the right and down."""
    sharpening: float
    """Strength of an unsharp mask."""
    messenger_scale: float
    """Share of its size to which a messenger reduces the photo; 1: no messenger."""
    messenger_quality: int
    """JPEG quality of the messenger."""


def sample_processing(rng: np.random.Generator, sent: bool, shaky: bool) -> Processing:
    """Samples the processing of a photo.

    Args:
        sent: whether a messenger has compressed it.
        shaky: whether the hand moves a lot.
    """
    speed = rng.exponential(2.2 if shaky else 0.35)
    angle = rng.uniform(0, 2 * np.pi)
    motion = min(speed, 6.0) * np.array([np.cos(angle), np.sin(angle)])
    defocus = abs(rng.normal(0, 0.35)) + (rng.uniform(0.4, 1.6) if rng.random() < 0.08 else 0.0)
    return Processing(
        defocus=float(defocus),
        motion=tuple(motion.tolist()),
        sharpening=float(rng.choice([0.0, rng.uniform(0.2, 1.3)])),
        messenger_scale=float(rng.uniform(0.45, 0.95)) if sent else 1.0,
        messenger_quality=int(rng.integers(30, 71)),
    )


def process_photo(
    radiance: Float[np.ndarray, "height width 3"],
    processing: Processing,
    sensor: Sensor,
    exposure: float,
    white_balance: Float[np.ndarray, "3"],
    rng: np.random.Generator,
) -> bytes:
    """The JPEG file of a photo of ``radiance``."""
    light = radiance.astype(np.float32)
    if np.hypot(*processing.motion) > 0.2:
        light = cv2.filter2D(light, -1, motion_kernel(np.array(processing.motion)), borderType=cv2.BORDER_REPLICATE)
    if processing.defocus > 0.2:
        light = cv2.GaussianBlur(light, (0, 0), processing.defocus, borderType=cv2.BORDER_REPLICATE)
    image = simulate_sensor(light.astype(float), sensor, exposure, white_balance, rng)
    if processing.sharpening:
        soft = cv2.GaussianBlur(image, (0, 0), 1.0)
        image = cv2.addWeighted(image, 1 + processing.sharpening, soft, -processing.sharpening, 0)
    if processing.messenger_scale < 1:
        size = image.shape[1], image.shape[0]
        small = tuple(max(8, round(edge * processing.messenger_scale)) for edge in size)
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        file = np.frombuffer(encode_photo(image, quality=processing.messenger_quality), np.uint8)
        image = cv2.resize(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB), size, interpolation=cv2.INTER_LINEAR)
    return encode_photo(image, quality=sensor.jpeg_quality)
