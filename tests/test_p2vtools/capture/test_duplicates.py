"""Photos and solids that occur twice in a data set, and different ones that look alike."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageOps

from p2vtools.capture import duplicates
from p2vtools.capture.duplicates import PhotoFingerprint, duplicate_photos
from p2vtools.synthesis.mat import get_mat
from tests.mats import mat_image

MAT = get_mat("a3")


def fingerprint(capture: str, name: str, image: Image.Image, quality: int = 95) -> PhotoFingerprint:
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=quality)
    digest, subject = hashlib.sha256(stream.getvalue()).hexdigest(), capture.partition("-")[0]
    return PhotoFingerprint(capture, subject, name, digest, duplicates.normalised_thumbnail(Image.open(stream)))


def walk(capture: str, first_azimuth: float) -> list[PhotoFingerprint]:
    """Eight photos around the mat."""
    images = [Image.fromarray(mat_image(MAT, first_azimuth + 45 * number)) for number in range(8)]
    return [fingerprint(capture, f"{number:02d}.jpg", image) for number, image in enumerate(images)]


def test_two_walks_around_one_mat_share_nothing():
    assert not duplicate_photos([*walk("p1-left", 0), *walk("p2-left", 22)])
    assert not duplicate_photos([])


def test_same_file_in_two_captures():
    photos = walk("p1-left", 10)  # from 0, photos of the empty mat from its two sides would be mirror images
    copies = [photo._replace(capture="p2-left", subject="p2", name=f"1{photo.name}") for photo in photos[:3]]
    (found,) = duplicate_photos([*photos, *copies])
    assert found.captures == ("p1-left", "p2-left")
    expected = "p1-left/00.jpg and p2-left/100.jpg are the same photo, and 2 more: is p1 the same person as p2?"
    assert found.message == expected
    (both_feet,) = duplicate_photos([*photos, photos[2]._replace(capture="p1-right")])
    assert both_feet.message.endswith("one capture was submitted twice, or a photo is in the wrong folder")
    (twice,) = duplicate_photos([*photos, photos[2]._replace(name="09.jpg")])
    assert twice.message == "p1-left/02.jpg and p1-left/09.jpg are the same photo: keep one of them"


def test_same_picture_in_another_file():
    original = Image.fromarray(mat_image(MAT, 30))
    resized = np.asarray(original.resize((311, 233), Image.Resampling.LANCZOS))
    darker, mirrored = Image.fromarray((resized * 0.8).astype(np.uint8)), ImageOps.mirror(original)
    for other, relation in ((darker, "the same picture"), (mirrored, "mirror images of each other")):
        pair = [fingerprint("p1-left", "00.jpg", original), fingerprint("p2-left", "00.jpg", other, quality=50)]
        (found,) = duplicate_photos(pair)
        assert found.message == f"p1-left/00.jpg and p2-left/00.jpg are {relation}: is p1 the same person as p2?"


def test_equal_and_mirrored_solids():
    first, second = np.random.default_rng(0).random((2, 8, 8, 8)) > 0.5
    volumes = {"a": first, "b": second, "c": first, "d": second[:, :, ::-1]}
    digests = {name: duplicates.solid_digests(volume) for name, volume in volumes.items()}
    same, mirrored = duplicates.duplicate_solids(digests)
    assert same.captures == ("a", "c") and "have the same solid" in same.message
    assert mirrored.captures == ("b", "d") and "have mirrored solids" in mirrored.message
