import dataclasses

import numpy as np
import pytest

from p2vtools.synthesis.assets import SKIN_WINDOW
from p2vtools.synthesis.feet import skin
from p2vtools.synthesis.feet.appearance import Appearance, paint, sample_appearance
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.leg_canvas import leg_canvas
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.feet.socks import Sock

NAIL_TEXELS = [(177, 309), (241, 324), (288, 306), (326, 274), (344, 234)]
"""Column and row of the left foot's nails in a photographic skin, big toe first, read off the picture."""


@pytest.fixture(scope="module")
def person():
    return sample_population(3, 1)[0]


@pytest.fixture(scope="module")
def legs(person):
    return {side: foot.leg_mesh for side, foot in make_feet(person).items()}


@pytest.fixture
def procedural(monkeypatch):
    monkeypatch.setattr(skin, "asset_files", lambda kind: [])


def texel_skin():
    """A skin whose colours encode their position: 1 + column / 1000 and 1 + row / 1000."""
    left, upper, right, lower = SKIN_WINDOW
    rows, columns = np.mgrid[: lower - upper, : right - left]
    return 1 + np.stack([columns, rows, 0 * rows], axis=-1) / 1000


def texels_of(canvas):
    """Column and row of the canvas's vertices, from the colours that they get; right below 60 mm."""
    detail = skin.skin_detail(canvas, texel_skin())
    assert detail[:, 2] == pytest.approx(1)
    pixels = np.clip(canvas.uv * [2048, -2048] + [-399.5, 2048 - 1695.5], 0, [907, 338])
    height = canvas.position[:, 1]
    ankle = 1 + pixels[(height > 60) & (height < 100) & (canvas.uv[:, 1] < (2048 - 1695.5) / 2048)] / 1000
    texels = 1000 * (detail[:, :2] * ankle.mean(axis=0) - 1)
    assert texels[height < 60] == pytest.approx(pixels[height < 60], abs=0.05)
    return texels


def test_nails_have_the_texels_of_nails():
    for side in ("left", "right"):
        canvas = leg_canvas(side)
        texels = texels_of(canvas)
        for toe, expected in enumerate(NAIL_TEXELS):
            nail = (canvas.nails > 0.6) & (canvas.toes.argmax(axis=0) == toe)
            assert texels[nail].mean(axis=0) == pytest.approx(expected, abs=6), side


def test_the_same_state_of_the_generator_gives_the_same_colours(person, legs, procedural):
    first, second, other = (sample_appearance(np.random.default_rng(seed), person) for seed in (1, 1, 2))
    albedo = [paint(legs["left"], "left", look).vertex_attributes["albedo"] for look in (first, second, other)]
    assert albedo[0].dtype == np.float32
    assert np.array_equal(albedo[0], albedo[1])
    assert not np.array_equal(albedo[0][:5000], albedo[2][:5000])


def test_painted_skin_is_the_same_surface(legs, procedural):
    look = Appearance(0, (0.4, 0.3, 0.2), 0.5, frozenset(skin.MARKS), None)
    for side, leg in legs.items():
        painted = paint(leg, side, look)
        assert painted.is_watertight
        assert (painted.area, painted.volume) == pytest.approx((leg.area, leg.volume), rel=1e-9)
        assert painted.vertices[: len(leg.vertices)] == pytest.approx(leg.vertices)


def test_a_sock_covers_what_lies_below_its_rim(legs, procedural):
    green = (0.1, 0.8, 0.1)
    look = Appearance(5, (0.4, 0.25, 0.2), 0.5, frozenset(), None)
    worn = dataclasses.replace(look, sock=Sock("plain", "ankle", 100.0, (green, green, green), False, 0.0))
    leg, canvas = legs["right"], leg_canvas("right")
    bare, sock = paint(leg, "right", look), paint(leg, "right", worn)
    count, below = len(canvas.uv), canvas.position[:, 1] < 100.0
    albedo = sock.vertex_attributes["albedo"]
    assert albedo[:count][below] == pytest.approx(np.broadcast_to(green, (below.sum(), 3)))
    assert np.array_equal(albedo[:count][~below], bare.vertex_attributes["albedo"][~below])
    shift = np.linalg.norm(sock.vertices[:count] - bare.vertices, axis=1)
    assert shift[below].max() <= 0.0015 + 1e-9 and shift[~below].max() == 0
    assert sock.vertices[:, 1].min() >= leg.vertices[:, 1].min()


def test_shares_of_socks_marks_and_tones(person):
    looks = [sample_appearance(np.random.default_rng(seed), person) for seed in range(1500)]
    assert np.mean([look.sock is not None for look in looks]) == pytest.approx(0.22, abs=0.03)
    for mark, share in {"polish": 0.12, "tattoo": 0.08, "plaster": 0.04, "hair": 0.25}.items():
        assert np.mean([mark in look.marks for look in looks]) == pytest.approx(share, abs=0.04)
    tones = np.array([np.mean(look.tone) for look in looks])
    assert tones.min() < 0.05 and tones.max() > 0.45
