"""From scene radiance to the JPEG file of a phone or a messenger: lens, exposure, noise, tones, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from p2vlib.geometry.cameras import Camera
from p2vtools.archives.photo_files import encode_photo
from p2vtools.synthesis.colours import Colour, linear_to_srgb

Radiance = Float[np.ndarray, "height width 3"]
"""Linear RGB of a photo."""

MARGIN = 0.12
"""Width of the margin rendered on each side, as a share of the longer image side: distortion samples pixels there."""


@dataclass(frozen=True, eq=False)
class Optics:
    """Lens distortion and motion blur of one capture."""

    distortion: float
    """First radial distortion coefficient, k1 of OpenCV's model; negative is barrel distortion."""
    motion: Float[np.ndarray, "views 2"]
    """Image motion during each exposure, pixels to the right and down."""


@dataclass(frozen=True)
class Sensor:
    """Image sensor and processing of one phone."""

    shot_noise: float
    """Standard deviation of the noise of a white pixel, as a share of white."""
    read_noise: float
    """Standard deviation of the noise of a black pixel, as a share of white."""
    vignetting: float
    """Share of the light lost in the corners."""
    contrast: float
    """Strength of an S-shaped tone curve on top of sRGB; negative values lift the shadows."""
    jpeg_quality: int


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


def widened_camera(camera: Camera) -> Camera:
    """Returns ``camera`` with a margin on every side, from which `apply_optics` samples."""
    margin = _margin(camera)
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2, 2] += margin
    return Camera(intrinsics, camera.extrinsics, camera.width + 2 * margin, camera.height + 2 * margin)


def apply_optics(radiance: Float[np.ndarray, "rows columns 3"], camera: Camera, optics: Optics, view: int) -> Radiance:
    """Applies motion blur and lens distortion to the ``radiance`` rendered with `widened_camera`."""
    margin = _margin(camera)
    matrix = camera.intrinsics.copy()
    matrix[:2, 2] -= 0.5  # OpenCV's origin is the centre of the first pixel
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), -1).astype(np.float32)
    coefficients = np.array([optics.distortion, 0, 0, 0, 0])
    sources = cv2.undistortPoints(pixels.reshape(-1, 1, 2), matrix, coefficients, P=matrix).reshape(pixels.shape)
    kernel = motion_kernel(optics.motion[view])
    blurred = cv2.filter2D(radiance.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REPLICATE)
    sources = (sources + margin).astype(np.float32)
    return cv2.remap(blurred, sources, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _margin(camera: Camera) -> int:
    return round(MARGIN * max(camera.width, camera.height))


def motion_kernel(motion: Float[np.ndarray, "2"]) -> Float[np.ndarray, "size size"]:
    """The blur kernel of a point that moves by ``motion`` pixels during the exposure."""
    radius = int(np.ceil(np.abs(motion).max() / 2)) + 1
    kernel = np.zeros((2 * radius + 1,) * 2, np.float32)
    for time in np.linspace(-0.5, 0.5, 8 * radius + 1):
        x, y = time * motion + radius
        column, row = int(x), int(y)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            kernel[row + dy, column + dx] += abs(1 - dx - (x - column)) * abs(1 - dy - (y - row))
    return kernel / kernel.sum()


def simulate_sensor(
    radiance: Radiance, sensor: Sensor, exposure: float, white_balance: Colour, rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Converts linear ``radiance`` into the sRGB image of the phone; ``exposure`` and ``white_balance`` scale it."""
    height, width = radiance.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    squared_radius = ((rows + 0.5) / height - 0.5) ** 2 + ((columns + 0.5) / width - 0.5) ** 2
    light = radiance * exposure * white_balance * (1 - sensor.vignetting * squared_radius / 0.5)[..., None]
    deviation = np.sqrt(sensor.read_noise**2 + sensor.shot_noise**2 * np.clip(light, 0, 1))
    light = light + deviation * rng.standard_normal(light.shape)
    # Highlights are compressed instead of clipped, as phones do: bright skin keeps its colour.
    light = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.6), light)
    tone = linear_to_srgb(light)
    tone = tone + sensor.contrast * (tone * tone * (3 - 2 * tone) - tone)
    return np.round(255 * tone).astype(np.uint8)


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
    radiance: Radiance,
    processing: Processing,
    sensor: Sensor,
    exposure: float,
    white_balance: Colour,
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
