"""Images of a mat or a sheet of paper without a foot, made by a homography, as photos or as a video."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from p2vlib.geometry.cameras import Camera, look_at
from p2vtools.synthesis.mat import Mat


def mat_image(mat: Mat, azimuth: float) -> np.ndarray:
    """The mat on a grey floor, from ``azimuth``."""
    return mat_image_from(look_at((azimuth, 50, 0, 0.6, 50), np.zeros(3), 640, 480), mat)


def mat_image_from(camera: Camera, mat: Mat) -> np.ndarray:
    """The mat on a grey floor as seen by ``camera``; takes ten milliseconds."""
    board = mat.image(3)
    height, width = board.shape
    x, z = mat.size[0] / 2000, mat.size[1] / 2000
    pixels = camera.project(np.array([[-x, 0, -z], [x, 0, -z], [x, 0, z], [-x, 0, z]]))[:, :2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    # OpenCV's origin is the centre of the first pixel.
    homography = cv2.getPerspectiveTransform(*((one - 0.5).astype(np.float32) for one in (corners, pixels)))
    size = camera.width, camera.height
    image = cv2.warpPerspective(board, homography, size, borderValue=128, flags=cv2.INTER_AREA)
    return np.repeat(image[..., None], 3, axis=2)


def write_phone_photos(folder: Path, images: list[np.ndarray]) -> Path:
    """With place, time, serial number, maker note, comment and XMP, as from a phone."""
    for number, image in enumerate(images):
        exif = Image.Exif()
        exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", "Phone 7", "2026:11:02 10:00:00"
        exif.get_ifd(0x8769)[0xA431], exif.get_ifd(0x8769)[0x927C] = "SERIAL-123", b"MAKERNOTE-9"
        exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
        metadata = {"exif": exif, "comment": b"ANNA", "xmp": b"<exif:GPSLatitude>52,31N</exif:GPSLatitude>"}
        Image.fromarray(image).save(folder / f"IMG_{number:04d}.jpg", quality=95, **metadata)
    return folder


def write_photos(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"IMG_{number}.jpg", quality=95)
    return folder


def write_video(path: Path, images: list[np.ndarray]) -> Path:
    height, width = images[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (width, height))
    for image in images:
        video.write(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR))
    video.release()
    return path


def sheet_outline(
    camera: Camera, size: tuple[float, float] = (0.297, 0.210), heights: Sequence[float] = (0, 0, 0, 0)
) -> np.ndarray:
    """Corners of a sheet at ``heights`` in the photo, thousandths of its longer side from its centre."""
    corners = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]) * [size[0] / 2, 0, size[1] / 2]
    corners[:, 1] = heights
    return (camera.project(corners)[:, :2] - [camera.width / 2, camera.height / 2]) * 1000 / camera.width


def sheet_photo(
    camera: Camera, hidden: int | None = None, heights: Sequence[float] = (0, 0, 0, 0), planks: int = 0
) -> np.ndarray:
    """A drawing of a white A4 sheet on a brown floor, or one of ``planks``, with a patch of skin in its middle or over
    side ``hidden``.
    """
    rng, scale, size = np.random.default_rng(0), 4, (camera.width, camera.height)
    floor = cv2.resize(rng.uniform(60, 120, (20, 20)), tuple(scale * edge for edge in size))[..., None]
    floor = floor * [1.0, 0.75, 0.6]
    for x in np.linspace(0, scale * camera.width, planks, endpoint=False).round().astype(int).tolist():
        floor[:, x : x + 6 * scale] *= 0.6
    corners = sheet_outline(camera, heights=heights) * camera.width / 1000 + np.array(size) / 2
    cv2.fillConvexPoly(floor, (scale * corners).round().astype(np.int32), (235, 236, 240))
    middle, across = corners.mean(0), 60.0
    if hidden is not None:
        start, end = corners[[hidden, (hidden + 1) % 4]]
        middle, across = (start + end) / 2, float(np.linalg.norm(end - start)) / 2
    centre, axes = (scale * middle).round().astype(int).tolist(), (round(scale * across), round(scale * across / 2))
    cv2.ellipse(floor, centre, axes, 0, 0, 360, (180, 130, 105), -1)
    photo = cv2.resize(floor, size, interpolation=cv2.INTER_AREA) + rng.normal(0, 2, (*size[::-1], 3))
    return photo.clip(0, 255).astype(np.uint8)
