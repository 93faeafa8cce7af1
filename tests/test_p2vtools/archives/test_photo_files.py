"""Reading photos in all formats in which phones, messengers and programs write them, with and without valid EXIF."""

from __future__ import annotations

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from p2vlib.files import FileError
from p2vtools.archives.photo_files import list_photos, read_photo

pillow_heif.register_heif_opener()

RAMP = np.add.outer(np.arange(0, 96, 2), np.arange(0, 128, 2)).astype(np.uint8)
"""48 x 64 levels of grey from 0 to 220, brightest in the lower right corner."""

PICTURE = Image.fromarray(np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]]))


def exif(orientation: int, focal: object = 26) -> Image.Exif:
    entries = Image.Exif()
    entries[0x0112], entries.get_ifd(0x8769)[0xA405] = orientation, focal
    return entries


@pytest.mark.parametrize(
    ("name", "picture", "options"),
    [
        ("a.jpg", PICTURE, {"format": "JPEG", "quality": 98, "subsampling": 0}),
        ("print.jpg", PICTURE.convert("CMYK"), {"format": "JPEG", "quality": 98, "subsampling": 0}),
        ("portrait.jpg", PICTURE, {"format": "MPO", "quality": 98, "subsampling": 0}),
        ("named.jpg", PICTURE, {"format": "HEIF", "quality": 98}),
        ("named.png", PICTURE, {"format": "WEBP", "lossless": True}),
        ("transparent.png", PICTURE.convert("RGBA"), {}),
    ],
)
def test_every_format_gives_the_same_upright_colours(name, picture, options, tmp_path):
    picture.save(tmp_path / name, exif=exif(6).tobytes(), **options)
    photo, focal = read_photo(tmp_path / name)
    turned = PICTURE.transpose(Image.Transpose.ROTATE_270)  # 6: the right side of the stored picture is down
    assert photo.mode == ("RGBA" if name == "transparent.png" else "RGB") and photo.size == turned.size == (48, 64)
    assert np.abs(np.asarray(photo.convert("RGB")).astype(int) - np.asarray(turned)).mean() < 3
    assert focal == pytest.approx(26 / 43.27 * 1.25, abs=1e-3), "the diagonal of 3 : 4 is 1.25 times the longer side"


def test_16_bits_are_scaled(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 256 + 99).save(tmp_path / "grey.png")
    assert np.array_equal(np.asarray(read_photo(tmp_path / "grey.png")[0])[..., 0], RAMP)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_damaged_exif_makes_no_photo_unreadable(kind, tmp_path):
    whole = exif(6).tobytes()
    for number, length in enumerate(range(8, len(whole), 3)):
        damaged = whole[:length] + bytes([255] * (len(whole) - length) * (number % 2))
        PICTURE.save(tmp_path / "a.jpg", kind, exif=damaged)
        assert read_photo(tmp_path / "a.jpg", 32)[0].width in (24, 32)
    PICTURE.save(tmp_path / "a.jpg", kind, exif=exif(1, "wide").tobytes())
    photo, focal = read_photo(tmp_path / "a.jpg")
    assert photo.size == (64, 48) and focal is None


def test_other_formats_are_no_photos_and_hidden_files_are_ignored(tmp_path):
    PICTURE.save(tmp_path / "b.jpeg")
    (tmp_path / "._b.jpeg").write_bytes(b"resource fork of macOS")
    PICTURE.convert("P").save(tmp_path / "a.JPG", "GIF")
    assert [path.name for path in list_photos(tmp_path)] == ["a.JPG", "b.jpeg"]
    with pytest.raises(FileError, match=r"a\.JPG: not a readable image; expected PNG, JPEG, WebP or HEIC"):
        read_photo(tmp_path / "a.JPG")
