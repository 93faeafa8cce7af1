"""Capture folders: where their scale comes from."""

from pathlib import Path

import pytest

from p2vtools.fit.photo_set import PhotoSet, check_foot_length, scale_of


@pytest.mark.parametrize(
    ("subject", "scale"),
    [
        ({}, "unknown"),
        ({"metadata": "metric", "cameras": "noted by hand"}, "unknown"),
        ({"scale": "noted"}, "noted"),
        ({"recipe": {"version": 2}, "made": "anny and Mitsuba"}, "rendered"),
        ({"cameras": "mat a4x2"}, "mat"),
        ({"made": "photos, cameras: mat a3"}, "mat"),
        ({"cameras": "polycam"}, "tracking"),
        ({"cameras": "nerfstudio"}, "unknown"),
        ({"cameras": "colmap", "scale": "unknown", "foot length, mm": 260}, "foot length"),
        ({"unit of the scan": "cm"}, "file"),
        ({"unit of the scan": "unknown"}, "unknown"),
    ],
)
def test_scale_of_earlier_and_present_captures(subject, scale):
    assert scale_of(Path("capture"), subject) == scale
    photo_set = PhotoSet([], [], [], scale=scale)
    assert photo_set.has_scale == (scale != "unknown") and photo_set.metric == (scale not in ("unknown", "foot length"))


def test_invalid_scales_and_lengths_are_errors():
    for scale in ("guessed", ["mat"]):
        with pytest.raises(ValueError, match=r"subject.json: scale is .*(guessed|mat).*; expected one of mat"):
            scale_of(Path("capture"), {"scale": scale})
    assert check_foot_length(260, "length") == 260
    for length in (0, 26.0, float("nan"), "260"):
        with pytest.raises(ValueError, match="expected the length of a foot, 90 to 350 mm"):
            check_foot_length(length, "length")
