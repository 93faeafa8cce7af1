"""The same photo, picture or solid in two places of a data set, and different ones that only look alike."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image

from p2vtools.capture.duplicates import (
    PhotoFingerprint,
    duplicate_photos,
    duplicate_solids,
    fingerprint_solid,
    normalised_thumbnail,
)
from p2vtools.synthesis.mat import get_mat
from tests.mats import bare


def jpeg(picture: Image.Image, quality: int = 95) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "jpeg", quality=quality)
    return stream.getvalue()


def photo(capture: str, name: str, content: bytes) -> PhotoFingerprint:
    look = normalised_thumbnail(Image.open(io.BytesIO(content)))
    return PhotoFingerprint(capture, capture.partition("-")[0], name, hashlib.sha256(content).hexdigest(), look)


def views(capture: str, first: int) -> list[PhotoFingerprint]:
    """A walk around the mat, eight photos; ``first`` degrees turn it."""
    pictures = [Image.fromarray(bare(get_mat("a3"), first + 45 * number)) for number in range(8)]
    return [photo(capture, f"{number:02d}.jpg", jpeg(picture)) for number, picture in enumerate(pictures)]


def test_two_walks_around_one_mat_are_no_repeat():
    assert not duplicate_photos([*views("p1-left", 0), *views("p2-left", 22)])
    assert not duplicate_photos([])


def test_the_same_file_in_two_captures_of_two_people():
    one = views("p1-left", 0)
    moved = [photo._replace(capture="p2-left", subject="p2", name=f"1{photo.name}") for photo in one[:3]]
    (found,) = duplicate_photos([*one, *moved])
    assert found.captures == ("p1-left", "p2-left")
    assert found.message == (
        "p1-left/00.jpg and p2-left/100.jpg are the same photo, and 2 more: is p1 the same person as p2?"
    )


def test_the_same_file_in_both_feet_of_a_person_and_twice_in_one():
    one = views("p1-left", 0)
    (other,) = duplicate_photos([*one, one[2]._replace(capture="p1-right")])
    assert other.message.endswith("one capture is filed twice, or a photo is in the wrong folder")
    (twice,) = duplicate_photos([*one, one[2]._replace(name="09.jpg")])
    assert twice.message == "p1-left/02.jpg and p1-left/09.jpg are the same photo: keep one of them"


def test_a_picture_made_smaller_darker_and_compressed_anew_is_the_same_one():
    before = Image.fromarray(bare(get_mat("a3"), 30))
    dark = (np.asarray(before.resize((311, 233), Image.Resampling.LANCZOS)) * 0.8).astype(np.uint8)
    pair = [photo("p1-left", "00.jpg", jpeg(before)), photo("p2-left", "00.jpg", jpeg(Image.fromarray(dark), 50))]
    (found,) = duplicate_photos(pair)
    assert "are the same picture: is p1 the same person as p2?" in found.message


def test_a_mirrored_picture_is_told_to_be_one():
    before = Image.fromarray(bare(get_mat("a3"), 30))
    turned = before.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pair = [photo("p1-left", "00.jpg", jpeg(before)), photo("p1-right", "00.jpg", jpeg(turned))]
    (found,) = duplicate_photos(pair)
    assert "p1-left/00.jpg and p1-right/00.jpg are mirror images of each other" in found.message


def test_solids():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 8, 8, 8)) > 0.5
    solids = [
        fingerprint_solid("a", one),
        fingerprint_solid("b", other),
        fingerprint_solid("c", one),
        fingerprint_solid("d", other[:, :, ::-1]),
    ]
    same, turned = duplicate_solids(solids)
    assert same.captures == ("a", "c") and "have the same solid" in same.message
    assert turned.captures == ("b", "d") and "mirror images" in turned.message
